"""What a PRM is worth: first-error F1, step AUC, calibration error, PRMScore, best-of-N; pure functions of numbers.

Percentages are in [0, 100], AUC, Brier score and calibration error in [0, 1]. Nothing here chooses anything: thresholds
and readings are fitted on dev data (`prm.calibration`) and passed in. Floors to print beside every figure are in
`prm.evaluation_floors`; the unit of resampling is the problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from prm.aggregate import Reading, best_of
from verifiers.metrics import Interval
from verifiers.voting import group_answers

Group = TypeVar("Group")


class FirstErrorScores(NamedTuple):
    """Accuracy of the first error's place, in percent; nan where there is nothing to average over."""

    wrong: float
    """Among solutions with an error: the exact step was named."""
    right: float
    """Among solutions without: none was named."""

    @property
    def f1(self) -> float:
        """Harmonic mean of the two, ProcessBench's figure (Zheng et al., arXiv 2412.06559)."""
        total = self.wrong + self.right
        return 0.0 if total == 0 else 2 * self.wrong * self.right / total


def first_error_scores(gold: Sequence[int], predicted: Sequence[int]) -> FirstErrorScores:
    """Scores of predicted first errors; 0-based steps, -1 for none."""
    hits: tuple[list[bool], list[bool]] = ([], [])
    for truth, guess in zip(gold, predicted, strict=True):
        hits[truth < 0].append(truth == guess)
    wrong, right = (100 * sum(part) / len(part) if part else math.nan for part in hits)
    return FirstErrorScores(wrong, right)


