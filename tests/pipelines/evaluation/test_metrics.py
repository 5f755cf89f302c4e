"""Figures of an evaluation against values worked out by hand, and intervals that cover what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.records import FinishReason, Status
from pipelines.evaluation.metrics import Answer, figure, marks, outcome, outcomes, sample_figures, sizes
from prm.aggregate import Reading
from verifiers.metrics import paired_interval

RIGHT, WRONG, NONE, UNDECIDED = Status.CORRECT, Status.INCORRECT, Status.NO_ANSWER, Status.UNDECIDED


def answer(text: str, status: Status, *scores: float, finish: FinishReason = FinishReason.STOP) -> Answer:
    return Answer(status=status, extracted=text, finish_reason=finish, n_tokens=3, scores=scores)


GROUPS = [
    # 4 is right: 1 of 4 samples, and the vote goes to 5 (2 of 4).
    [answer("5", WRONG, 0.9), answer("4", RIGHT, 0.2), answer("5", WRONG, 0.1), answer("6", WRONG, 0.3)],
    # 1/2 is right, written in two ways that vote together: 3 of 4.
    [answer("0.5", RIGHT, 0.8), answer("2", WRONG, 0.7), answer("1/2", RIGHT, 0.6), answer("1/2", RIGHT, 0.5)],
    # No answer does not vote, so the only answer wins.
    [answer("", NONE, 0.9), answer("7", RIGHT, 0.4), answer("", NONE, 0.1), answer("", NONE, 0.1)],
]


def test_pass_at_k_and_votes_equal_the_values_worked_out_by_hand() -> None:
    found = sample_figures(GROUPS, votes=True, reading=None)
    assert found["pass@1"].mean == pytest.approx((1 / 4 + 3 / 4 + 1 / 4) / 3)
    # 1 - C(3,2)/C(4,2) = 1/2 with one right of four, and 1 with three.
    assert found["pass@2"].mean == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["pass@4"].mean == 1.0
    # First two samples: 5 and 4 tie, the earlier wins; 0.5 and 2 tie, the earlier wins; 7 alone.
    assert found["maj@2"].mean == pytest.approx(2 / 3)
    assert found["maj@4"].mean == pytest.approx(2 / 3)
    assert set(found) == {"pass@1", "pass@2", "maj@2", "pass@4", "maj@4"}


def test_choice_by_score_equals_the_values_worked_out_by_hand() -> None:
    found = sample_figures(GROUPS, votes=True, reading=Reading(aggregation="min"))
    # The best scores are 0.9 (5, wrong), 0.8 (0.5, right) and 0.9 (no answer, not right).
    assert found["prm@4"].mean == pytest.approx(1 / 3)
    # 5 has 1.0 against 0.2 and 0.3; 1/2 has 1.9 against 0.7; 7 is alone.
    assert found["prm_weighted@4"].mean == pytest.approx(2 / 3)


def test_programs_are_not_voted_on() -> None:
    found = sample_figures(GROUPS, votes=False, reading=Reading())
    assert set(found) == {"pass@1", "pass@2", "pass@4"}


def test_what_could_not_be_decided_is_left_out_and_never_counts_as_wrong() -> None:
    group = [answer("4", RIGHT), answer("4", UNDECIDED), answer("4", RIGHT), answer("4", UNDECIDED)]
    found = sample_figures([group], votes=True, reading=None)
    assert found["pass@1"].mean == found["pass@2"].mean == found["maj@2"].mean == 1.0
    assert "pass@4" not in found
    assert marks([("a", group[0]), ("b", group[1]), ("c", answer("5", WRONG))]) == {"a": 1.0, "c": 0.0}


def test_every_answer_has_exactly_one_outcome() -> None:
    cut = FinishReason.LENGTH
    rows = [answer("4", RIGHT, finish=cut), answer("4", WRONG, finish=cut), answer("", NONE), answer("", UNDECIDED)]
    assert [outcome(row.status, row.finish_reason) for row in rows] == [
        "correct", "truncated", "no_answer", "undecided"
    ]  # fmt: skip
    counts = outcomes(rows)
    assert sum(counts.values()) == len(rows)
    assert counts == {"correct": 1, "incorrect": 0, "no_answer": 1, "truncated": 1, "undecided": 1}


def test_sizes_are_powers_of_two_and_the_number_itself() -> None:
    assert [sizes(n) for n in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_intervals_of_marks_are_wilsons_and_never_empty() -> None:
    # Published for 8 of 10 at 95 %: 0.4902 to 0.9433.
    found = figure([1.0] * 8 + [0.0] * 2)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.8, 0.49016, 0.94332, 10), abs=1e-5)
    assert figure([0.0] * 20).high > 0.1
    assert math.isnan(figure([]).mean)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """In 1,000 evaluations of 50 problems whose true rates are known, 95 +- 2 % of the intervals hold the truth."""
    rng = np.random.default_rng(7)
    hits = {"greedy": 0, "pass@1": 0, "gain": 0}
    draws, n, k = 1000, 50, 4
    for _ in range(draws):
        # Problems drawn anew: their rates are Beta(1, 2), whose mean is 1/3.
        rates = rng.beta(1, 2, size=n)
        greedy = (rng.random(n) < rates).astype(float)
        shares = rng.binomial(k, rates) / k
        better = rng.binomial(k, np.minimum(1.0, rates * 0.8 + 0.2)) / k
        hits["greedy"] += (one := figure(greedy.tolist())).low <= 1 / 3 <= one.high
        hits["pass@1"] += (one := figure(shares.tolist())).low <= 1 / 3 <= one.high
        gain = paired_interval(better.tolist(), shares.tolist())
        # E[0.8 p + 0.2 - p] = 0.2 - 0.2 / 3.
        hits["gain"] += gain.low <= 0.2 - 0.2 / 3 <= gain.high
    assert all(0.93 <= count / draws <= 0.97 for count in hits.values()), hits
