"""Training: exact resume, batches that change nothing, labels that stay what they are, the best weights kept."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from data.errors import UserError
from prm.labels import LabelledSolution
from prm.model import LoadedPrm, build_prm
from prm.model_config import ModelForm
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_rows import TrainingRow, batch_order, prepare_rows, split_by_problem, token_batches
from prm.training_state import TrainingState
from star.checkpoints import EMBEDDED


def _neighbour(name: str) -> ModuleType:
    """A module beside this one; tests are no package."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


killed_training = _neighbour("killed_training")


def solution(problem: str, steps: str, values: tuple[float | None, ...], **fields: object) -> LabelledSolution:
    return LabelledSolution(
        problem=problem,
        steps=tuple(steps.split()),
        values=values,
        source="symbolic",
        **fields,  # type: ignore[arg-type]
    )


SOLUTIONS = [
    solution("12+3-4=?", "12+3=15 15-4=11 #11", (1.0, 1.0, 1.0), outcome=True),
    solution("12+3-4=?", "12+3=16 16-4=12 #12", (0.0, 1.0, 0.0), outcome=False),
    solution("9+9=?", "9+9=18 #18", (1.0, 1.0), outcome=True),
    solution("9+9=?", "9+9=17 #17", (0.25, None), outcome=False),
    solution("50-7+2-6=?", "50-7=43 43+2=45 45-6=38 #38", (1.0, 1.0, 0.0, None), outcome=False),
]


def fresh(**form: object) -> LoadedPrm:
    torch.set_num_threads(1)
    return build_prm(str(EMBEDDED), ModelForm(**form))  # type: ignore[arg-type]


def rows_for(config: PrmTrainingConfig, loaded: LoadedPrm | None = None, n_classes: int = 2) -> list[TrainingRow]:
    loaded = loaded or fresh()
    return prepare_rows(loaded.encoder, SOLUTIONS, config, Counter(), n_classes=n_classes)


def trained(config: PrmTrainingConfig, **options: object) -> LoadedPrm:
    loaded = fresh()
    train_prm(loaded, rows_for(config, loaded), config, seed=3, **options)  # type: ignore[arg-type]
    return loaded


def weights_of(loaded: LoadedPrm) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in loaded.model.parameters()])


SMALL = PrmTrainingConfig(steps=6, batch_tokens=60, micro_batch_tokens=60, save_every_s=0, evaluate_every=2)


def test_training_twice_gives_equal_bits() -> None:
    assert torch.equal(weights_of(trained(SMALL)), weights_of(trained(SMALL)))


@pytest.mark.parametrize("loss", ["cross_entropy", "ranking"])
def test_micro_batches_give_the_weights_of_the_whole_batch(loss: str) -> None:
    base = SMALL.model_copy(update={"loss": loss, "outcome_weight": 0.5, "batch_tokens": 1000, "class_balance": True})
    base = base.model_copy(update={"language_weight": 0.5})
    whole, parts = (weights_of(trained(base.model_copy(update={"micro_batch_tokens": tokens}))) for tokens in (1000, 1))
    assert (whole - parts).abs().max() < 1e-4


@pytest.mark.parametrize("mode", ["full", "lora", "frozen"])
def test_a_training_that_was_stopped_goes_on_to_equal_bits(tmp_path: Path, mode: str) -> None:
    config = SMALL.model_copy(update={"mode": mode, "lora_rank": 2})
    dev = rows_for(config)
    whole = trained(config, dev=dev)
    state = TrainingState(tmp_path / "state.safetensors", key="k", every_s=0)

    def stop(step: int, _: int, __: float) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(config, dev=dev, state=state, on_step=stop)
    seen: list[int] = []
    resumed = trained(config, dev=dev, state=state, on_step=lambda step, _, __: seen.append(step))
    assert seen == [5, 6]
    assert torch.equal(weights_of(whole), weights_of(resumed))


def test_kill_9_and_resume_gives_identical_weights(tmp_path: Path) -> None:
    command = [sys.executable, str(killed_training.__file__), str(tmp_path / "killed"), "5"]
    assert subprocess.run(command, check=False, timeout=900).returncode == -signal.SIGKILL
    killed_training.train(tmp_path / "killed")
    killed_training.train(tmp_path / "whole")
    whole, killed = (sorted((tmp_path / name / "prm").glob("*.safetensors")) for name in ("whole", "killed"))
    assert len(whole) == 2
    assert [file.read_bytes() for file in whole] == [file.read_bytes() for file in killed]
    assert (tmp_path / "killed" / "steps.txt").read_text() == "12345678"


