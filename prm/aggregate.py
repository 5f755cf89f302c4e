"""From step scores to one number a solution, and to the first wrong step: read-outs, aggregators, best of N; pure.

What a score means differs by model. One trained on people's labels says how likely a step is right: read its level. One
trained on rollouts says how likely the solution still ends right: a wrong step shows as a fall of that, so read the
fall (PRMBench gives one such model 36.2 points by level and 65.1 by fall). Which reading suits a model is fitted on a
dev set (`prm.calibration.fit_reading`) and kept in its `prm.json`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from data.config import Config
from verifiers.voting import majority

Readout = Literal["level", "drop", "log_ratio"]
Aggregation = Literal["min", "product", "geometric_mean", "mean", "last"]
Scores = Sequence[float]


class Reading(Config):
    """How the step scores of a model are read."""

    readout: Readout = "level"
    """`level`: the score. `drop`: 1 less what the score fell since the step before. `log_ratio`: the ratio of the score
    to that of the step before, at most 1."""
    start: float = Field(default=1.0, ge=0, le=1)
    """Score before the first step, from which `drop` and `log_ratio` count: of a hard problem a value model says from
    the first step on that it seldom ends right."""
    aggregation: Aggregation = "min"
    """How read-out steps become the score of a solution."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """The first step whose read-out lies below it is the first error."""

    def solution_score(self, scores: Scores) -> float:
        """The score of a solution, in [0, 1], from its step scores."""
        return AGGREGATIONS[self.aggregation](self.read(scores))

    def first_error(self, scores: Scores) -> int:
        """0-based index of the first step that is read as wrong; -1 for none."""
        return next((at for at, score in enumerate(self.read(scores)) if score < self.threshold), -1)

    def read(self, scores: Scores) -> list[float]:
        """What each step is read as, in [0, 1]."""
        return READOUTS[self.readout](scores, self.start)


def level(scores: Scores, start: float = 1.0) -> list[float]:
    """The scores as they are."""
    return list(scores)


def drop(scores: Scores, start: float = 1.0) -> list[float]:
    """1 - max(0, previous - score) for each step; `start` is the score before the first."""
    return [1 - max(0.0, before - score) for before, score in zip([start, *scores], scores, strict=False)]


def log_ratio(scores: Scores, start: float = 1.0) -> list[float]:
    """min(1, score / previous) for each step: exp of the log-ratio where it is negative."""
    pairs = zip([start, *scores], scores, strict=False)
    return [1.0 if score >= before else score / before for before, score in pairs]


def product(scores: Scores) -> float:
    """Probability that all steps are right if they are independent; falls with every step."""
    return math.prod(scores)


def geometric_mean(scores: Scores) -> float:
    """The product without its length bias: exp of the mean logarithm."""
    return 0.0 if min(scores) == 0 else math.exp(sum(map(math.log, scores)) / len(scores))


def mean(scores: Scores) -> float:
    """The arithmetic mean."""
    return sum(scores) / len(scores)


def last(scores: Scores) -> float:
    """The last step's score; what an outcome model is read by."""
    return scores[-1]


READOUTS: dict[Readout, Callable[[Scores, float], list[float]]] = {"level": level, "drop": drop, "log_ratio": log_ratio}
AGGREGATIONS: dict[Aggregation, Callable[[Scores], float]] = {
    "min": min,
    "product": product,
    "geometric_mean": geometric_mean,
    "mean": mean,
    "last": last,
}


def best_of(scores: Scores) -> int:
    """Index of the highest solution score; the earliest of equals.

    Raises:
        ValueError: there are no scores.
    """
    return max(range(len(scores)), key=scores.__getitem__)


def weighted_vote(answers: Sequence[str], scores: Scores) -> str:
    """The answer whose samples' scores sum highest (Li et al. 2022); empty if nobody has an answer.

    Where all scores are 0 every sample counts alike.
    """
    return majority(answers, scores if any(scores) else None)
