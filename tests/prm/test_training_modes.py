"""A frozen backbone: each solution computed once, dimensions of one size while learning, plain states when done."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from data.errors import UserError
from prm.labels import LabelledSolution
from prm.losses import step_cross_entropy
from prm.model import LoadedPrm, build_prm, step_states
from prm.model_config import ModelForm
from prm.network import ClassHead
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_modes import FrozenStates, StateScale
from prm.training_rows import TrainingRow, prepare_rows
from star.checkpoints import EMBEDDED

CONFIG = PrmTrainingConfig(mode="frozen", steps=5, batch_tokens=60, micro_batch_tokens=60, evaluate_every=2)
SOLUTIONS = [
    LabelledSolution(problem="12+3=?", steps=("12+3=15", "#15"), values=(1.0, 1.0), source="symbolic"),
    LabelledSolution(problem="12+3=?", steps=("12+3=16", "#16"), values=(0.0, None), source="symbolic"),
]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_folded_head_says_of_plain_states_what_it_said_of_scaled_ones(head: str) -> None:
    torch.manual_seed(0)
    states = torch.randn(50, 8) * torch.tensor([1e-2, 1, 1, 1, 1, 1, 1, 300.0]) + 5
    states[:, 3] = 2.0
    trained = ClassHead(8, ModelForm.model_validate({"head": head}))
    for weight in trained.parameters():
        weight.data.normal_()
    scale = StateScale(states)
    scaled = scale.apply(states)
    assert scaled.std(0, correction=0).sub(torch.tensor([1, 1, 1, 0, 1, 1, 1, 1.0])).abs().max() < 1e-3
    said = trained(scaled)
    scale.fold_into(trained)
    assert (trained(states) - said).abs().max() < 1e-2


def test_a_head_learns_from_a_small_dimension_beside_a_huge_one() -> None:
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED))
    rows = prepare_rows(loaded.encoder, SOLUTIONS, CONFIG, Counter())
    states = FrozenStates(loaded.model.decoder)
    noise = torch.Generator().manual_seed(0)
    for row in rows:
        found = torch.zeros(len(row.weights), 128)
        found[:, 0] = torch.tensor([1e-2 * (target[1] - 0.5) for target in row.targets])
        found[:, 1] = 1000 * torch.randn(len(row.weights), generator=noise)
        states.known[tuple(row.encoded.ids), tuple(row.encoded.step_ends)] = found
    report = train_prm(
        loaded, rows, CONFIG.model_copy(update={"steps": 100, "learning_rate": 0.1}), seed=0, states=states
    )
    assert report.losses[-1] < 0.05


def noisy_rows(loaded: LoadedPrm, n: int) -> tuple[list[TrainingRow], FrozenStates]:
    """Rows of as many problems as rows, each step right by the sign of one dimension in 128, but for noise."""
    draw, states = torch.Generator().manual_seed(0), FrozenStates(loaded.model.decoder)
    solutions = [
        LabelledSolution(problem=f"{at}+3=?", steps=("1", "2"), values=(1.0, 0.0), source="symbolic") for at in range(n)
    ]
    rows = prepare_rows(loaded.encoder, solutions, CONFIG, Counter())
    for row in rows:
        found = torch.randn(2, 128, generator=draw)
        right = found[:, 0] + 0.5 * torch.randn(2, generator=draw) > 0
        row.targets[:] = [[float(not one), float(one)] for one in right]
        states.known[tuple(row.encoded.ids), tuple(row.encoded.step_ends)] = found
    return rows, states


def test_a_probe_is_held_back_so_far_that_it_says_of_other_problems_what_it_says_of_its_own() -> None:
    torch.set_num_threads(1)
    found = {}
    for mode in ("frozen", "probe"):
        loaded = build_prm(str(EMBEDDED))
        rows, states = noisy_rows(loaded, 300)
        config = CONFIG.model_copy(update={"mode": mode, "steps": 40, "batch_tokens": 8192, "learning_rate": 0.05})
        report = train_prm(loaded, rows[:150], config, seed=0, dev=rows[150:], states=states)
        logits = loaded.model.head(states.read([row.encoded for row in rows[150:]]))
        targets = torch.tensor([target for row in rows[150:] for target in row.targets])
        found[mode] = step_cross_entropy(logits, targets, torch.ones(len(targets))).item() / len(targets)
    assert report.evaluations[-1][2] == pytest.approx(found["probe"], abs=1e-3)
    # What was left out is as hard as what was never seen.
    assert report.losses == pytest.approx([found["probe"]], abs=0.05)
    assert found["probe"] < 0.6 < 0.69 < found["frozen"]  # 0.69: a coin.


def test_a_probe_that_cannot_be_is_refused() -> None:
    probe = CONFIG.model_copy(update={"mode": "probe"})
    for form, settings, said in (
        (ModelForm(head="mlp"), {}, "linear"),
        (ModelForm(), {"loss": "ranking"}, "cross-entropy"),
        (ModelForm(), {}, "several problems"),
    ):
        loaded = build_prm(str(EMBEDDED), form)
        rows = prepare_rows(loaded.encoder, SOLUTIONS, CONFIG, Counter())
        with pytest.raises(UserError, match=said):
            train_prm(loaded, rows, probe.model_copy(update=settings), seed=0)


def test_equal_solutions_are_computed_once_and_shared_between_trainings() -> None:
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED))
    rows = prepare_rows(loaded.encoder, SOLUTIONS * 3, CONFIG, Counter())
    seen: list[int] = []
    hook = loaded.model.decoder.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    states = FrozenStates(loaded.model.decoder)
    train_prm(loaded, rows, CONFIG, seed=0, dev=rows, states=states)
    assert sum(seen) == 2
    again = build_prm(str(EMBEDDED))
    train_prm(again, rows, CONFIG, seed=0, dev=rows, states=states)
    assert sum(seen) == 2
    hook.remove()
    assert torch.equal(again.model.head.score[0].weight, loaded.model.head.score[0].weight)
    plain = step_states(loaded.model.decoder, [row.encoded for row in rows])
    assert (states.read([row.encoded for row in rows]) - plain).abs().max() < 1e-4
