"""What a scorer is, and what all backends share: encoding, no solution computed twice, calibration, and checked scores.

A solution that cannot be scored has no scores and a reason: the encoder's (`prm.encode`), `too_long` for the model,
`nan_score` (the model gave something that is no probability), or a server's `refused`, `server_error`, `bad_answer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data.errors import UserError
from data.records import StepScores
from data.sources.base import RowError
from prm.aggregate import Reading
from prm.encode import EncodedSteps, StepEncoder, Stepped
from prm.model_config import PrmConfig


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
            UserError: it cannot be scored, e.g. has no steps or is longer than the model's limit.
        """

    def score_batch(self, items: Iterable[Stepped], counts: Counter[str] | None = None) -> list[StepScores]:
        """Score many solutions, faster: samples of one problem share its prompt.

        Args:
            items: solutions, in any order; `rationale_id` is carried over where an item has one.
            counts: `encoded` and, by reason, the solutions that cannot be scored are added to it.

        Returns:
            Scores in the order of the items; no scores for an item that cannot be scored.
        """

    def close(self) -> None:
        """Free processes and connections; most hold none."""


class RowScorer(ABC):
    """A scorer but for the computation, `_probabilities`.

    Args:
        encoder: the model's own.
        config: calibration, reading and revision.
        name: of the model.
        context: most tokens that the model can read; None where it has no limit.
    """

    def __init__(self, encoder: StepEncoder, config: PrmConfig, name: str, context: int | None) -> None:
        self.encoder, self.config, self.context = encoder, config, context
        self.name = name
        self.revision = config.revision
        self.reading = config.reading

    def score(self, problem: str, steps: Sequence[str]) -> StepScores:
        """Score one solution; see `Scorer`."""
        try:
            row = self._encode(problem, steps)
            found = self._checked(row, self._probabilities([row])[0])
        except RowError as error:
            raise UserError(f"this solution cannot be scored: {error.detail} ({error.reason}).") from error
        return self._record("", found)

    def score_batch(self, items: Iterable[Stepped], counts: Counter[str] | None = None) -> list[StepScores]:
        """Score many solutions; see `Scorer`."""
        counts = Counter() if counts is None else counts
        ids: list[str] = []
        rows: dict[tuple[int, ...], EncodedSteps] = {}
        place: list[tuple[int, ...] | None] = []
        for item in items:
            ids.append(getattr(item, "rationale_id", ""))
            try:
                row = self._encode(item.problem, item.steps)
            except RowError as error:
                counts[error.reason] += 1
                place.append(None)
                continue
            counts["encoded"] += 1
            # Samples repeat each other; the ends are part of the key, since equal tokens may be cut in other places.
            key = (*row.ids, -1, *row.step_ends)
            rows[key] = row
            place.append(key)
        found = dict(zip(rows, self._probabilities(list(rows.values())), strict=True))
        return [
            self._record(name, () if key is None else self._counted(rows[key], found[key], counts))
            for name, key in zip(ids, place, strict=True)
        ]

    def close(self) -> None:  # noqa: B027 - most scorers hold nothing but memory.
        """Free processes and connections."""

    @abstractmethod
    def _probabilities(self, rows: Sequence[EncodedSteps]) -> Sequence[Sequence[float] | RowError]:
        """Uncalibrated probabilities of the steps of each row, or why there are none."""

    def _encode(self, problem: str, steps: Sequence[str]) -> EncodedSteps:
        row = self.encoder.encode(problem, steps)
        if self.context is not None and len(row.ids) > self.context:
            raise RowError("too_long", f"{len(row.ids)} tokens; the model reads {self.context}")
        return row

    def _checked(self, row: EncodedSteps, found: Sequence[float] | RowError) -> tuple[float, ...]:
        """Calibrated scores; a RowError unless there is one probability for each step."""
        if isinstance(found, RowError):
            raise found
        if len(found) != len(row.step_ends):
            raise RowError("bad_answer", f"{len(found)} scores for {len(row.step_ends)} steps")
        for step, score in enumerate(found):
            if not 0 <= score <= 1:  # NaN fails every comparison.
                raise RowError("nan_score", f"the model scores step {step + 1} with {score}")
        return tuple(map(self.config.calibration.apply, found))

    def _counted(self, row: EncodedSteps, found: Sequence[float] | RowError, counts: Counter[str]) -> tuple[float, ...]:
        try:
            return self._checked(row, found)
        except RowError as error:
            counts["encoded"] -= 1
            counts[error.reason] += 1
            return ()

    def _record(self, rationale_id: str, scores: tuple[float, ...]) -> StepScores:
        return StepScores(rationale_id=rationale_id, scores=scores, scorer=self.name, revision=self.revision)