def test_the_best_weights_on_dev_rows_are_the_result() -> None:
    config = SMALL.model_copy(update={"steps": 8, "evaluate_every": 1, "learning_rate": 0.03})
    loaded, (*train, dev_wrong, dev_right) = fresh(), [rows_for(SMALL)[at] for at in (0, 4, 3, 1, 2)]
    report = train_prm(loaded, train, config, seed=3, dev=[dev_wrong, dev_right])
    best = max(report.evaluations, key=lambda row: (row[1], -row[2]))
    assert report.best_step == best[0] < 8
    shorter = fresh()

    def stop(step: int, _: int, __: float) -> None:
        if step == report.best_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_prm(shorter, train, config, seed=3, on_step=stop)
    assert torch.equal(weights_of(loaded), weights_of(shorter))


@pytest.mark.parametrize("mode", ["full", "lora", "frozen"])
def test_each_mode_learns_what_it_may_and_nothing_else(mode: str) -> None:
    config = SMALL.model_copy(update={"mode": mode, "steps": 12, "batch_tokens": 1000, "lora_rank": 2})
    before, loaded = fresh(), fresh()
    report = train_prm(loaded, rows_for(config, loaded), config, seed=0)
    assert report.losses[-1] < report.losses[0]
    backbones = [torch.cat([weight.flatten() for weight in one.model.network.parameters()]) for one in (before, loaded)]
    assert torch.equal(*backbones) == (mode == "frozen")
    assert set(loaded.model.state_dict()) == set(before.model.state_dict())


def test_label_tokens_learn_through_the_language_model() -> None:
    loaded = fresh(form="tokens")
    config = SMALL.model_copy(update={"steps": 12, "batch_tokens": 1000})
    report = train_prm(loaded, rows_for(config, loaded), config, seed=0)
    assert report.losses[-1] < report.losses[0]
    with pytest.raises(UserError, match="nothing would learn"):
        train_prm(fresh(form="tokens"), rows_for(config), config.model_copy(update={"mode": "frozen"}), seed=0)


