"""Credit forms: golden values, and how much a policy could collect by adding steps that the PRM likes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star.ppo.credit import FORMS, CreditConfig, Form, clip, delta, min_form, progress, step_rewards

SCORES = [0.9, 0.2, 0.6]
scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sum", [0.9, 0.2, 0.6]),
        ("clip", [0.0, -0.3, 0.0]),
        ("delta", [0.7, -0.4, 0.6]),
        ("clip+delta", [0.3, -0.3, 0.0]),
        ("implicit", [0.045, 0.01, 0.03]),
        ("progress", [0.5, -0.7, 0.4]),
        ("gated", [0.9, 0.2, 0.6]),
    ],
)
def test_golden_values(form: Form, expected: list[float]) -> None:
    found = step_rewards(SCORES, CreditConfig(form=form), solved=True, start=0.4)
    assert found == pytest.approx(expected)


def test_min_form_puts_nearly_everything_on_the_worst_step() -> None:
    weights = [math.exp(-(2 * score - 1) / 0.1) for score in SCORES]
    expected = [w / sum(weights) * (2 * score - 1) for w, score in zip(weights, SCORES, strict=True)]
    assert min_form(SCORES, 0.1) == pytest.approx(expected)
    assert sum(min_form(SCORES, 0.001)) == pytest.approx(2 * min(SCORES) - 1)


@given(scores)
def test_delta_telescopes_so_the_return_of_a_step_is_its_own_score(row: list[float]) -> None:
    for place in range(len(row)):
        assert sum(delta(row)[place:]) == pytest.approx(row[place], abs=1e-9)


@given(scores, st.floats(0, 1))
def test_progress_adds_up_to_the_last_rate_less_the_first(row: list[float], start: float) -> None:
    assert sum(progress(row, start)) == pytest.approx(row[-1] - start, abs=1e-9)


@given(scores)
def test_gated_pays_nothing_for_a_wrong_answer(row: list[float]) -> None:
    assert step_rewards(row, CreditConfig(form="gated"), solved=False) == [0.0] * len(row)


@given(scores, st.sampled_from(["clip", "clip+delta"]))
def test_no_number_of_steps_earns_anything_under_a_clip(row: list[float], form: Form) -> None:
    rewards = step_rewards(row, CreditConfig(form=form), solved=True)
    assert all(sum(rewards[place:]) <= 1e-9 for place in range(len(row)))


@given(scores, st.integers(0, 30))
def test_a_perfect_step_more_changes_no_return_under_clip_and_delta(row: list[float], place: int) -> None:
    """Filler that a PRM adores, wherever it is put in, leaves the return of the first real step as it was."""
    at = min(place, len(row) - 1) + 1
    config = CreditConfig()
    padded = step_rewards([*row[:at], 1.0, *row[at:]], config, solved=True)
    assert sum(padded) == pytest.approx(sum(step_rewards(row, config, solved=True)), abs=1e-9)


def test_every_form_gives_one_reward_a_step_and_none_for_no_step() -> None:
    for form in FORMS:
        config = CreditConfig(form=form)
        assert [len(step_rewards([0.5] * n, config, solved=True)) for n in (0, 1, 7)] == [0, 1, 7]


def test_the_default_is_a_form_whose_total_is_bounded() -> None:
    assert CreditConfig().form == "clip+delta"
    assert sum(delta(clip([1.0] * 50, 0.5))) == 0
