"""Reward hacking in a toy: which credit form survives a PRM that likes filler, and alarms that come in time."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.star.ppo.hacking_toy import Outcome, train

SEEDS = range(5)


def solves(outcome: Outcome) -> bool:
    return sum(outcome.gold[-10:]) / 10 > 0.95


@cache
def competent() -> torch.Tensor:
    """A policy that solves nearly everything, trained without the PRM."""
    outcome = train("clip+delta", 99, iterations=80, process_weight=0.0)
    assert solves(outcome)
    return outcome.logits


@pytest.mark.parametrize("seed", SEEDS)
def test_clip_and_delta_with_outcome_solves_and_stays_short(seed: int) -> None:
    outcome = train("clip+delta", seed, iterations=70)
    assert solves(outcome)
    assert outcome.length < 6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sum_of_scores_fills_the_response_up_and_solves_nothing(seed: int) -> None:
    outcome = train("sum", seed, iterations=50)
    assert sum(outcome.gold[-10:]) / 10 < 0.05
    assert outcome.length > 13


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_alarms_fire_before_a_good_policy_has_lost_five_percent(seed: int) -> None:
    outcome = train("sum", seed, iterations=40, rollouts=128, start=competent())
    at_first = sum(outcome.gold[:3]) / 3
    lost = next(at for at, gold in enumerate(outcome.gold) if gold < at_first - 0.05)
    before_loss = {alarm.name for at, alarm in outcome.alarms if at < lost}
    assert {"length", "steps", "filler", "repeated"} <= before_loss
    assert min(outcome.gold) < 0.2
    assert "divergence" in {alarm.name for _, alarm in outcome.alarms}


def test_a_policy_that_is_not_hacking_raises_no_alarm() -> None:
    outcome = train("clip+delta", 0, iterations=25, rollouts=128, start=competent())
    assert outcome.alarms == []
    assert solves(outcome)
