"""Votes: equal answers vote together, ties go to the first, weights count."""

from __future__ import annotations

import pytest

from verifiers import group_answers, majority


def test_equal_answers_vote_together() -> None:
    answers = ["1/2", "0.5", "3", "", r"\frac{1}{2}", "3.0", "x=3", "2,1", "1,2"]
    assert group_answers(answers) == [0, 0, 1, -1, 0, 1, 1, 2, 2]
    assert majority(["7", "1/2", "8", "0.5", "7", r"\frac{2}{4}"]) == "1/2"


def test_ties_go_to_the_first_and_nobody_may_vote() -> None:
    assert majority(["4", "5", "5", "4"]) == "4"
    assert majority(["", " "]) == ""
    assert majority([]) == ""


def test_weights_decide() -> None:
    assert majority(["4", "4", "5"], [0.1, 0.2, 0.9]) == "5"
    assert majority(["4", "4", "5"], [0.5, 0.5, 0.9]) == "4"
    assert majority(["1/2", "4", "0.5"], [0.4, 0.7, 0.4]) == "1/2"
    for weights in ([0.1], [0.1, 0.2, float("nan")], [1.0, -1.0, 1.0]):
        with pytest.raises(ValueError, match="one finite weight"):
            majority(["4", "4", "5"], weights)
