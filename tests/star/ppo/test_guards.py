"""Guards: what the detectors count, when an alarm is raised, and what the gate remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.run_records import PpoIteration
from star.checkpoints import LoadedModel
from star.ppo.config import GuardConfig
from star.ppo.guards import Gate, Watch, filler_steps, repeated_steps, signals
from tests.star.ppo.samples import judged

CALM = PpoIteration(
    iteration=1, kl=1.0, proxy=0.5, gold=0.6, tokens=100.0, steps=5.0, repeated=0.02, filler=0.05, unseparated=0.1
)  # fmt: skip


def alarms(*history: PpoIteration) -> list[str]:
    """Alarms of the last iteration, after three calm ones."""
    watch = Watch(GuardConfig())
    for one in (CALM, CALM, CALM):
        assert watch.update(one) == []
    return [[alarm.name for alarm in watch.update(one)] for one in history][-1]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tokens": 130.0}, "length"),
        ({"tokens": 60.0}, "length"),
        ({"steps": 7.0}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"repeated": 0.2}, "repeated"),
        ({"filler": 0.2}, "filler"),
        ({"unseparated": 0.5}, "unseparated"),
        ({"kl": 101.0}, "kl"),
    ],
)
def test_each_drift_has_its_alarm(change: dict[str, float], name: str) -> None:
    assert alarms(replace(CALM, **change)) == [name]


def test_small_changes_and_better_answers_raise_no_alarm() -> None:
    better = replace(CALM, gold=0.9, proxy=0.9, tokens=110.0, steps=5.5, kl=20.0, repeated=0.0)
    assert alarms(better, better, better) == []


def test_a_proxy_that_rises_while_gold_falls_is_divergence() -> None:
    hacked = replace(CALM, proxy=0.8, gold=0.5)
    assert alarms(hacked, hacked, hacked) == ["divergence"]
    assert alarms(*[replace(CALM, proxy=0.4, gold=0.5)] * 3) == []


def test_the_over_optimization_curve_is_in_the_order_of_kl() -> None:
    watch = Watch(GuardConfig())
    for kl, proxy, gold in ((3.0, 0.9, 0.2), (0.0, 0.1, 0.3), (1.0, 0.5, 0.6)):
        watch.update(replace(CALM, kl=kl, proxy=proxy, gold=gold))
    assert watch.proxy_against_gold() == [(0.0, 0.1, 0.3), (1.0, 0.5, 0.6), (3.0, 0.9, 0.2)]


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        (["a = 1\n", "b = 2\n"], 0),
        (["a = 1\n", "A  = 1\n", "a = 1"], 2),
        ([], 0),
    ],
)
def test_a_repeated_step_is_one_that_was_there_but_for_space_and_case(steps: list[str], count: int) -> None:
    assert repeated_steps(steps) == count


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        (["12+3=15\n", "15-4=11\n", "#### 11"], 0),
        (["Let me think.\n", "12+3=15\n", "Great, this goes well!\n", "#### 15"], 2),
        (["12+3=15\n", "So 3+12=15\n", "12+3=15\n", "#### 15"], 1),
        (["Thanks!"], 0),
        ([], 0),
    ],
)
def test_filler_says_nothing_that_was_not_said(steps: list[str], count: int) -> None:
    assert filler_steps("12+3-4=?", steps) == count


def test_signals_are_means_over_responses(tiny: LoadedModel) -> None:
    rows = judged(tiny, 6)
    found = signals(rows, iteration=4, kl=2.0)
    assert found.gold == pytest.approx(4 / 6)
    assert found.tokens == pytest.approx(sum(len(row.rewards) for row in rows) / 6)
    assert found.steps == pytest.approx((3 * 2 + 3 * 4) / 6)
    assert (found.repeated, found.unseparated, found.kl) == (0.0, 0.0, 2.0)


def test_the_gate_keeps_the_earlier_of_equals_and_closes_on_a_fall() -> None:
    gate = Gate(GuardConfig(gate_drop=0.05))
    assert gate.update(0, 0.6)
    assert not gate.update(5, 0.6)
    assert gate.update(10, 0.7)
    assert not gate.update(15, 0.66)
    assert not gate.closed
    assert not gate.update(20, 0.6)
    assert gate.closed
    assert (gate.best, gate.best_iteration) == (0.7, 10)
