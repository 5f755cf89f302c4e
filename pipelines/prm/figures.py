"""Figures of a PRM on benchmarks, each with its interval (bootstrap over problems) and its floors; pure.

A solution without scores counts as missed where an error, or none, is to be found; step figures leave it out. Step
figures are over all labelled steps. Percentages are in [0, 100], AUC, calibration error and Brier score in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.prm.benchmarks import LabelledSet
from pipelines.prm.word_floor import WordFloor
from prm.aggregate import Reading
from prm.evaluation import (
    FirstErrorScores,
    auc,
    brier,
    calibration_error,
    first_error_scores,
    interval_over,
    prm_score,
    process_bench,
)
from prm.evaluation_floors import always_correct, answer_oracle, coin
from prm.labels import LabelledSolution
from verifiers.metrics import Interval, bootstrap_interval

Item = TypeVar("Item")

DRAWS = 400
"""Resamplings of a figure that is no mean."""
_MISSED = -2
"""The predicted first error of a solution without scores: never right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a report."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    """The 95 % interval; nan where there is none."""
    floors: dict[str, float] = field(default_factory=dict)
    """What one gets without the model, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The figures of one benchmark or subset."""

    name: str
    problems: int
    solutions: int
    unscored: dict[str, int]
    """Solutions without scores, by reason."""
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class _Step:
    """A labelled step."""

    right: bool
    value: float
    score: float
    words: float
    """Score of the bag of words; nan without one."""
    place: int


def labelled_section(one: LabelledSet, reading: Reading, words: WordFloor | None) -> Section:
    """First errors (or PRMScore, for PRMBench) and step figures of one set."""
    said = words.scores(one.solutions) if words else []
    guessed = words.first_errors(said) if words else []
    if one.kind == "prm_bench":
        figures = prm_bench_figures(one, reading, said, words)
    else:
        figures = first_error_figures(one, reading, guessed)
    return Section(
        name=one.name,
        problems=len({solution.problem for solution in one.solutions}),
        solutions=len(one.solutions),
        unscored={reason: number for reason, number in one.unscored.items() if number},
        figures=[*figures, *step_figures(one, said)],
    )


def predicted(one: LabelledSet, reading: Reading) -> list[int]:
    """The first error that each solution is read to have."""
    return [reading.first_error(scores) if scores else _MISSED for scores in one.scores]


def first_error_figures(one: LabelledSet, reading: Reading, guessed: Sequence[int]) -> list[Figure]:
    """Accuracy on wrong and on right solutions, and their harmonic mean, ProcessBench's F1."""
    solutions = one.solutions
    gold, found = [solution.first_error for solution in solutions], predicted(one, reading)
    n_steps = [len(solution.steps) for solution in solutions]
    floors = {"always correct": always_correct(gold), "coin": coin(gold, n_steps)}
    outcomes = [solution.outcome for solution in solutions]
    if None not in outcomes:
        floors["answer oracle"] = answer_oracle(gold, n_steps, [bool(outcome) for outcome in outcomes])
    if guessed:
        floors["bag of words"] = first_error_scores(gold, guessed)
    pairs = _by_problem(solutions, list(zip(gold, found, strict=True)))
    figures = []
    for name, pick in _PARTS.items():

        def statistic(groups: Sequence[list[tuple[int, int]]], pick: Callable[..., float] = pick) -> float:
            return pick(first_error_scores(*zip(*[pair for group in groups for pair in group], strict=True)))

        figures.append(_figure(name, interval_over(pairs, statistic, draws=DRAWS), floors, pick))
    return figures


_PARTS: dict[str, Callable[[FirstErrorScores], float]] = {
    "first-error F1": lambda found: found.f1,
    "  on wrong solutions": lambda found: found.wrong,
    "  on right solutions": lambda found: found.right,
}


def _figure(
    name: str, found: Interval, floors: dict[str, FirstErrorScores], pick: Callable[[FirstErrorScores], float]
) -> Figure:
    return Figure(
        name=name,
        value=found.mean,
        low=found.low,
        high=found.high,
        floors={label: pick(one) for label, one in floors.items()},
    )


def mean_section(sections: Sequence[Section], sets: Sequence[LabelledSet], reading: Reading) -> Section:
    """ProcessBench's headline: the unweighted mean of the subsets' F1, and of their floors."""
    groups = [
        group
        for one in sets
        for group in _by_problem(
            one.solutions,
            [
                (one.name, solution.first_error, guess)
                for solution, guess in zip(one.solutions, predicted(one, reading), strict=True)
            ],
        )
    ]
    spread = interval_over(groups, _mean_f1, draws=DRAWS)
    firsts = [section.figures[0] for section in sections]
    shared = [label for label in firsts[0].floors if all(label in one.floors for one in firsts)]
    figure = Figure(
        name="first-error F1, mean of the subsets",
        value=spread.mean,
        low=spread.low,
        high=spread.high,
        floors={label: sum(one.floors[label] for one in firsts) / len(firsts) for label in shared},
    )
    totals = [sum(getattr(section, name) for section in sections) for name in ("problems", "solutions")]
    return Section(name="ProcessBench", problems=totals[0], solutions=totals[1], unscored={}, figures=[figure])


