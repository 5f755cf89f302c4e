"""PPO's rollouts from vLLM: after an update the engine draws from the new policy, and no prompt is read by the old."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.records import Problem
from star.checkpoints import LoadedModel
from star.generation import Generator, SamplingParams
from star.ppo.batches import chosen_logprobs, collate
from star.ppo.config import PpoConfig
from star.ppo.engines import VllmRollouts, rollout_engine
from star.ppo.judging import Judged
from star.ppo.layouts import HydraLayout
from star.ppo.rollouts import Drawing, draw
from star.ppo.trainer import PpoTrainer
from tests.star.ppo.killed_ppo import small_task
from tests.star.ppo.samples import TEMPLATE, fresh, problems

pytest.importorskip("vllm")
# vLLM's own imports and processes warn.
pytestmark = pytest.mark.filterwarnings("default")

LONG = Problem.create(prompt="+".join("1" * 150) + "=?", answer="150")
"""Longer than a block of vLLM's prefix cache, which must not outlive the weights that filled it."""
SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "dtype": "float32"}


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmRollouts]:
    with closing(VllmRollouts(SMALL, tmp_path_factory.mktemp("vllm") / "policy", batch_size=32)) as found:
        yield found


def mismatch(engine: Generator, layout: HydraLayout, tokenizer: object, version: int) -> float:
    """Largest difference between the engine's log-probabilities and the layout's own, of samples just drawn."""
    drawing = Drawing(template=TEMPLATE, sampling=SamplingParams(max_tokens=60), n=4, seed=0)
    drawn, _ = draw(engine, tokenizer, [*problems(7), LONG], drawing, version=version)
    assert len(drawn) >= 28
    assert LONG in [row.problem for row in drawn]
    zeros = [(0.0,) * len(row.token_ids) for row in drawn]
    rows = [Judged(rollout=row, rewards=none, solved=False, proxy=0.0) for row, none in zip(drawn, zeros, strict=True)]
    batch = collate(rows, pad=0)
    with torch.no_grad():
        own = chosen_logprobs(layout.actor(*batch.inputs), batch, 1.0)
    return float((own - batch.sampler).abs().max())


def change(layout: HydraLayout) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in layout.actor_weights.values():
            weight.add_(0.05 * torch.randn_like(weight))


def test_after_an_update_samples_are_the_new_policys_and_not_the_old_ones(
    tiny: LoadedModel, rollouts: VllmRollouts
) -> None:
    layout = HydraLayout(fresh(tiny), rank=4, seed=0)
    engine = rollouts(layout, 100)
    assert mismatch(engine, layout, tiny.tokenizer, 0) < 1e-3
    first = engine.revision
    change(layout)
    # The same number means the same weights, so this engine is a stale one.
    stale = mismatch(rollouts(layout, 100), layout, tiny.tokenizer, 1)
    assert stale > 0.1
    again = rollouts(layout, 101)
    assert again is engine
    assert mismatch(again, layout, tiny.tokenizer, 2) < 1e-3
    assert again.revision != first
    change(layout)
    assert mismatch(rollouts(layout, 102), layout, tiny.tokenizer, 3) < 1e-3


@pytest.mark.parametrize("trained_layers", [0, 2])
def test_a_run_over_vllm_agrees_with_its_sampler_in_every_iteration(
    tiny: LoadedModel, rollouts: VllmRollouts, tmp_path: Path, trained_layers: int
) -> None:
    found: list[dict[str, float]] = []
    config = PpoConfig(iterations=3, problems_per_iteration=4, samples_per_problem=4, epochs=2, minibatch_size=8,
                       learning_rate=3e-3, critic_warmup=0, max_update_kl=10.0,
                       trained_layers=trained_layers)  # fmt: skip
    trainer = PpoTrainer(fresh(tiny), small_task(engine=rollouts), config, folder=tmp_path)
    report = trainer.run(lambda _, numbers, __: found.append(numbers))
    assert report.iterations == 3
    assert all(row["sampler/mismatch_max"] < 1e-3 for row in found)
    # The policy did move, so that a stale engine would have shown.
    assert report.history[-1].kl > 0.01


def test_weights_do_not_change_under_samples_that_are_being_drawn(tiny: LoadedModel, rollouts: VllmRollouts) -> None:
    layout = HydraLayout(fresh(tiny), rank=4, seed=0)
    engine = rollouts(layout, 200)
    drawing = Drawing(template=TEMPLATE, sampling=SamplingParams(max_tokens=60), n=8, seed=0)
    answers = engine.generate(drawing.requests(problems(8), 0))
    next(answers)
    with pytest.raises(RuntimeError, match="being drawn"):
        rollouts(layout, 201)
    assert len(list(answers)) == 63


def test_an_unknown_option_is_named_and_nothing_is_left_behind(tiny: LoadedModel, tmp_path: Path) -> None:
    layout, folder = HydraLayout(fresh(tiny), rank=4, seed=0), tmp_path / "policy"
    with (
        pytest.raises(UserError, match="eager"),
        rollout_engine("vllm", batch_size=8, options={"eager": True}, folder=folder) as maker,
    ):
        maker(layout, 0)
    assert not list(tmp_path.iterdir())