def process_bench(subsets: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> dict[str, float]:
    """F1 of each subset, and as `mean` their unweighted mean, as the paper averages.

    Args:
        subsets: gold and predicted first errors by name of the subset.
    """
    found = {name: first_error_scores(gold, predicted).f1 for name, (gold, predicted) in subsets.items()}
    return found | {"mean": sum(found.values()) / len(found) if found else math.nan}


def auc(labels: Sequence[bool], scores: Sequence[float]) -> float:
    """Chance that a right step scores above a wrong one, ties counted half; nan if one kind is missing."""
    wins, pairs = _won_pairs(labels, scores)
    return wins / pairs if pairs else math.nan


def within_auc(groups: Sequence[Hashable], labels: Sequence[bool], scores: Sequence[float]) -> float:
    """AUC over pairs from one group (problem) alone: each group's AUC, averaged over the groups that have both kinds.

    The pooled AUC also rewards knowing which problems are easy, which helps nobody to choose among samples of one.
    """
    rows: dict[Hashable, tuple[list[bool], list[float]]] = {}
    for group, label, score in zip(groups, labels, scores, strict=True):
        kept = rows.setdefault(group, ([], []))
        kept[0].append(label)
        kept[1].append(score)
    found = [value for one in rows.values() if not math.isnan(value := auc(*one))]
    return sum(found) / len(found) if found else math.nan


def _won_pairs(labels: Sequence[bool], scores: Sequence[float]) -> tuple[float, int]:
    """Mann-Whitney's U, and the number of pairs."""
    import numpy as np

    right = np.asarray(labels, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    below = np.sort(values[~right])
    first, after = (np.searchsorted(below, values[right], side=side) for side in ("left", "right"))
    return float((first + after).sum() / 2), int(right.sum() * below.size)


def brier(labels: Sequence[float], scores: Sequence[float]) -> float:
    """Mean squared distance of probability and label; nan for none."""
    pairs = list(zip(labels, scores, strict=True))
    return sum((label - score) ** 2 for label, score in pairs) / len(pairs) if pairs else math.nan


def calibration_error(labels: Sequence[float], scores: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: mean distance of score and label by bins of equal width, weighted by their size."""
    sums = [[0.0, 0.0] for _ in range(bins)]
    for label, score in zip(labels, scores, strict=True):
        place = min(bins - 1, int(score * bins))
        sums[place][0] += label
        sums[place][1] += score
    return sum(abs(said - held) for held, said in sums) / len(labels) if labels else math.nan


def prm_score(right: Sequence[bool], called_right: Sequence[bool]) -> float:
    """PRMBench's PRMScore: mean of the F1 on right and of the F1 on wrong steps, in percent (arXiv 2501.03124)."""
    pairs = list(zip(right, called_right, strict=True))
    found = []
    for kind in (True, False):
        hits = sum(truth is kind and said is kind for truth, said in pairs)
        n_named = sum((truth is kind) + (said is kind) for truth, said in pairs)
        found.append(200 * hits / n_named if n_named else 0.0)
    return sum(found) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One sample of a problem, to be chosen or not."""

    answer: str
    """Its final answer; empty if it has none."""
    correct: bool
    scores: tuple[float, ...]
    """Its step scores; empty if it could not be scored, which makes it the last choice."""
    answer_class: int = -2
    """Which answers of the problem are one answer, as `verifiers.group_answers` numbers them; -2: not known yet."""


class BestOfN(NamedTuple):
    """Accuracy of ways to choose one of N samples, in percent, on the same samples."""

    pass_1: float
    """A sample drawn at random."""
    majority: float
    greedy: float
    """The sample with the highest score."""
    weighted: float
    """Votes weighted by the score."""
    pass_n: float
    """Any sample is right: no choice can be better."""

    @property
    def never_below_vote(self) -> bool:
        """Whether both ways to choose by scores are right at least as often as the majority."""
        return min(self.greedy, self.weighted) >= self.majority


def with_classes(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Number the answers of one problem's candidates once, for many calls of `choose`."""
    classes = group_answers([candidate.answer for candidate in candidates])
    return [replace(one, answer_class=number) for one, number in zip(candidates, classes, strict=True)]


def choose(candidates: Sequence[Candidate], reading: Reading) -> BestOfN:
    """What each way of choosing gives on one problem; 0 or 100, but for the share `pass_1`."""
    if any(one.answer_class == -2 for one in candidates):
        candidates = with_classes(candidates)
    scores = [reading.solution_score(one.scores) if one.scores else 0.0 for one in candidates]
    right = [one.correct for one in candidates]
    return BestOfN(
        pass_1=100 * sum(right) / len(right),
        majority=100.0 * _vote(candidates, [1.0] * len(right)),
        greedy=100.0 * right[best_of(scores)],
        weighted=100.0 * _vote(candidates, scores if any(scores) else [1.0] * len(right)),
        pass_n=100.0 * any(right),
    )


def _vote(candidates: Sequence[Candidate], weights: Sequence[float]) -> bool:
    """Whether the answer that wins the vote is right; the rule of `verifiers.majority` on numbered answers."""
    totals: dict[int, float] = {}
    for one, weight in zip(candidates, weights, strict=True):
        if one.answer_class >= 0:
            totals[one.answer_class] = totals.get(one.answer_class, 0.0) + weight
    if not totals:
        return False
    winner = max(totals, key=lambda number: totals[number])
    return next(one.correct for one in candidates if one.answer_class == winner)


def best_of_n(groups: Sequence[Sequence[Candidate]], reading: Reading, n: int | None = None) -> BestOfN:
    """Mean over problems of `choose` among the first `n` candidates of each; among all without it."""
    rows = [choose(group[:n], reading) for group in groups]
    return BestOfN(*(sum(column) / len(rows) if rows else math.nan for column in zip(*rows, strict=True)))


def best_of_n_curve(
    groups: Sequence[Sequence[Candidate]], reading: Reading, sizes: Sequence[int]
) -> dict[int, BestOfN]:
    """`best_of_n` for growing N, over prefixes of the same candidates."""
    numbered = [with_classes(group) for group in groups]
    return {n: best_of_n(numbered, reading, n) for n in sizes}


def interval_over(
    groups: Sequence[Group],
    statistic: Callable[[Sequence[Group]], float],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over problems of a figure that is no mean, such as F1, AUC, or a difference of two.

    Args:
        groups: everything of one problem each.
        statistic: the figure of a resampled list of groups; a draw for which it is nan is left out.
        level: coverage.
        draws: resamplings.
        seed: of the resampling.
    """
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(seed))
    found = []
    for _ in range(draws):
        value = statistic([groups[at] for at in generator.integers(0, len(groups), size=len(groups))])
        if not math.isnan(value):
            found.append(value)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]) if found else (math.nan, math.nan)
    return Interval(statistic(groups), float(low), float(high))