def _mean_f1(groups: Sequence[Sequence[tuple[str, int, int]]]) -> float:
    subsets: dict[str, tuple[list[int], list[int]]] = {}
    for group in groups:
        for name, gold, guess in group:
            kept = subsets.setdefault(name, ([], []))
            kept[0].append(gold)
            kept[1].append(guess)
    return process_bench(subsets)["mean"]


def prm_bench_figures(
    one: LabelledSet, reading: Reading, said: Sequence[Sequence[float]], words: WordFloor | None
) -> list[Figure]:
    """PRMScore over all solutions, and for each class of errors."""
    rows = [
        (solution.generator, value >= 0.5, called, bool(words) and said[at][step] >= words.threshold)  # type: ignore[union-attr]
        for at, (solution, scores) in enumerate(zip(one.solutions, one.scores, strict=True))
        for step, (value, called) in enumerate(zip(solution.values, _called_right(reading, scores), strict=False))
        if value is not None
    ]
    figures = []
    for kind in ["", *sorted({row[0] for row in rows} - {""})]:
        part = [row for row in rows if kind in ("", row[0])]
        right = [row[1] for row in part]
        floors = {"always correct": prm_score(right, [True] * len(right)), "coin": _coin_prm_score(right)}
        if words:
            floors["bag of words"] = prm_score(right, [row[3] for row in part])
        value = prm_score(right, [row[2] for row in part])
        figures.append(Figure(name=f"  {kind}" if kind else "PRMScore", value=value, floors=floors))
    return figures


def _called_right(reading: Reading, scores: Sequence[float]) -> list[bool]:
    return [value >= reading.threshold for value in reading.read(scores)] if scores else []


def _coin_prm_score(right: Sequence[bool]) -> float:
    """PRMScore of a fair coin for each step, by expected counts."""
    share = sum(right) / len(right) if right else 0.0
    return 50 * sum(part / (part + 0.5) for part in (share, 1 - share))


def step_figures(one: LabelledSet, said: Sequence[Sequence[float]]) -> list[Figure]:
    """AUC over all pairs of steps and over pairs of one problem, calibration error and Brier score."""
    nothing = [()] * len(one.solutions)
    steps = [
        [
            _Step(value >= 0.5, value, score, words[at] if words else math.nan, at)
            for at, (value, score) in enumerate(zip(solution.values, scores, strict=False))
            if value is not None
        ]
        for solution, scores, words in zip(one.solutions, one.scores, said or nothing, strict=True)
    ]
    groups = [[step for row in group for step in row] for group in _by_problem(one.solutions, steps)]
    flat = [step for group in groups for step in group]
    if not flat or all(step.right for step in flat):
        return []
    wrong = sum(not step.right for step in flat) / len(flat)
    pooled = {"chance": 0.5, "place in the solution": _auc(flat, lambda step: -step.place)}
    within = {"chance": 0.5, "place in the solution": _within(groups, lambda step: -step.place).mean}
    if said:
        pooled["bag of words"] = _auc(flat, lambda step: step.words)
        within["bag of words"] = _within(groups, lambda step: step.words).mean
    spread = interval_over(groups, lambda some: _auc([step for one in some for step in one], _score), draws=DRAWS)
    inside = _within(groups, _score)
    values, scores = [step.value for step in flat], [step.score for step in flat]
    rate = {"base rate": wrong * (1 - wrong), "always correct": wrong}
    return [
        Figure(name="step AUC", value=spread.mean, low=spread.low, high=spread.high, floors=pooled),
        Figure(name="step AUC within a problem", value=inside.mean, low=inside.low, high=inside.high, floors=within),
        Figure(name="calibration error", value=calibration_error(values, scores), floors={"always correct": wrong}),
        Figure(name="Brier score", value=brier(values, scores), floors=rate),
    ]


def _score(step: _Step) -> float:
    return step.score


def _auc(steps: Sequence[_Step], key: Callable[[_Step], float]) -> float:
    return auc([step.right for step in steps], [key(step) for step in steps])


def _within(groups: Sequence[Sequence[_Step]], key: Callable[[_Step], float]) -> Interval:
    """Mean of the problems' AUCs, those without both kinds left out."""
    found = [value for group in groups if not math.isnan(value := _auc(group, key))]
    return bootstrap_interval(found)


def _by_problem(solutions: Sequence[LabelledSolution], items: Sequence[Item]) -> list[list[Item]]:
    groups: dict[str, list[Item]] = {}
    for solution, item in zip(solutions, items, strict=True):
        groups.setdefault(solution.problem, []).append(item)
    return list(groups.values())
