"""What a scorer is: something that gives each step of a solution a probability of being right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data.records import StepScores
from prm.aggregate import Reading
from prm.encode import Stepped


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """A solution to be scored; anything else with `problem` and `steps`, such as a `LabelledSolution`, will do too."""

    problem: str
    steps: tuple[str, ...]
    rationale_id: str = ""


class Scorer(Protocol):
    """A process reward model that is ready to score."""

    name: str
    revision: str
    reading: Reading
    """How its scores become a solution's score and a first error: `scorer.reading.solution_score(found.scores)`."""

    def score(self, problem: str, steps: Sequence[str]) -> StepScores:
        """Score one solution: one probability a step.

        Raises:
            UserError: it cannot be encoded, e.g. has no steps or is longer than the model's limit.
        """

    def score_batch(self, items: Iterable[Stepped], counts: Counter[str] | None = None) -> list[StepScores]:
        """Score many solutions, faster: samples of one problem share its prompt.

        Args:
            items: solutions, in any order; `rationale_id` is carried over where an item has one.
            counts: `encoded` and, by reason, the solutions that cannot be encoded are added to it.

        Returns:
            Scores in the order of the items; no scores for an item that cannot be encoded.
        """
