"""The PPO loop: exact resume after SIGKILL, and what it does with bad input."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import star.ppo.config
from data.errors import DependencyError, RunFolderError, UserError
from data.records import Problem, Status
from star.checkpoints import LoadedModel
from star.generation.base import Completion, Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator
from star.ppo.config import PpoConfig
from star.ppo.judging import one_by_one
from star.ppo.trainer import PpoReport, PpoTrainer
from tests.star.ppo import killed_ppo
from tests.star.ppo.killed_ppo import score, small_task, trainer
from tests.star.ppo.samples import fresh


def weights(of: PpoTrainer) -> dict[str, torch.Tensor]:
    both = {**of.layout.actor_weights, **of.layout.critic_weights}
    return {name: weight.detach().clone() for name, weight in both.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[PpoTrainer, PpoReport, list[Any]]:
    """A run that was never stopped, its report, and the numbers of its iterations."""
    numbers: list[Any] = []
    one = trainer(fresh(tiny), tmp_path_factory.mktemp("whole"))
    return one, one.run(lambda _, found, __: numbers.append(found)), numbers


def test_kill_nine_and_resume_give_the_weights_of_a_run_never_stopped(
    tiny: LoadedModel, tmp_path: Path, whole: tuple[PpoTrainer, PpoReport, list[Any]]
) -> None:
    resumed_numbers: list[dict[str, float]] = []
    # The seventh step is in the middle of the second iteration.
    command = [sys.executable, killed_ppo.__file__, str(tmp_path / "killed"), "7"]
    root = Path(__file__).parents[3]
    killed = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = trainer(fresh(tiny), tmp_path / "killed")
    again = resumed.run(lambda _, found, __: resumed_numbers.append(found))
    assert len(resumed_numbers) == 2
    assert equal(weights(whole[0]), weights(resumed))
    assert not equal(weights(whole[0]), weights(trainer(fresh(tiny), tmp_path / "new")))
    assert again == whole[1]
    for one, other in zip(whole[2][1:], resumed_numbers, strict=True):
        assert {k: v for k, v in one.items() if "perf/" not in k} == {
            k: v for k, v in other.items() if "perf/" not in k
        }


def test_a_run_interrupted_while_it_scores_goes_on_to_the_same_weights(
    tiny: LoadedModel, tmp_path: Path, whole: tuple[PpoTrainer, PpoReport, list[Any]]
) -> None:
    calls = 0

    def interrupting(problem: str, steps: Sequence[str]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return score(problem, steps)

    with pytest.raises(KeyboardInterrupt):
        trainer(fresh(tiny), tmp_path / "cut", small_task(scorer=one_by_one(interrupting))).run()
    resumed = trainer(fresh(tiny), tmp_path / "cut")
    resumed.run()
    assert equal(weights(whole[0]), weights(resumed))


def test_a_finished_run_is_not_run_again_and_a_longer_one_goes_on(tiny: LoadedModel, tmp_path: Path) -> None:
    seen: list[int] = []
    report = trainer(fresh(tiny), tmp_path, iterations=1).run(lambda number, _, __: seen.append(number))
    assert trainer(fresh(tiny), tmp_path, iterations=1).run(lambda number, _, __: seen.append(number)) == report
    trainer(fresh(tiny), tmp_path, iterations=2).run(lambda number, _, __: seen.append(number))
    assert seen == [1, 2]


def test_a_state_of_another_run_or_a_damaged_one_is_refused(tiny: LoadedModel, tmp_path: Path) -> None:
    trainer(fresh(tiny), tmp_path, iterations=1).run()
    with pytest.raises(RunFolderError, match="belongs to"):
        trainer(fresh(tiny), tmp_path, iterations=1, gamma=0.9)
    file = tmp_path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RunFolderError, match="damaged"):
        trainer(fresh(tiny), tmp_path, iterations=1)


@pytest.mark.parametrize(
    ("sampling", "why"),
    [
        (SamplingParams(top_p=0.95), "lost mass"),
        (SamplingParams(top_k=50), "lost mass"),
        (SamplingParams(temperature=0.0), "greedily"),
        (SamplingParams(temperature=0.7), "temperature 1"),
    ],
)
def test_a_sampler_that_biases_the_ratio_is_refused(
    tiny: LoadedModel, tmp_path: Path, sampling: SamplingParams, why: str
) -> None:
    with pytest.raises(UserError, match=why):
        trainer(fresh(tiny), tmp_path, small_task(sampling=sampling))


def test_a_temperature_is_the_same_in_old_and_new_log_probabilities(tiny: LoadedModel, tmp_path: Path) -> None:
    task = small_task(sampling=SamplingParams(temperature=0.7, max_tokens=30))
    found: list[dict[str, float]] = []
    trainer(fresh(tiny), tmp_path, task, iterations=1, importance_cap=0.0).run(lambda _, one, __: found.append(one))
    assert found[0]["policy/ratio_first"] == 1.0
    assert found[0]["sampler/mismatch_max"] < 1e-4


def test_the_prm_alone_needs_an_explicit_flag() -> None:
    with pytest.raises(ValueError, match="prm_only"):
        PpoConfig(outcome_weight=0.0)
    with pytest.raises(ValueError, match="prm_only"):
        PpoConfig(prm_only=True)
    assert PpoConfig(outcome_weight=0.0, prm_only=True).prm_only


@pytest.mark.parametrize("change", [{"heldout": []}, {"problems": []}, {"scorer": None}])
def test_what_cannot_be_trained_on_or_measured_is_refused(
    tiny: LoadedModel, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(UserError):
        trainer(fresh(tiny), tmp_path, small_task(**change))


def test_held_out_problems_must_not_be_trained_on(tiny: LoadedModel, tmp_path: Path) -> None:
    task = small_task()
    with pytest.raises(UserError, match="1 held-out"):
        trainer(fresh(tiny), tmp_path, replace(task, heldout=[*task.heldout, task.problems[0]]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_skip_the_step_and_the_third_stops_the_run(
    tiny: LoadedModel, tmp_path: Path, bad: float
) -> None:
    broken = trainer(fresh(tiny), tmp_path, small_task(scorer=one_by_one(lambda _, steps: [bad] * len(steps))))
    before = weights(broken)
    with pytest.raises(UserError, match="3 PPO steps in a row"):
        broken.run()
    assert equal(before, weights(broken))
    saved = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert len(saved) == 6
    assert {row["problem_id"] for row in saved} <= {problem.id for problem in small_task().problems}


def test_a_critic_that_gives_no_number_moves_no_weight_and_stops_the_run(tiny: LoadedModel, tmp_path: Path) -> None:
    broken = trainer(fresh(tiny), tmp_path)
    with torch.no_grad():
        broken.layout.critic_weights["bias"].fill_(math.nan)
    at_first = {name: weight.detach().clone() for name, weight in broken.layout.actor_weights.items()}
    with pytest.raises(UserError, match=r"3 PPO steps in a row.*not finite"):
        broken.run()
    assert equal(at_first, {name: weight.detach() for name, weight in broken.layout.actor_weights.items()})


def test_one_bad_iteration_is_counted_and_the_run_goes_on(tiny: LoadedModel, tmp_path: Path) -> None:
    calls = 0

    def sometimes(problem: str, steps: Sequence[str]) -> list[float]:
        nonlocal calls
        calls += 1
        return [math.nan if calls == 1 else 0.5] * len(steps)

    report = trainer(fresh(tiny), tmp_path, small_task(scorer=one_by_one(sometimes))).run()
    assert report.iterations == 3
    assert report.counts["non_finite_reward"] == 1
    assert len(report.curve) == 2


@pytest.mark.parametrize(("extra", "why"), [(-1, "gave . scores for"), (1, "gave . scores for")])
def test_a_scorer_that_counts_steps_otherwise_is_an_error(
    tiny: LoadedModel, tmp_path: Path, extra: int, why: str
) -> None:
    scorer = one_by_one(lambda _, steps: [0.5] * (len(steps) + extra))
    with pytest.raises(UserError, match=why):
        trainer(fresh(tiny), tmp_path, small_task(scorer=scorer)).run()


def test_scores_outside_the_range_are_an_error_but_for_log_ratios(tiny: LoadedModel, tmp_path: Path) -> None:
    task = small_task(scorer=one_by_one(lambda _, steps: [-2.5] * len(steps)))
    with pytest.raises(UserError, match="implicit"):
        trainer(fresh(tiny), tmp_path / "a", task).run()
    implicit = star.ppo.config.CreditConfig(form="implicit")
    assert trainer(fresh(tiny), tmp_path / "b", task, iterations=1, credit=implicit).run().iterations == 1


def undecided_in_training(task_problems: Sequence[Problem], every: int) -> Any:
    """A verifier that decides on held-out problems, and on some of those trained on."""
    lost = {problem.id for problem in task_problems[::every]}

    def verify(pairs: Sequence[tuple[Problem, str]]) -> list[Status]:
        return [Status.UNDECIDED if problem.id in lost else Status.CORRECT for problem, _ in pairs]

    return verify


def test_a_run_whose_every_verdict_is_undecided_stops_and_says_why(tiny: LoadedModel, tmp_path: Path) -> None:
    verify = undecided_in_training(small_task().problems, 1)
    broken = trainer(fresh(tiny), tmp_path, small_task(verify=verify))
    before = weights(broken)
    with pytest.raises(UserError, match="verdicts could be decided"):
        broken.run()
    assert equal(before, weights(broken))


def test_too_many_undecided_verdicts_stop_the_run(tiny: LoadedModel, tmp_path: Path) -> None:
    verify = undecided_in_training(small_task().problems, 3)
    with pytest.raises(UserError, match="max_undecided_share"):
        trainer(fresh(tiny), tmp_path, small_task(verify=verify)).run()
    report = trainer(
        fresh(tiny), tmp_path / "b", small_task(verify=verify), max_undecided_share=0.9, iterations=2
    ).run()
    assert report.counts["undecided"] > 0


def test_responses_below_the_minimum_are_counted_and_nothing_old_is_trained_on(
    tiny: LoadedModel, tmp_path: Path
) -> None:
    short = trainer(fresh(tiny), tmp_path, min_response_tokens=500)
    with pytest.raises(UserError, match=r"no response could be used.*too_short"):
        short.run()


def test_a_policy_whose_every_response_is_cut_off_is_penalized_or_dropped(tiny: LoadedModel, tmp_path: Path) -> None:
    task = small_task(sampling=SamplingParams(max_tokens=3))
    found: list[dict[str, float]] = []
    trainer(fresh(tiny), tmp_path / "a", task, iterations=1).run(lambda _, one, __: found.append(one))
    assert found[0]["objective/scores"] == -1.0
    assert found[0]["response/truncated"] == 1.0
    with pytest.raises(UserError, match="has a part in the loss"):
        trainer(fresh(tiny), tmp_path / "b", task, truncation="drop").run()


class Declining:
    """A verifier under which each measurement on held-out problems is worse than the one before."""

    def __init__(self, heldout: Sequence[Problem]) -> None:
        self.heldout = {problem.id for problem in heldout}
        self.measurements = 0

    def __call__(self, pairs: Sequence[tuple[Problem, str]]) -> list[Status]:
        if {problem.id for problem, _ in pairs} <= self.heldout:
            self.measurements += 1
        good = self.measurements < 2
        return [Status.CORRECT if good else Status.INCORRECT for _ in pairs]


def test_the_gate_stops_the_run_and_gives_the_best_policy_back(tiny: LoadedModel, tmp_path: Path) -> None:
    task = small_task(verify=Declining(small_task().heldout))
    guards = star.ppo.config.GuardConfig(gate_every=1)
    stopped = trainer(fresh(tiny), tmp_path, task, guards=guards, iterations=5)
    at_first = {name: weight.detach().clone() for name, weight in stopped.layout.actor_weights.items()}
    report = stopped.run()
    assert (report.iterations, report.best_iteration, report.best_accuracy) == (1, 0, 1.0)
    assert "fell from 1.000 to 0.000" in report.stopped
    assert equal(at_first, {name: weight.detach() for name, weight in stopped.layout.actor_weights.items()})
    # It does not go on when it is started again.
    again = trainer(fresh(tiny), tmp_path, task, guards=guards, iterations=5)
    assert again.run() == report


def test_a_policy_that_left_the_reference_behind_is_stopped(tiny: LoadedModel, tmp_path: Path) -> None:
    guards = star.ppo.config.GuardConfig(baseline=1, max_kl=1e-9, gate_drop=1.0)
    found: list[dict[str, float]] = []
    far = trainer(fresh(tiny), tmp_path, guards=guards, learning_rate=0.01, iterations=6)
    report = far.run(lambda _, one, __: found.append(one))
    assert report.iterations < 6
    assert report.stopped.startswith("kl")
    assert found[0]["objective/kl"] == 0.0
    assert found[-1]["objective/kl"] > 1e-9


class Recorded:
    """An engine that passes on what another one drew, changed."""

    engine, model, revision = "recorded", "m", "r"

    def __init__(self, inner: TransformersGenerator, **changes: Any) -> None:
        self.inner, self.changes = inner, changes

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for completion in self.inner.generate(requests):
            yield replace(completion, **{name: change(completion) for name, change in self.changes.items()})

    def close(self) -> None:
        """Nothing to free."""


def engine_with(**changes: Any) -> Any:
    return lambda layout, _: Recorded(TransformersGenerator(layout.merged()), **changes)


def test_any_engine_with_log_probabilities_will_do_and_is_compared(tiny: LoadedModel, tmp_path: Path) -> None:
    found: list[dict[str, float]] = []
    shifted = engine_with(logprobs=lambda row: tuple(value - 0.25 for value in row.logprobs))
    trainer(fresh(tiny), tmp_path, small_task(engine=shifted), iterations=1).run(lambda _, one, __: found.append(one))
    assert found[0]["sampler/mismatch_mean"] == pytest.approx(0.25, abs=1e-3)
    assert found[0]["policy/ratio_first"] == 1.0


def test_an_engine_without_log_probabilities_is_refused(tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="log-probabilit"):
        trainer(fresh(tiny), tmp_path, small_task(engine=engine_with(logprobs=lambda _: ()))).run()


def test_samples_that_failed_or_do_not_spell_their_text_are_counted(tiny: LoadedModel, tmp_path: Path) -> None:
    garbled = engine_with(text=lambda row: row.text + "?" if row.request_id.endswith("-0") else row.text)
    report = trainer(fresh(tiny), tmp_path, small_task(engine=garbled), iterations=1).run()
    assert report.counts == {"misplaced": 3}


def test_every_setting_is_read_somewhere() -> None:
    """A flag that is parsed and never read is a silent lie."""
    folder = Path(star.ppo.config.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    for kind in (PpoConfig, star.ppo.config.GuardConfig, star.ppo.config.CreditConfig):
        for name in kind.model_fields:
            assert re.search(rf"(config|guards|self)\.{name}\b", source), name


def test_tensorboard_events_hold_the_standard_names_or_its_absence_is_said(tiny: LoadedModel, tmp_path: Path) -> None:
    task, config = small_task(), killed_ppo.small_config(iterations=1)
    try:
        import tensorboard  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(DependencyError, match=r"stepstar\[track\]"):
            PpoTrainer(fresh(tiny), task, config, folder=tmp_path, tensorboard=True)
        return
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        EventAccumulator,
    )

    PpoTrainer(fresh(tiny), task, config, folder=tmp_path, tensorboard=True).run()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert {"objective/kl", "policy/approxkl_avg", "loss/value_avg", "val/ratio"} <= set(events.Tags()["scalars"])
