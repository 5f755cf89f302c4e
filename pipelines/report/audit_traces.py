"""The traces of a run or an evaluation for the audit page: each rationale with everything that is known of it.

Whole problems are drawn by hash until there are enough traces, so that samples of one problem stand beside each other.
Step labels that are not stored are made from what the steps themselves state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.ids import derive_seed
from data.records import Origin, Problem, Rationale, StepLabel, StepScores, Verdict
from data.run_records import LeakReport, Selection
from data.sources.base import RowError
from pipelines.evaluation.folder import is_evaluation
from pipelines.run_dir import RunFolder
from prm.labels import label_symbolic
from prm.scoring.base import ScoreItem, Scorer
from star.leaks import failed_tests

SYMBOLIC = "symbolic"


@dataclass(slots=True)
class AuditTrace:
    """One rationale and what is known of it: a view for readers."""

    run: str
    """Name of the folder."""
    rationale: Rationale
    verdict: Verdict | None
    """None for what was never checked, such as a near-miss."""
    selection: Selection | None
    labels: dict[str, list[float | None]] = field(default_factory=dict)
    """Source to a label for each step, None where it has none."""
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Scorer to a score for each step."""
    leaks: list[str] = field(default_factory=list)
    """Leak tests that it failed."""


@dataclass(slots=True)
class AuditTraces:
    """What the page shows."""

    problems: dict[str, Problem] = field(default_factory=dict)
    traces: list[AuditTrace] = field(default_factory=list)
    total: int = 0
    """Rationales in the folders; the page may show fewer."""


def read_traces(runs: Sequence[RunFolder], limit: int) -> AuditTraces:
    """About `limit` traces of one or two folders, over problems that are drawn by hash."""
    found = AuditTraces()
    owners = [_owners(run) for run in runs]
    found.total = sum(map(len, owners))
    wanted = _drawn(owners, limit)
    for run in runs:
        for problem in run.table("problems"):
            if problem.id in wanted:
                found.problems[problem.id] = problem
        found.traces += _traces(run, found.problems)
    found.problems = {key: found.problems[key] for key in wanted}
    for trace in found.traces:
        problem = found.problems[trace.rationale.problem_id]
        if SYMBOLIC not in trace.labels and (values := _symbolic(problem, trace.rationale)):
            trace.labels[SYMBOLIC] = values
    order, origins = {key: place for place, key in enumerate(wanted)}, list(Origin)
    found.traces.sort(key=lambda trace: (order[trace.rationale.problem_id], origins.index(trace.rationale.origin)))
    return found


def _owners(run: RunFolder) -> dict[str, str]:
    """Rationale id to problem id; a rationale that several parts share counts once."""
    return {row.id: row.problem_id for row in run.table("rationales")}


def _drawn(owners: Sequence[Mapping[str, str]], limit: int) -> list[str]:
    """Problem ids in the order of their hash, until they have `limit` traces; those of all folders come first."""
    counts: dict[str, int] = defaultdict(int)
    for one in owners:
        for problem_id in one.values():
            counts[problem_id] += 1
    shared = set.intersection(*(set(one.values()) for one in owners))
    order = sorted(counts, key=lambda key: (key not in shared, derive_seed("audit", key)))
    wanted: list[str] = []
    size = 0
    for problem_id in order:
        if size and size + counts[problem_id] > limit:
            break
        wanted.append(problem_id)
        size += counts[problem_id]
    return wanted


def _traces(run: RunFolder, problems: Mapping[str, Problem]) -> list[AuditTrace]:
    rows = {row.id: row for row in run.table("rationales") if row.problem_id in problems}
    verdicts = {row.rationale_id: row for row in run.table("verdicts") if row.rationale_id in rows}
    # A rationale that was replayed has a selection for each round; the last one is where it ended.
    selections = {row.rationale_id: row for row in run.table("selections") if row.rationale_id in rows}
    name = run.root.resolve().name
    traces = {key: AuditTrace(name, row, verdicts.get(key), selections.get(key)) for key, row in rows.items()}
    label: StepLabel
    for label in run.table("step_labels"):
        if trace := traces.get(label.rationale_id):
            values = trace.labels.setdefault(label.source, [None] * len(trace.rationale.steps))
            values[label.step] = label.value
    scores: StepScores
    for scores in run.table("step_scores"):
        if trace := traces.get(scores.rationale_id):
            trace.scores[_short_name(scores.scorer)] = list(scores.scores)
    for key, names in _leaks(run):
        if trace := traces.get(key):
            trace.leaks = names
    return list(traces.values())


def add_scores(found: AuditTraces, scorer: Scorer) -> None:
    """Scores of all traces by one more scorer; a trace that it cannot score has none."""
    items = [ScoreItem(found.problems[trace.rationale.problem_id].prompt, trace.rationale.steps)
             for trace in found.traces]  # fmt: skip
    for trace, scores in zip(found.traces, scorer.score_batch(items), strict=True):
        if scores.scores:
            trace.scores[_short_name(scorer.name)] = list(scores.scores)


def _short_name(scorer: str) -> str:
    """A scorer's folder without the path, which is nobody's business who gets the page."""
    return scorer.rstrip("/").rpartition("/")[2]


def _leaks(run: RunFolder) -> Iterator[tuple[str, list[str]]]:
    if is_evaluation(run.root):
        return
    config = run.recipe.leaks
    report: LeakReport
    for report in run.table("leak_reports"):
        yield report.rationale_id, [str(test) for test, failed in failed_tests(report, config).items() if failed]


def _symbolic(problem: Problem, rationale: Rationale) -> list[float | None]:
    try:
        return list(label_symbolic(problem.prompt, rationale.steps).values)
    except RowError:
        # An empty answer has no steps to label.
        return []


def as_plain(found: AuditTraces) -> dict[str, Any]:
    """The traces as compact plain JSON: problems once, one short key a field."""
    places = {key: place for place, key in enumerate(found.problems)}
    return {
        "total": found.total,
        "problems": [
            {"t": row.prompt, "g": row.answer, "s": row.source, "d": row.difficulty} for row in found.problems.values()
        ],
        "traces": [_plain_trace(trace, places) for trace in found.traces],
    }


def _plain_trace(trace: AuditTrace, places: Mapping[str, int]) -> dict[str, Any]:
    row, verdict, selection = trace.rationale, trace.verdict, trace.selection
    return {
        "id": row.id, "p": places[row.problem_id], "u": trace.run, "o": str(row.origin), "r": row.made_by.round,
        "m": row.made_by.model, "f": str(row.finish_reason), "n": row.n_tokens, "s": list(row.steps), "x": row.answer,
        "v": str(verdict.status) if verdict else "unchecked",
        "e": f"{verdict.method} {verdict.detail}".strip() if verdict else "",
        "k": selection.reason if selection else "", "l": trace.leaks,
        "L": {source: [_short(value) for value in values] for source, values in trace.labels.items()},
        "S": {scorer: [_short(value) for value in values] for scorer, values in trace.scores.items()},
    }  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
