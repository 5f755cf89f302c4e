"""Metrics against values computed by hand or from the papers' own definitions."""

from __future__ import annotations

import itertools
import math

import pytest

from data.records import Status
from verifiers import accuracy, bootstrap_interval, paired_interval, pass_at_k, wilson_interval


def test_accuracy_leaves_the_undecided_out() -> None:
    statuses = [Status.CORRECT, Status.INCORRECT, Status.NO_ANSWER, Status.CORRECT, Status.UNDECIDED]
    assert accuracy(statuses) == 0.5
    assert math.isnan(accuracy([Status.UNDECIDED]))


def test_pass_at_k_equals_the_share_of_all_draws() -> None:
    for n, c, k in [(5, 2, 1), (5, 2, 3), (6, 0, 4), (6, 6, 2), (7, 3, 7)]:
        draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))
    with pytest.raises(ValueError, match="k <= n"):
        pass_at_k(3, 1, 4)


def test_wilson_golden_values() -> None:
    # Published for 8 of 10 at 95 %: 0.4902 to 0.9433.
    assert wilson_interval(8, 10) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    assert wilson_interval(0, 20).low == 0.0
    assert wilson_interval(20, 20).high == 1.0
    assert wilson_interval(20, 20).low == pytest.approx(0.83887, abs=1e-5)


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = [1.0] * 60 + [0.0] * 40
    interval = bootstrap_interval(values)
    assert interval == bootstrap_interval(values)
    assert interval.mean == 0.6
    assert interval.low == pytest.approx(0.6 - 1.96 * math.sqrt(0.24 / 100), abs=0.015)
    assert interval.high == pytest.approx(0.6 + 1.96 * math.sqrt(0.24 / 100), abs=0.015)
    assert bootstrap_interval(values, level=0.5).low > interval.low
    assert all(math.isnan(part) for part in bootstrap_interval([]))


def test_pairing_removes_what_the_problems_share() -> None:
    hard_and_easy = [index / 100 for index in range(100)]
    better = [value + 0.05 for value in hard_and_easy]
    paired = paired_interval(better, hard_and_easy)
    assert paired.low == pytest.approx(0.05)
    assert paired.high == pytest.approx(0.05)
    with pytest.raises(ValueError, match="one length"):
        paired_interval([1.0], [])
