"""Promotion: a worse model is not promoted, an equally good one is, and a loop that gains nothing ends."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star.promotion import PromotionConfig, has_plateaued, sign_test
from star.promotion import decide_promotion as decide

decide_promotion = partial(decide, arm="star", round_=1)
RESULTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def results(both: int, gained: int, lost: int, neither: int) -> tuple[list[bool], list[bool]]:
    """What the model before and the new one solve, by how the two agree."""
    before = [True] * both + [False] * gained + [True] * lost + [False] * neither
    after = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return before, after


@pytest.mark.parametrize(
    ("gate", "gained", "lost", "promoted"),
    [
        ("always", 0, 30, True),
        ("not_worse", 5, 5, True),
        ("not_worse", 5, 6, False),
        ("not_significantly_worse", 5, 6, True),
        ("not_significantly_worse", 1, 9, False),
        # 0.5 ** 4 is above the 5 % level, 0.5 ** 5 below.
        ("not_significantly_worse", 0, 4, True),
        ("not_significantly_worse", 0, 5, False),
        ("not_significantly_worse", 0, 0, True),
    ],
)
def test_the_gate_turns_down_what_is_worse(
    gate: Literal["always", "not_worse", "not_significantly_worse"], gained: int, lost: int, promoted: bool
) -> None:
    decision = decide_promotion(*results(20, gained, lost, 20), PromotionConfig(gate=gate))
    assert (decision.promoted, decision.gained, decision.lost) == (promoted, gained, lost)


def test_the_sign_test_has_its_exact_values() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(0, 7) == 1
    assert sign_test(9, 10) == 11 / 1024


@given(RESULTS)
def test_the_gate_is_paired_and_independent_of_the_order_of_problems(pairs: list[tuple[bool, bool]]) -> None:
    config = PromotionConfig()
    shuffled = random.Random(0).sample(pairs, len(pairs))
    decisions = [
        decide_promotion([pair[0] for pair in order], [pair[1] for pair in order], config)
        for order in (pairs, shuffled)
    ]
    assert decisions[0] == decisions[1]
    # Problems on which both agree say nothing about which is better.
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    if differing:
        alone = decide_promotion(*map(list, zip(*differing, strict=True)), config)
        assert replace(alone, accuracy=decisions[0].accuracy) == decisions[0]


def test_an_equally_good_model_is_rarely_turned_down() -> None:
    rng, turned_down = random.Random(1), 0
    for _ in range(1000):
        before, after = ([rng.random() < 0.5 for _ in range(100)] for _ in range(2))
        turned_down += not decide_promotion(before, after, PromotionConfig()).promoted
    assert turned_down <= 50


def test_models_that_were_not_tried_on_the_same_problems_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same problems"):
        decide_promotion([True], [True, False], PromotionConfig())
    with pytest.raises(ValueError, match="same problems"):
        decide_promotion([], [], PromotionConfig())


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_gain", "stops"),
    [
        ([0.2, 0.3, 0.3, 0.3], 2, 0.0, True),
        ([0.2, 0.3, 0.3, 0.31], 2, 0.0, False),
        ([0.2, 0.3, 0.3, 0.31], 2, 0.05, True),
        # The best before counts, not the last before.
        ([0.2, 0.5, 0.3, 0.4], 2, 0.0, True),
        ([0.2, 0.2], 2, 0.0, False),
        ([0.2, 0.2, 0.2, 0.2], 0, 0.0, False),
        ([], 1, 0.0, False),
    ],
)
def test_the_rounds_end_when_nothing_was_gained_for_a_while(
    accuracies: list[float], patience: int, min_gain: float, stops: bool
) -> None:
    assert has_plateaued(accuracies, PromotionConfig(patience=patience, min_gain=min_gain)) is stops
