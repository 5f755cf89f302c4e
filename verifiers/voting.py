"""Votes over the answers of several samples: answers that are equal vote together, however they are written.

maj@k (Wang et al. 2022, self-consistency) and weighted votes, as best-of-N with a reward model uses them (Li et al.
2022): a vote counts as much as the score of its sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifiers.answers.canonical import canonical
from verifiers.answers.equivalence import decide

MAX_CLASSES = 64
"""Answers beyond so many different ones are compared as written only, which keeps the cost linear."""


def group_answers(answers: Sequence[str]) -> list[int]:
    """Which answers are one answer.

    Args:
        answers: bare answers, as verdicts hold them in `extracted`.

    Returns:
        For each answer the number of its class, counted from 0 in order of first appearance; -1 for an empty one.
    """
    classes: dict[str, int] = {}
    first: list[str] = []
    found: list[int] = []
    for answer in answers:
        spelled = canonical(answer[:2_000]) if answer.strip() else ""
        if spelled and spelled not in classes:
            number = _same_as(first, answer)
            if number < 0:
                number = len(first)
                first.append(answer)
            classes[spelled] = number
        found.append(classes[spelled] if spelled else -1)
    return found


def _same_as(first: list[str], answer: str) -> int:
    if len(first) >= MAX_CLASSES:
        return -1
    return next((number for number, other in enumerate(first) if decide(other, answer).outcome == "equal"), -1)


def majority(answers: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """The answer with the most votes, as it was first written.

    Args:
        answers: bare answers; empty ones do not vote.
        weights: what each vote counts; all the same without it.

    Returns:
        The earliest of the best; empty if nobody votes.

    Raises:
        ValueError: weights are not one for each answer, or are negative or not finite.
    """
    votes = [1.0] * len(answers) if weights is None else list(weights)
    if len(votes) != len(answers) or not all(0 <= vote < float("inf") for vote in votes):
        raise ValueError(f"majority needs one finite weight >= 0 for each of {len(answers)} answers")
    classes = group_answers(answers)
    totals: dict[int, float] = {}
    for number, vote in zip(classes, votes, strict=True):
        if number >= 0:
            totals[number] = totals.get(number, 0.0) + vote
    if not totals:
        return ""
    best = max(totals, key=lambda number: totals[number])
    return answers[classes.index(best)]
