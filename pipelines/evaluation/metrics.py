"""Figures of a model on one benchmark, each with its 95 % interval over problems; pure functions of checked answers.

pass@k is Chen et al.'s unbiased estimate (arXiv 2107.03374), maj@k a vote (Wang et al., arXiv 2203.11171), prm@k the
sample that a scorer likes best and prm_weighted@k the vote weighted by its scores (Li et al., arXiv 2206.02336), the
last three over the first k samples. A check that could not decide is no statement about the model: it is left out, and
its share is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.records import FinishReason, Status
from prm.aggregate import Reading
from prm.evaluation import Candidate, choose, with_classes
from verifiers.metrics import Interval, bootstrap_interval, pass_at_k, wilson_interval

OUTCOMES = ("correct", "incorrect", "no_answer", "truncated", "undecided")
"""What may become of an answer; every answer is exactly one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One checked answer to a problem."""

    status: Status
    extracted: str
    """The final answer; empty if none was found, and of programs."""
    finish_reason: FinishReason
    n_tokens: int
    scores: tuple[float, ...] = ()
    """A scorer's step scores; empty without a scorer, or where it could not score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One estimate."""

    mean: float
    low: float
    high: float
    """The 95 % interval over problems."""
    n: int
    """Problems that it rests on."""


def outcome(status: Status, finish_reason: FinishReason) -> str:
    """One of `OUTCOMES`. An answer that was cut off and is not right is `truncated`, whatever its stump reads as."""
    if status is Status.CORRECT or finish_reason is not FinishReason.LENGTH:
        return str(status)
    return "truncated"


def outcomes(answers: Iterable[Answer]) -> dict[str, int]:
    """Answers by outcome, in the order of `OUTCOMES`."""
    counts = Counter(outcome(answer.status, answer.finish_reason) for answer in answers)
    return {name: counts[name] for name in OUTCOMES}


def figure(values: Sequence[float]) -> Figure:
    """Mean of one value a problem. Marks of 0 and 1 get Wilson's interval, which holds where all are alike too."""
    marks = all(value in (0, 1) for value in values)
    found = wilson_interval(int(sum(values)), len(values)) if marks else bootstrap_interval(values)
    return as_figure(found, len(values))


def as_figure(interval: Interval, n: int) -> Figure:
    """An interval with the number of problems behind it."""
    return Figure(mean=interval.mean, low=interval.low, high=interval.high, n=n)


def marks(answers: Iterable[tuple[str, Answer]]) -> dict[str, float]:
    """Problem id to 1 or 0, of the answers that were decided."""
    return {
        key: float(answer.status is Status.CORRECT)
        for key, answer in answers
        if answer.status is not Status.UNDECIDED
    }  # fmt: skip


def sizes(n: int) -> list[int]:
    """The k of pass@k and its like: powers of two below `n`, and `n`."""
    return [*(2**power for power in range(n.bit_length()) if 2**power < n), n]


def sample_figures(groups: Sequence[Sequence[Answer]], *, votes: bool, reading: Reading | None) -> dict[str, Figure]:
    """pass@k, maj@k and choice by score over growing k.

    Args:
        groups: the samples of each problem, all of one number.
        votes: whether answers can be compared at all; programs cannot.
        reading: how a scorer's step scores are read; None without a scorer.

    Returns:
        Figures by name. A problem with fewer than k decided samples is left out of the figures at k.
    """
    decided = [[one for one in group if one.status is not Status.UNDECIDED] for group in groups]
    candidates = [_candidates(group) for group in decided] if votes else []
    found: dict[str, Figure] = {}
    for k in sizes(max(map(len, groups), default=0)):
        enough = [group for group in decided if len(group) >= k > 0]
        if enough:
            found[f"pass@{k}"] = figure([pass_at_k(len(group), _n_right(group), k) for group in enough])
        if votes and enough and k > 1:
            found |= _choice_figures([group[:k] for group in candidates if len(group) >= k], k, reading)
    return found


def _n_right(group: Sequence[Answer]) -> int:
    return sum(one.status is Status.CORRECT for one in group)


def _candidates(group: Sequence[Answer]) -> list[Candidate]:
    return with_classes(
        [Candidate(answer=one.extracted, correct=one.status is Status.CORRECT, scores=one.scores) for one in group]
    )


def _choice_figures(groups: Sequence[Sequence[Candidate]], k: int, reading: Reading | None) -> dict[str, Figure]:
    rows = [choose(group, reading or Reading()) for group in groups]
    names = {"maj": "majority"} | ({"prm": "greedy", "prm_weighted": "weighted"} if reading else {})
    return {f"{name}@{k}": figure([getattr(row, column) / 100 for row in rows]) for name, column in names.items()}
