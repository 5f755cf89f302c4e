"""Metrics over verdicts, each with its uncertainty: accuracy, pass@k, bootstrap, Wilson; pure.

The unit of resampling is the problem: samples of one problem are not independent, so give one value a problem.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from data.records import Status

if TYPE_CHECKING:
    import numpy as np


class Interval(NamedTuple):
    """An estimate and its confidence interval, all in the unit of the values."""

    mean: float
    low: float
    high: float


def accuracy(statuses: Iterable[Status]) -> float:
    """Share of `correct` among the decided checks; nan if there are none.

    `no_answer` counts as a failure of the model; `undecided` is no statement about the model and is left out, so report
    its share beside this number.
    """
    counts = Counter(statuses)
    decided = counts[Status.CORRECT] + counts[Status.INCORRECT] + counts[Status.NO_ANSWER]
    return counts[Status.CORRECT] / decided if decided else math.nan


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of `k` samples is right (Chen et al., 2021).

    Args:
        n: samples drawn.
        c: samples that were right.
        k: samples allowed, at most `n`.

    Returns:
        1 - C(n-c, k) / C(n, k), computed exactly.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass_at_k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean.

    Args:
        values: one number a problem.
        level: coverage of the interval.
        draws: resamplings.
        seed: of the resampling; the result depends on nothing else.

    Returns:
        The mean and the interval; all nan for no values.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(_resampled_means(array, draws, seed), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def paired_interval(
    a: Sequence[float], b: Sequence[float], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of mean(a) - mean(b), where `a[i]` and `b[i]` belong to one problem."""
    if len(a) != len(b):
        raise ValueError(f"paired values must have one length, got {len(a)} and {len(b)}")
    return bootstrap_interval([x - y for x, y in zip(a, b, strict=True)], level=level, draws=draws, seed=seed)


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; right also at 0, at n and for small n."""
    from statistics import NormalDist

    if not 0 <= successes <= n:
        raise ValueError(f"wilson_interval needs 0 <= successes <= n, got {successes} of {n}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    z, p = NormalDist().inv_cdf((1 + level) / 2), successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return Interval(p, low, 1.0 if successes == n else min(1.0, centre + half))


def _resampled_means(array: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of resamplings, a block at a time: all indices at once would take draws x values of memory."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    block = max(1, 4_000_000 // array.size)
    parts = [
        array[generator.integers(0, array.size, size=(min(block, draws - done), array.size))].mean(axis=1)
        for done in range(0, draws, block)
    ]
    return np.concatenate(parts)
