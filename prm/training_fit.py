"""What follows a training: calibration, reading and threshold fitted on dev data, and the test that blesses a PRM.

A PRM that chooses worse than a plain majority vote does harm wherever it is used to choose. It is saved all the same,
since its scores may serve other ends, but its `prm.json` says `blessed: false` and a log line says why.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from prm.calibration import Calibration, fit_calibration, fit_reading
from prm.evaluation import BestOfN, Candidate, best_of_n
from prm.labels import LabelledSolution
from prm.model import LoadedPrm
from prm.scoring.base import Scorer
from prm.scoring.implicit import scorer_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of several solutions of a problem, whose answer was checked."""

    problem: str
    steps: tuple[str, ...]
    answer: str
    correct: bool


def scored_candidates(scorer: Scorer, groups: Sequence[Sequence[Sample]]) -> list[list[Candidate]]:
    """The samples of each problem as candidates, scored in one batch."""
    found = iter(scorer.score_batch([sample for group in groups for sample in group]))
    return [
        [Candidate(answer=one.answer, correct=one.correct, scores=next(found).scores) for one in group]
        for group in groups
    ]


def fit_prm(
    loaded: LoadedPrm, dev: Sequence[LabelledSolution], samples: Sequence[Sequence[Sample]] = ()
) -> BestOfN | None:
    """Fit calibration and reading of a trained PRM, in place, and bless it or not.

    Args:
        loaded: the model; `config.calibration`, `config.reading` and `config.blessed` are set.
        dev: labelled solutions of problems that were not trained on.
        samples: several samples of each of such problems; without them, the aggregation stays as it is and nothing is
            said about blessing.

    Returns:
        Best-of-N on the samples with the fitted reading.
    """
    loaded.config = loaded.config.model_copy(update={"calibration": Calibration()})
    raw = [one.scores for one in scorer_of(loaded).score_batch(dev)]
    steps = _taught_steps(loaded, raw, dev)
    if steps:
        calibration = fit_calibration(*zip(*steps, strict=True))
        loaded.config = loaded.config.model_copy(update={"calibration": calibration})
    apply = loaded.config.calibration.apply
    known = [
        ([apply(one) for one in scores], item.first_error) for scores, item in zip(raw, dev, strict=True) if scores
    ]
    candidates = scored_candidates(scorer_of(loaded), samples)
    reading = fit_reading([scores for scores, _ in known], [error for _, error in known], candidates)
    loaded.config = loaded.config.model_copy(update={"reading": reading})
    if not candidates:
        return None
    found, training = best_of_n(candidates, reading), loaded.config.training
    loaded.config = loaded.config.model_copy(update={"blessed": found.never_below_vote})
    if not loaded.config.blessed:
        _log.warning(
            "not blessed: on %d dev problems the best of N by the %s is right in %.1f %%, the vote weighted by it in "
            "%.1f %%, the majority vote in %.1f %%",
            len(candidates),
            "outcome model" if training and training.target == "outcome" else "PRM",
            found.greedy,
            found.weighted,
            found.majority,
        )
    return found


def _taught_steps(
    loaded: LoadedPrm, scores: Sequence[Sequence[float]], dev: Sequence[LabelledSolution]
) -> list[tuple[float, float, str]]:
    """Score, label and problem of each labelled step of a kind that the training taught."""
    training = loaded.config.training
    masked = training is not None and training.after_error == "mask"
    return [
        (score, value, solution.problem)
        for found, solution in zip(scores, dev, strict=True)
        for at, (score, value) in enumerate(zip(found, solution.values, strict=False))
        # What a model was taught nothing about must not bend its scale.
        if value is not None and not (masked and 0 <= solution.first_error < at)
    ]