def test_the_language_loss_is_that_of_the_tokens_of_right_steps_alone() -> None:
    from transformers import AutoModelForCausalLM

    config = SMALL.model_copy(update={"steps": 1, "batch_tokens": 1000, "language_weight": 1.0})
    with_it, without = fresh(), fresh()
    report = train_prm(with_it, rows_for(config, with_it)[1:3], config, seed=0)
    bare = train_prm(without, rows_for(config)[1:3], config.model_copy(update={"language_weight": 0.0}), seed=0)
    plain = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    row = without.encoder.encode(SOLUTIONS[2].problem, SOLUTIONS[2].steps)  # Of the other one the first step is wrong.
    with torch.no_grad():
        log_p = plain(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    places = range(row.prompt_length, row.step_ends[-1] + 1)
    expected = -sum(log_p[at - 1, row.ids[at]].item() for at in places) / len(places)
    assert report.losses[0] - bare.losses[0] == pytest.approx(expected, rel=1e-3)
    assert not torch.equal(weights_of(with_it), weights_of(without))


def test_an_outcome_model_imitates_solutions_with_the_right_answer_alone() -> None:
    rows = rows_for(SMALL.model_copy(update={"target": "outcome"}))
    assert [row.chances for row in rows[:2]] == [[1.0] * 3, [0.0] * 3]


def test_a_language_loss_that_cannot_be_is_refused() -> None:
    config = SMALL.model_copy(update={"language_weight": 1.0})
    with pytest.raises(UserError, match="frozen"):
        train_prm(fresh(), rows_for(config), config.model_copy(update={"mode": "frozen"}), seed=0)
    loaded = fresh()
    loaded.model.network.config.tie_word_embeddings = False
    with pytest.raises(UserError, match="output embedding"):
        train_prm(loaded, rows_for(config), config, seed=0)


def test_a_loss_that_is_no_number_stops_before_the_update() -> None:
    loaded = fresh()
    with torch.no_grad():
        next(loaded.model.network.parameters())[5] = math.nan
    before = weights_of(loaded)
    with pytest.raises(UserError, match="learning_rate"):
        train_prm(loaded, rows_for(SMALL), SMALL, seed=0)
    assert torch.equal(before.nan_to_num(7.0), weights_of(loaded).nan_to_num(7.0))


def test_steps_after_the_first_error_are_masked_kept_or_wrong() -> None:
    taught = {}
    for rule in ("mask", "keep", "wrong"):
        row = rows_for(SMALL.model_copy(update={"after_error": rule}))[1]
        taught[rule] = [target[1] if weight else None for target, weight in zip(row.targets, row.weights, strict=True)]
    assert taught == {"mask": [0.0, None, None], "keep": [0.0, 1.0, 0.0], "wrong": [0.0, 0.0, 0.0]}


def test_a_soft_label_stays_soft_and_no_label_stays_none() -> None:
    row = rows_for(SMALL.model_copy(update={"after_error": "keep"}))[3]
    assert row.targets[0] == [0.75, 0.25]
    assert row.weights == [1.0, 0.0]


def test_an_outcome_model_is_taught_the_last_step_alone() -> None:
    rows = rows_for(SMALL.model_copy(update={"target": "outcome"}))
    assert [row.weights for row in rows[:2]] == [[0.0, 0.0, 1.0]] * 2
    assert [row.targets[-1] for row in rows[:2]] == [[0.0, 1.0], [1.0, 0.0]]


def test_a_right_answer_by_a_wrong_step_calls_no_step_right() -> None:
    slips = solution("1+1+1=?", "1+1=3 3+1=3 #3", (0.0, None, None), outcome=True)
    (row,) = prepare_rows(fresh().encoder, [slips], SMALL.model_copy(update={"outcome_weight": 1.0}), Counter())
    assert row.outcome is None
    assert row.weights == [1.0, 0.0, 0.0]


def test_neutral_is_a_class_of_its_own_only_where_there_are_three() -> None:
    rated = solution("1+1=?", "a b c", (1.0, None, 0.0), ratings=(1, 0, -1))
    loaded = fresh()
    for n_classes, expected in ((2, [1.0, 0.0, 1.0]), (3, [1.0, 1.0, 1.0])):
        (row,) = prepare_rows(loaded.encoder, [rated], SMALL, Counter(), n_classes=n_classes)
        assert row.weights == expected
        assert all(len(target) == n_classes for target in row.targets)
    assert row.targets == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_rows_that_cannot_be_used_are_counted_by_reason() -> None:
    counts: Counter[str] = Counter()
    loaded = fresh()
    wanted = [SOLUTIONS[0], solution("q", "a", (None,)), solution("q", "a " * 3000, (1.0,) * 3000)]
    assert len(prepare_rows(loaded.encoder, wanted, SMALL, counts)) == 1
    assert counts == {"encoded": 2, "unlabelled": 1, "too_long": 1}


def test_no_problem_is_on_both_sides_of_the_split() -> None:
    many = [solution(f"{n % 40}+1=?", "a b", (1.0, 1.0)) for n in range(400)]
    train, dev = split_by_problem(many, 0.3)
    assert not {one.problem for one in train} & {one.problem for one in dev}
    assert 4 <= len({one.problem for one in dev}) <= 20
    alone = {one.problem for one in split_by_problem(many[:7], 0.3)[1]}
    assert alone == {one.problem for one in dev} & {one.problem for one in many[:7]}, "depends on nothing else"


def test_batches_keep_the_budget_and_every_row_is_seen_once_a_pass() -> None:
    lengths = [5, 9, 2, 40, 7, 7, 3, 8, 1, 6]
    order = batch_order(lengths, 20, 50, seed=0)
    assert len(order) == 50
    assert all(len(batch) * max(lengths[row] for row in batch) <= 20 or len(batch) == 1 for batch in order)
    a_pass = len(token_batches(lengths, sorted(range(10), key=lengths.__getitem__), 20))
    assert sorted(row for batch in order[:a_pass] for row in batch) == list(range(10))
    assert order == batch_order(lengths, 20, 50, seed=0) != batch_order(lengths, 20, 50, seed=1)


def test_a_state_of_another_training_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    trained(SMALL, state=TrainingState(file, key="one", every_s=0))
    seen: list[int] = []
    state = TrainingState(file, key="other", every_s=0)
    trained(SMALL, state=state, on_step=lambda step, _, __: seen.append(step))
    assert seen == [1, 2, 3, 4, 5, 6]
    file.write_bytes(file.read_bytes()[:-50])
    assert state.restore({}, None).losses == []
