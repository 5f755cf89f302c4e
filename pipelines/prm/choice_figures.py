"""Best-of-N figures: what choosing by a PRM gives, against a random sample, the majority vote and an outcome model."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.prm.benchmarks import SampleSet
from pipelines.prm.figures import Figure, Section
from prm.aggregate import AGGREGATIONS, Reading
from prm.evaluation import BestOfN, Candidate, auc, best_of_n_curve, choose, with_classes, within_auc
from verifiers.metrics import Interval, bootstrap_interval, paired_interval

Groups = Sequence[Sequence[Candidate]]

_OUTCOME = Reading(aggregation="last")
"""How an outcome model is read."""


def choice_section(one: SampleSet, reading: Reading) -> Section:
    """All figures of one set of samples."""
    groups = [with_classes(group) for group in one.groups]
    n = max(len(group) for group in groups)
    outcome = [with_classes(group) for group in one.outcome_groups]
    floors = _floors(groups, outcome, n)
    figures = [_difference(groups, reading, n), *_solution_aucs(groups, reading)]
    for aggregation in AGGREGATIONS:
        figures += _aggregation_figures(groups, reading.model_copy(update={"aggregation": aggregation}), floors, n)
    return Section(
        name=one.name,
        problems=len(groups),
        solutions=sum(map(len, groups)),
        unscored={reason: number for reason, number in one.unscored.items() if number},
        figures=[*figures, *_curve(groups, outcome, reading, n)],
    )


def _floors(groups: Groups, outcome: Groups, n: int) -> dict[str, float]:
    rows = [choose(group, Reading()) for group in groups]
    found = {"random sample": _mean(rows, "pass_1"), "majority": _mean(rows, "majority")}
    if outcome:
        others = [choose(group, _OUTCOME) for group in outcome]
        found |= {"outcome model": _mean(others, "greedy"), "weighted by it": _mean(others, "weighted")}
    return found | {f"ceiling, any of {n}": _mean(rows, "pass_n")}


def _mean(rows: Sequence[BestOfN], name: str) -> float:
    return float(sum(getattr(row, name) for row in rows)) / len(rows)


def _aggregation_figures(groups: Groups, reading: Reading, floors: dict[str, float], n: int) -> list[Figure]:
    rows = [choose(group, reading) for group in groups]
    return [
        _spread(f"{name}, {reading.aggregation}", bootstrap_interval([getattr(row, part) for row in rows]), floors)
        for name, part in ((f"best of {n}", "greedy"), ("weighted vote", "weighted"))
    ]


def _spread(name: str, found: Interval, floors: dict[str, float]) -> Figure:
    return Figure(name=name, value=found.mean, low=found.low, high=found.high, floors=floors)


def _difference(groups: Groups, reading: Reading, n: int) -> Figure:
    rows = [choose(group, reading) for group in groups]
    found = paired_interval([row.greedy for row in rows], [row.majority for row in rows])
    return _spread(f"best of {n} ({reading.aggregation}) less majority", found, {"majority": 0.0})


def _solution_aucs(groups: Groups, reading: Reading) -> list[Figure]:
    """AUC of the solution's score for its answer being right."""
    rows = [
        (at, one.correct, reading.solution_score(one.scores))
        for at, group in enumerate(groups)
        for one in group
        if one.scores
    ]
    places, right, scores = ([row[at] for row in rows] for at in range(3))
    floors = {"chance": 0.5}
    return [
        Figure(name=f"AUC of {reading.aggregation}", value=auc(right, scores), floors=floors),  # type: ignore[arg-type]
        Figure(
            name=f"AUC of {reading.aggregation} within a problem",
            value=within_auc(places, right, scores),  # type: ignore[arg-type]
            floors=floors,
        ),
    ]


def _curve(groups: Groups, outcome: Groups, reading: Reading, n: int) -> list[Figure]:
    """Growing N, over prefixes of the same samples."""
    sizes = [size for size in (2**power for power in range(12)) if size < n] + [n]
    curve = best_of_n_curve(groups, reading, sizes)
    others = best_of_n_curve(outcome, _OUTCOME, sizes) if outcome else {}
    figures = []
    for size, row in curve.items():
        floors = {"random sample": row.pass_1, "majority": row.majority}
        floors |= {"outcome model": others[size].greedy} if others else {}
        floors[f"ceiling, any of {size}"] = row.pass_n
        figures.append(Figure(name=f"curve, best of {size}", value=row.greedy, floors=floors))
        figures.append(Figure(name=f"curve, weighted vote of {size}", value=row.weighted, floors=floors))
    return figures
