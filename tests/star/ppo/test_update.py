"""Updates: ratio 1 and KL 0 at first, the backbone untouched, and what must change nothing changes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from star.checkpoints import LoadedModel
from star.encoding import pad_id
from star.ppo.batches import MicroBatch, chosen_logprobs, collate, mean_kl, minibatches, prepare
from star.ppo.config import PpoConfig
from star.ppo.judging import Judged
from star.ppo.layouts import HydraLayout, Layout, build_layout
from star.ppo.update import Faults, UpdateStats, make_optimizer, update
from tests.star.ppo.samples import fresh, judged

LAYOUTS: list[dict[str, Any]] = [{"layout": "hydra"}, {"layout": "full"}, {"layout": "hydra", "trained_layers": 1}]


def config(**changes: Any) -> PpoConfig:
    values = {
        "epochs": 1,
        "minibatch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "critic_learning_rate": 1e-2,
        "lora_rank": 4,
        "max_update_kl": 1e9,
    }
    return PpoConfig(**(values | changes))


def train(
    layout: Layout,
    rows: list[Judged],
    settings: PpoConfig,
    faults: Faults | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    seed: int = 1,
) -> tuple[UpdateStats, list[list[MicroBatch]]]:
    batches = minibatches(rows, settings, pad=0, seed=seed)
    prepare(batches, layout, settings, temperature=1.0, kl_coefficient=0.05)
    stats = update(
        layout,
        optimizer or make_optimizer(layout, settings),
        batches,
        settings,
        faults or Faults(Path("unused")),
        temperature=1.0,
        kl_coefficient=0.05,
        seed=seed,
    )
    return stats, batches


def weights_of(layout: Layout) -> dict[str, torch.Tensor]:
    both = {**layout.actor_weights, **layout.critic_weights}
    return {name: weight.detach().clone() for name, weight in both.items()}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("micro", [1, 3])
def test_the_first_minibatch_has_ratio_one_and_no_kl_to_the_last_bit(
    small: LoadedModel, kind: dict[str, Any], micro: int
) -> None:
    settings = config(**kind, micro_batch_size=micro)
    stats, batches = train(build_layout(fresh(small), settings, seed=1), judged(small, 8), settings)
    assert stats.ratio[0] == 1.0
    assert stats.kl[0] == 0.0
    assert stats.clip_share[0] == 0.0
    assert mean_kl([part for batch in batches for part in batch]) == 0.0
    assert stats.kl[1] > 0


def test_adapters_off_is_the_base_to_the_last_bit_after_fifty_updates(small: LoadedModel) -> None:
    rows = judged(small, 8)
    part = collate(rows, pad=0)
    with torch.no_grad():
        base = small.model(input_ids=part.ids, attention_mask=part.attention, position_ids=part.positions).logits
    layout = HydraLayout(fresh(small), rank=4, seed=1)
    assert torch.equal(layout.reference(*part.inputs), base)
    settings = config(epochs=25)
    stats, _ = train(layout, rows, settings)
    assert stats.steps == 50
    assert torch.equal(layout.reference(*part.inputs), base)
    with torch.no_grad():
        assert not torch.allclose(layout.actor(*part.inputs), base, atol=1e-2)
        assert layout.critic(*part.inputs).abs().max() > 0.01


def test_actor_and_critic_train_apart_and_the_backbone_has_no_gradient(small: LoadedModel) -> None:
    layout = HydraLayout(fresh(small), rank=4, seed=1)
    assert not set(map(id, layout.actor_weights.values())) & set(map(id, layout.critic_weights.values()))
    before = weights_of(layout)
    train(layout, judged(small, 4), config(critic_learning_rate=1e-12, epochs=3))
    after = weights_of(layout)
    moved = {name for name in before if (before[name] - after[name]).abs().max() > 1e-6}
    assert moved
    assert moved <= set(layout.actor_weights)
    model: Any = layout.sampler().model
    trained = {id(weight) for weight in [*layout.actor_weights.values(), *layout.critic_weights.values()]}
    assert all(weight.grad is None for weight in model.parameters() if id(weight) not in trained)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_merged_policy_is_the_actor(small: LoadedModel, kind: dict[str, Any]) -> None:
    settings = config(**kind, epochs=2)
    layout = build_layout(fresh(small), settings, seed=1)
    train(layout, judged(small, 4), settings)
    plain = layout.merged().model
    assert set(plain.state_dict()) == set(small.model.state_dict())
    part = collate(judged(small, 4), pad=0)
    with torch.no_grad():
        logits = plain(input_ids=part.ids, attention_mask=part.attention, position_ids=part.positions).logits
        assert torch.allclose(logits[part.chosen], layout.actor(*part.inputs)[part.chosen], atol=1e-4)


@pytest.mark.parametrize("trained_layers", [0, 1])
def test_side_and_content_of_the_padding_change_nothing(small: LoadedModel, trained_layers: int) -> None:
    layout = HydraLayout(fresh(small), rank=4, seed=1, trained_layers=trained_layers)
    rows, settings = judged(small, 6), config()
    train(layout, rows, settings)
    found = []
    for pad, left in ((0, False), (57, False), (pad_id(small.tokenizer), True), (small.tokenizer.eos_token_id, True)):
        part = collate(rows, pad=pad, pad_left=left)
        prepare([[part]], layout, settings, temperature=0.7, kl_coefficient=0.1)
        names = ("old", "reference", "values", "entropy", "advantages", "returns", "rewards")
        found.append(torch.stack([getattr(part, name)[part.chosen] for name in names]))
        assert not any(getattr(part, name)[~part.chosen].any() for name in names)
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=2e-5)


@pytest.mark.parametrize("pad_left", [False, True])
def test_logits_begin_where_the_first_response_is_drawn(small: LoadedModel, pad_left: bool) -> None:
    part, layout = collate(judged(small, 6), pad=0, pad_left=pad_left), _untrained(small)
    whole = chosen_logprobs(layout.actor(*part.inputs), part, 1.0)
    kept = layout.actor(*part.inputs, part.keep)
    # One token of a prompt, the last, has a use.
    starts = part.chosen.int().argmax(-1)
    assert kept.shape[1] == part.keep == part.ids.shape[1] - int(starts.min()) + 1
    assert torch.allclose(chosen_logprobs(kept, part, 1.0), whole, atol=1e-6)


def test_log_probabilities_and_values_are_those_of_each_row_alone(small: LoadedModel) -> None:
    """The token at t is scored by the logits, and valued by the state, at t - 1."""
    layout, settings, rows = _untrained(small), config(), judged(small, 5)
    train(layout, rows, settings)
    part = collate(rows, pad=0, pad_left=True)
    prepare([[part]], layout, settings, temperature=0.5, kl_coefficient=0.0)
    for line, row in enumerate(rows):
        ids = torch.tensor([row.rollout.prompt_ids + row.rollout.token_ids])
        inputs = (ids, torch.ones_like(ids), torch.arange(ids.shape[1]).unsqueeze(0))
        first = len(row.rollout.prompt_ids)
        with torch.no_grad():
            scores = (layout.actor(*inputs)[0] / 0.5).log_softmax(-1)
            values = layout.critic(*inputs)[0]
        here = part.chosen[line]
        expected = [scores[first + at - 1, token].item() for at, token in enumerate(row.rollout.token_ids)]
        assert part.old[line][here].tolist() == pytest.approx(expected, abs=1e-4)
        assert part.values[line][here].tolist() == pytest.approx(values[first - 1 : -1].tolist(), abs=1e-4)
        # A model with absolute positions must see them from 0 on, whatever the padding.
        assert part.positions[line][part.attention[line].bool()].tolist() == list(range(ids.shape[1]))


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_the_cut_into_micro_batches_changes_nothing(small: LoadedModel, kl_in: str) -> None:
    trained = []
    for size in (8, 3, 1):
        settings = config(minibatch_size=8, micro_batch_size=size, epochs=3, kl_in=kl_in)
        layout = HydraLayout(fresh(small), rank=4, seed=1)
        both = [*layout.actor_weights.values(), *layout.critic_weights.values()]
        # Plain descent: Adam would blow up the rounding of gradients that are zero.
        train(layout, judged(small, 8), settings, optimizer=torch.optim.SGD(both, lr=0.1))
        trained.append(torch.cat([weight.detach().flatten() for weight in both]))
    for other in trained[1:]:
        assert (trained[0] - other).abs().max().item() < 1e-6
    assert (
        trained[0] - torch.cat([weight.flatten() for weight in weights_of(_untrained(small)).values()])
    ).abs().max() > 1e-3


def _untrained(small: LoadedModel) -> Layout:
    return HydraLayout(fresh(small), rank=4, seed=1)


def test_each_token_of_a_ragged_batch_keeps_its_own_reward(small: LoadedModel) -> None:
    rows = judged(small, 6)
    part = collate(rows, pad=0, pad_left=True)
    for line, row in enumerate(rows):
        assert part.rewards[line][part.chosen[line]].tolist() == pytest.approx(list(row.rewards))
        assert part.ids[line][part.chosen[line]].tolist() == list(row.rollout.token_ids)
    assert {row.rewards[-1] for row in rows} != {rows[0].rewards[-1]}


def test_the_size_of_micro_batches_does_not_move_rows_between_optimizer_steps(small: LoadedModel) -> None:
    rows = judged(small, 8)
    cuts = [minibatches(rows, config(micro_batch_size=size), pad=0, seed=5) for size in (1, 4)]
    members = [[{row.rollout.problem.id for part in batch for row in part.rows} for batch in cut] for cut in cuts]
    assert members[0] == members[1]
    assert sorted(map(len, members[0])) == [4, 4]


def test_epochs_end_when_the_policy_has_moved_far_enough(small: LoadedModel) -> None:
    layout, settings = _untrained(small), config(epochs=50, learning_rate=1e-2, max_update_kl=0.02)
    stats, _ = train(layout, judged(small, 8), settings)
    assert stats.stopped_early
    assert 0 < stats.steps < 100
    assert max(stats.kl) <= 0.02


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_moves_no_weight_and_three_steps_stop_the_run(
    small: LoadedModel, tmp_path: Path, bad: float
) -> None:
    layout, faults = _untrained(small), Faults(tmp_path / "skipped.jsonl")
    rows = judged(small, 8)
    spoiled = [replace(rows[0], rewards=(bad, *rows[0].rewards[1:])), *rows[1:]]
    before, settings = weights_of(layout), config()
    optimizer = make_optimizer(layout, settings)
    train(layout, spoiled, settings, faults, optimizer)
    assert faults.counts["non_finite"] == 2
    assert not optimizer.state
    with pytest.raises(UserError, match=f"in a row.*{rows[0].rollout.problem.id}"):
        train(layout, spoiled, settings, faults, optimizer)
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(layout).items())
    saved = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert {"problem_id", "problem", "text", "token_ids", "rewards"} == set(saved[0])
    assert len(saved) == 4


def test_a_good_step_forgives_the_bad_ones_before_it(small: LoadedModel, tmp_path: Path) -> None:
    layout, faults, settings = _untrained(small), Faults(tmp_path / "skipped.jsonl"), config()
    rows = judged(small, 8)
    spoiled = [replace(rows[0], rewards=(math.nan, *rows[0].rewards[1:])), *rows[1:]]
    for _ in range(3):
        train(layout, spoiled, settings, faults)
        train(layout, rows, settings, faults)
    assert faults.counts["non_finite"] == 6


def test_importance_weights_come_from_the_samplers_own_log_probabilities(small: LoadedModel) -> None:
    layout, settings = _untrained(small), config(importance_cap=2.0)
    part = collate(judged(small, 4), pad=0)
    prepare([[part]], layout, settings, temperature=1.0, kl_coefficient=0.0)
    assert part.weights is not None
    expected = (part.old + 0.1).exp().clamp(max=2.0)
    assert torch.allclose(part.weights[part.chosen], expected[part.chosen], atol=1e-6)
