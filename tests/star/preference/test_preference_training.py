"""Preference training of the embedded model: its start, its effect, resume, and what changes nothing."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from prm.training_state import TrainingState
from star.checkpoints import LoadedModel
from star.preference.config import Loss, PreferenceConfig
from star.preference.pairs import Pair, Side, encode_pairs
from star.preference.training import pair_scores, train_preferences

LOSSES: list[Loss] = ["dpo", "step_dpo", "cpl"]


def fresh(tiny: LoadedModel) -> LoadedModel:
    return LoadedModel(copy.deepcopy(tiny.model), tiny.tokenizer, tiny.name, tiny.revision)


def pairs_of(tiny: LoadedModel, loss: Loss) -> list[tuple[Side, Side]]:
    """Worked solutions, and the same with the first result one too large: a preference that can be learnt."""
    found = []
    for problem in read_arithmetic({"difficulty": {2: 4, 3: 4}, "seed": 5}):
        chosen = split_steps(problem.solution or "")
        left, right = chosen[0].strip().split("=")
        found.append(Pair(problem=problem, chosen=chosen, rejected=(f"{left}={int(right) + 1}\n", *chosen[1:])))
    return encode_pairs(tiny.tokenizer, PromptTemplate("arithmetic"), found, loss)[0]


def config(**changes: Any) -> PreferenceConfig:
    values: dict[str, Any] = {"steps": 4, "batch_size": 4, "micro_batch_size": 4, "learning_rate": 1e-3}
    return PreferenceConfig(**(values | changes))


@pytest.mark.parametrize("loss", ["dpo", "step_dpo"])
def test_the_first_loss_is_log_2(tiny: LoadedModel, loss: Loss) -> None:
    report = train_preferences(fresh(tiny), pairs_of(tiny, loss), config(loss=loss, steps=1), seed=0)
    assert report.losses[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_training_raises_the_chosen_above_the_rejected(tiny: LoadedModel, loss: Loss) -> None:
    model, pairs = fresh(tiny), pairs_of(tiny, loss)

    def margin() -> float:
        with torch.no_grad():
            chosen, rejected = pair_scores(model.model, pairs, pad=0)
        return float((chosen - rejected).mean())

    before = margin()
    report = train_preferences(model, pairs, config(loss=loss, steps=6, learning_rate=3e-4), seed=0)
    assert margin() > before + 0.5
    assert report.losses[-1] < report.losses[0]


@pytest.mark.parametrize("pad", [0, 7])
def test_padding_changes_no_score(tiny: LoadedModel, pad: int) -> None:
    pairs = pairs_of(tiny, "dpo")
    with torch.no_grad():
        together = torch.stack(pair_scores(tiny.model, pairs, pad=pad))
        alone = [torch.stack(pair_scores(tiny.model, [pair], pad=pad))[:, 0] for pair in pairs]
    assert torch.allclose(together, torch.stack(alone, dim=1), atol=1e-4)


def test_cpl_at_one_trains_as_dpo_without_a_reference(tiny: LoadedModel) -> None:
    sides = pairs_of(tiny, "cpl")
    with torch.no_grad():
        chosen, rejected = pair_scores(tiny.model, sides, pad=0)
    expected = torch.nn.functional.softplus(-0.3 * (chosen - rejected)).mean().item()
    settings = config(loss="cpl", conservatism=1.0, gamma=1.0, beta=0.3, steps=1, batch_size=8)
    assert train_preferences(fresh(tiny), sides, settings, seed=0).losses[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_change_nothing(tiny: LoadedModel, loss: Loss) -> None:
    pairs, weights = pairs_of(tiny, loss), []
    for size in (1, 4):
        model = fresh(tiny)
        train_preferences(model, pairs, config(loss=loss, micro_batch_size=size, steps=1), seed=0)
        weights.append(torch.cat([weight.flatten() for weight in model.model.parameters()]))
    # Adam's first step is as large as the learning rate whatever the gradient is, so few weights may differ visibly.
    assert ((weights[0] - weights[1]).abs() > 1e-4).float().mean() < 1e-3


def test_a_resumed_training_ends_with_the_same_bits(tiny: LoadedModel, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def state() -> TrainingState:
        return TrainingState(tmp_path / "state.safetensors", key="key", every_s=0)

    def kill(step: int, *_: Any) -> None:
        if step == 2:
            raise Killed

    pairs, whole, resumed = pairs_of(tiny, "dpo"), fresh(tiny), fresh(tiny)
    expected = train_preferences(whole, pairs, config(), seed=0)
    with pytest.raises(Killed):
        train_preferences(fresh(tiny), pairs, config(), seed=0, state=state(), on_step=kill)
    report = train_preferences(resumed, pairs, config(), seed=0, state=state())
    assert report.losses == expected.losses
    assert all(torch.equal(one, other)
               for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))  # fmt: skip


def test_without_pairs_or_numbers_there_is_no_training(tiny: LoadedModel) -> None:
    with pytest.raises(UserError, match="no pairs"):
        train_preferences(fresh(tiny), [], config(), seed=0)
    broken = fresh(tiny)
    with torch.no_grad():
        next(broken.model.parameters())[3] = math.nan
    before = [weight.clone() for weight in broken.model.parameters()]
    with pytest.raises(UserError, match="no number at step 1"):
        train_preferences(broken, pairs_of(tiny, "dpo"), config(), seed=0)
    assert all(torch.equal(one, other) or one.isnan().any()
               for one, other in zip(before, broken.model.parameters(), strict=True))  # fmt: skip


def test_few_pairs_are_not_passed_over_for_ever() -> None:
    assert config(steps=100, batch_size=4, max_epochs=2.0).capped(8) == 4
    assert config(steps=3, batch_size=4, max_epochs=2.0).capped(8) == 3
    assert config(steps=3, batch_size=64, max_epochs=2.0).capped(2) == 1
