"""Scores that mean what they say: temperature, shift, isotonic map and reading of a model, fitted on a dev set.

Fitted once on dev data and frozen in `prm.json`: to choose any of it on the data that is then reported is to report a
different model. All functions are deterministic.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise

from pydantic import Field

from data.config import Config
from prm.aggregate import AGGREGATIONS, READOUTS, Reading
from prm.evaluation import BestOfN, Candidate, best_of_n, calibration_error, first_error_scores, with_classes

_FLOOR = 1e-9
"""Probabilities are kept this far from 0 and 1 before their logarithm is taken."""
_READOUT_MARGIN = 1.0
"""Points of F1 by which another read-out must beat the plain level: less is the noise of a dev set."""
_ISOTONIC_MARGIN = 0.01
"""Calibration error that an isotonic map must save: it has many more numbers to fit than temperature and shift."""
_PARTS = 5
_SLOPE = 1e-3
"""Least slope of the isotonic map."""


class Calibration(Config):
    """A monotone map of step probabilities: temperature and shift first, isotonic after them."""

    temperature: float = Field(default=1.0, gt=0)
    """Log-odds are divided by it."""
    shift: float = 0.0
    """Added to the log-odds thereafter: without it, a high temperature turns every score towards 1/2."""
    knots: tuple[tuple[float, float], ...] = ()
    """Isotonic map as rising (score, probability) points, linear between them; empty for none."""

    def apply(self, probability: float) -> float:
        """The calibrated probability."""
        if self.temperature != 1.0 or self.shift:
            probability = 1 / (1 + math.exp(-_log_odds(probability) / self.temperature - self.shift))
        return _interpolated(self.knots, probability) if self.knots else probability


def _log_odds(probability: float) -> float:
    inside = min(1 - _FLOOR, max(_FLOOR, probability))
    return math.log(inside / (1 - inside))


def _interpolated(knots: Sequence[tuple[float, float]], score: float) -> float:
    after = bisect_right(knots, score, key=lambda knot: knot[0])
    if after == 0:
        return knots[0][1]
    if after == len(knots):
        return knots[-1][1]
    (x0, y0), (x1, y1) = knots[after - 1], knots[after]
    return y0 + (y1 - y0) * (score - x0) / (x1 - x0)


def fit_calibration(probabilities: Sequence[float], labels: Sequence[float], groups: Sequence[Hashable]) -> Calibration:
    """Temperature and shift, and an isotonic map after them where that calibrates what it was not fitted on better.

    Which of the two is said by the calibration error over five parts, each mapped by a fit of the other four.

    Args:
        probabilities: of steps.
        labels: of the same steps, in [0, 1].
        groups: the problem of each; all steps of one are in one part.
    """
    places = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(places) >= _PARTS:
        parts = [places[group] % _PARTS for group in groups]
        plain, mapped = (_cross_fitted_error(fit, probabilities, labels, parts) for fit in (fit_platt, _fit_mapped))
        if mapped < plain - _ISOTONIC_MARGIN:
            return _fit_mapped(probabilities, labels)
    return fit_platt(probabilities, labels)


def _cross_fitted_error(
    fit: Callable[[Sequence[float], Sequence[float]], Calibration],
    probabilities: Sequence[float],
    labels: Sequence[float],
    parts: Sequence[int],
) -> float:
    rows = list(zip(probabilities, labels, parts, strict=True))
    fits = [fit(*zip(*((p, y) for p, y, part in rows if part != left_out), strict=True)) for left_out in range(_PARTS)]
    return calibration_error(labels, [fits[part].apply(p) for p, _, part in rows])


def _fit_mapped(probabilities: Sequence[float], labels: Sequence[float]) -> Calibration:
    scale = fit_platt(probabilities, labels)
    knots = [(0.0, 0.0), *fit_isotonic([scale.apply(one) for one in probabilities], labels), (1.0, 1.0)]
    # Equal scores could not be ranked any more: the map rises everywhere.
    rising = tuple((score, (1 - _SLOPE) * found + _SLOPE * score) for score, found in knots)
    return scale.model_copy(update={"knots": rising})


def fit_platt(probabilities: Sequence[float], labels: Sequence[float]) -> Calibration:
    """Temperature and shift that make the labels likeliest (Platt 1999), by Newton's method.

    A quadratic pull of one label's weight towards temperature 1 and shift 0 keeps both finite where a score separates
    the labels; a temperature stays within [0.05, 20], so that the map rises.

    Args:
        probabilities: of steps.
        labels: of the same steps, in [0, 1].
    """
    import numpy as np

    x = np.stack([[_log_odds(p) for p in probabilities], np.ones(len(probabilities))], axis=1)
    y, start = np.asarray(labels, dtype=np.float64), np.array([1.0, 0.0])
    found = start
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ found, -500, 500)))
        gradient = x.T @ (p - y) + (found - start)
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + np.eye(2), gradient)
        # Far from the solution a full step may overshoot: the loss is convex, so short ones arrive.
        found = found - step * min(1.0, 1.0 / float(np.abs(step).max() or 1.0))
        if np.abs(step).max() < 1e-8:
            break
    return Calibration(temperature=1 / float(np.clip(found[0], 0.05, 20)), shift=float(found[1]))


def fit_isotonic(probabilities: Sequence[float], labels: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """The rising map that is nearest to the labels in squared error, by pooling adjacent violators.

    Returns:
        One knot for each pool, at its mean score.
    """
    pools: list[list[float]] = []  # [sum of scores, sum of labels, n]
    # Equal scores are one pool from the start: a map has one value there.
    for score, label in sorted(zip(probabilities, labels, strict=True)):
        if pools and pools[-1][0] == score * pools[-1][2]:
            pools[-1] = [pools[-1][0] + score, pools[-1][1] + label, pools[-1][2] + 1]
        else:
            pools.append([score, label, 1])
    merged: list[list[float]] = []
    for pool in pools:
        merged.append(pool)
        while len(merged) > 1 and merged[-2][1] * merged[-1][2] >= merged[-1][1] * merged[-2][2]:
            upper = merged.pop()
            merged[-1] = [a + b for a, b in zip(merged[-1], upper, strict=True)]
    return tuple((scores / n, total / n) for scores, total, n in merged)


def best_threshold(
    scores: Sequence[Sequence[float]], first_errors: Sequence[int], reading: Reading | None = None
) -> tuple[float, float]:
    """The threshold with the highest first-error F1, and that F1 in [0, 100].

    Args:
        scores: step scores of each solution.
        first_errors: 0-based first wrong step of each, -1 for none.
        reading: how the scores are read, its threshold aside; as they are without it.

    Returns:
        The middle of the best interval of thresholds; of equals 0.5, then the lowest. 0.5 and nan where all or none
        of the solutions have an error.
    """
    read = [(reading or Reading()).read(one) for one in scores]
    # The prediction changes only where the threshold passes a score that is lower than all before it in its solution.
    values = sorted({low for one in read for low in _running_minima(one)})
    cuts = [0.0, *((a + b) / 2 for a, b in pairwise(values)), 1.0]
    stride = max(1, len(cuts) // 400)
    found = (0.5, math.nan)
    for threshold in [0.5, *cuts[::stride]]:
        predicted = [next((at for at, score in enumerate(one) if score < threshold), -1) for one in read]
        f1 = first_error_scores(first_errors, predicted).f1
        if f1 > found[1] or (math.isnan(found[1]) and not math.isnan(f1)):
            found = (threshold, f1)
    return found


def _running_minima(scores: Sequence[float]) -> list[float]:
    lows: list[float] = []
    for score in scores:
        if not lows or score < lows[-1]:
            lows.append(score)
    return lows


def fit_reading(
    scores: Sequence[Sequence[float]],
    first_errors: Sequence[int],
    candidates: Sequence[Sequence[Candidate]] = (),
) -> Reading:
    """Choose read-out and threshold by first-error F1, the aggregation by best-of-N, greedy and weighted alike.

    Args:
        scores: step scores of labelled solutions; may be empty if there are candidates.
        first_errors: 0-based first wrong step of each, -1 for none.
        candidates: samples by problem, with their step scores; may be empty.

    Returns:
        The reading; what nothing was given to choose by is as it is by default.
    """
    reading = Reading()
    if scores:
        start = _start(scores, first_errors)
        options = [Reading(readout=readout, start=start) for readout in READOUTS]
        fits = [best_threshold(scores, first_errors, option) for option in options]
        best = max(range(len(options)), key=lambda at: fits[at][1] - _READOUT_MARGIN * (at > 0))
        reading = options[best].model_copy(update={"threshold": fits[best][0]})
    if candidates:
        numbered = [with_classes(group) for group in candidates]
        options = [reading.model_copy(update={"aggregation": aggregation}) for aggregation in AGGREGATIONS]
        reading = max(options, key=lambda option: _chosen_well(best_of_n(numbered, option)))
    return reading


def _chosen_well(found: BestOfN) -> float:
    """One figure for both ways to choose by scores; greedy alone rests on one sample a problem, and is noisy."""
    return found.greedy + found.weighted


def _start(scores: Sequence[Sequence[float]], first_errors: Sequence[int]) -> float:
    """What nine in ten first steps that are not wrong score at least; 1 if there are none."""
    found = sorted(one[0] for one, error in zip(scores, first_errors, strict=True) if error != 0)
    return found[len(found) // 10] if found else 1.0
