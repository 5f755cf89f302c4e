"""The floor that words alone set: a bag of words fitted on dev solutions, read as a PRM is read."""

from __future__ import annotations

from collections.abc import Sequence

from prm.aggregate import Reading
from prm.calibration import best_threshold
from prm.evaluation_floors import BagOfWords
from prm.labels import LabelledSolution
from prm.training_rows import split_by_problem


class WordFloor:
    """The bag of words, fitted on dev solutions; its threshold is from halves that it was not fitted on.

    Args:
        dev: labelled solutions.
    """

    def __init__(self, dev: Sequence[LabelledSolution]) -> None:
        halves = split_by_problem(dev, 0.5)
        held: list[LabelledSolution] = []
        scores: list[list[float]] = []
        for fitted, other in (halves, halves[::-1]):
            if fitted and other:
                held += other
                scores += _word_scores(_fit_words(fitted), other)
        self.threshold = best_threshold(scores, [one.first_error for one in held])[0]
        self._words = _fit_words(dev)

    def scores(self, solutions: Sequence[LabelledSolution]) -> list[list[float]]:
        """Step scores of solutions."""
        return _word_scores(self._words, solutions)

    def first_errors(self, scores: Sequence[Sequence[float]]) -> list[int]:
        """Predicted first errors."""
        reading = Reading(threshold=self.threshold)
        return [reading.first_error(one) for one in scores]


def _fit_words(solutions: Sequence[LabelledSolution]) -> BagOfWords:
    rows = [
        (step, at, value)
        for one in solutions
        for at, (step, value) in enumerate(zip(one.steps, one.values, strict=True))
        if value is not None
    ]
    texts, places, values = ([row[at] for row in rows] for at in range(3))
    return BagOfWords().fit(texts, places, values)  # type: ignore[arg-type]


def _word_scores(words: BagOfWords, solutions: Sequence[LabelledSolution]) -> list[list[float]]:
    return [words.score(one.steps, range(len(one.steps))) for one in solutions]
