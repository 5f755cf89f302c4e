"""The traces of a run or an evaluation for the audit page: each rationale with everything that is known of it.

Whole problems are drawn until there are enough traces, so that samples of one problem stand beside each other: first
those where the PRM is mistaken, then where something else is to be seen (it was tried on them, a check was undecided, a
leak test failed), then those with wrong answers. Step labels that are not stored are made from what the steps
themselves state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from data.ids import derive_seed
from data.records import Origin, Problem, Rationale, Status, StepLabel, StepScores, Verdict
from data.run_records import LeakReport, Selection
from data.sources.base import RowError
from data.store import Only
from pipelines.evaluation.folder import is_evaluation, refuse_unasked
from pipelines.report.judged import JUDGED, mistaken_problems, mistakes, reading_of, sure_labels
from pipelines.run_dir import RunFolder
from prm.aggregate import Reading
from prm.labels import label_symbolic
from prm.scoring.base import ScoreItem, Scorer
from star.leaks import failed_tests

SYMBOLIC = "symbolic"
_SEEN = 20
"""Traces that are looked at for each that is shown: those of a large run need not fit into memory."""


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
    readings: dict[str, Reading] = field(default_factory=dict)
    """Scorer to how its scores are read, of scorers that are to be judged by this trace: they never learnt from it."""


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
    n_rows = sum(run.n_rows("rationales") for run in runs)
    share = min(1.0, _SEEN * limit / max(1, n_rows))
    owners = [_owners(run, share) for run in runs]
    found.total = sum(map(len, owners)) if share == 1 else n_rows
    interest: dict[str, int] = {}
    for run, one in zip(runs, owners, strict=True):
        _add_interest(interest, run, one)
    wanted = _drawn(owners, interest, limit)
    order = {key: place for place, key in enumerate(wanted)}
    for run in runs:
        found.problems |= {row.id: row for row in run.table("problems", only=Only.of("id", wanted))}
        found.traces += _traces(run, found.problems)
    refuse_unasked(runs[0].root, wanted, found.problems)
    found.problems = {key: found.problems[key] for key in wanted}
    for trace in found.traces:
        problem = found.problems[trace.rationale.problem_id]
        if SYMBOLIC not in trace.labels and (values := _symbolic(problem, trace.rationale)):
            trace.labels[SYMBOLIC] = values
    origins = list(Origin)
    found.traces.sort(key=lambda trace: (order[trace.rationale.problem_id], origins.index(trace.rationale.origin)))
    return found


def _owners(run: RunFolder, share: float) -> dict[str, str]:
    """Rationale id to problem id, of those that may be shown; a rationale that several parts share counts once.

    Args:
        run: the folder.
        share: of the problems that may be shown, besides those that a scorer was tried on.
    """
    tried = set(_tried(run)) if share < 1 else set()
    always = {row.problem_id for row in run.table("rationales", only=Only.of("id", tried))} if tried else tried
    return {
        key: problem_id
        for key, problem_id in run.table("rationales", fields=("id", "problem_id"))
        if share == 1 or problem_id in always or derive_seed("shown", problem_id) < share * 2**63
    }


def _add_interest(interest: dict[str, int], run: RunFolder, owners: Mapping[str, str]) -> None:
    """Problem id to 0 where there is something to be seen, to 1 where an answer is wrong.

    It is below 0 where the PRM is mistaken: -2 if it calls a wrong step right, else -1.
    """
    ranks = {Status.CORRECT: 2, Status.INCORRECT: 1, Status.NO_ANSWER: 1, Status.UNDECIDED: 0}
    for rationale_id, status in run.table("verdicts", fields=("rationale_id", "status")):
        if problem_id := owners.get(rationale_id):
            interest[problem_id] = min(ranks[status], interest.get(problem_id, 2))
    for key in chain(_tried(run), (key for key, names in _leaks(run) if names)):
        if owner := owners.get(key):
            interest[owner] = min(0, interest.get(owner, 2))
    if not is_evaluation(run.root):
        known = set(owners.values())
        for owner, missed in mistaken_problems(run).items():
            if owner in known:
                interest[owner] = min(-1 - missed, interest.get(owner, 2))


def _tried(run: RunFolder) -> Iterator[str]:
    """Ids of the rationales that a stored scorer is to be judged by: in an evaluation all, it learnt from none."""
    for row in run.table("step_scores", "" if is_evaluation(run.root) else f"{JUDGED}-"):
        yield row.rationale_id


def _drawn(owners: Sequence[Mapping[str, str]], interest: Mapping[str, int], limit: int) -> list[str]:
    """Problem ids until they have `limit` traces: those of all folders first, then by interest and hash."""
    counts: dict[str, int] = defaultdict(int)
    for one in owners:
        for problem_id in one.values():
            counts[problem_id] += 1
    shared = set.intersection(*(set(one.values()) for one in owners))
    order = sorted(counts, key=lambda key: (key not in shared, interest.get(key, 2), derive_seed("audit", key)))
    wanted: list[str] = []
    size = 0
    for problem_id in order:
        if size and size + counts[problem_id] > limit:
            break
        wanted.append(problem_id)
        size += counts[problem_id]
    return wanted


def _traces(run: RunFolder, problems: Mapping[str, Problem]) -> list[AuditTrace]:
    rows = {row.id: row for row in run.table("rationales", only=Only.of("problem_id", problems))}
    theirs = Only.of("rationale_id", rows)
    verdicts = {row.rationale_id: row for row in run.table("verdicts", only=theirs)}
    # A rationale that was replayed has a selection for each round; the last one is where it ended.
    selections = {row.rationale_id: row for row in run.table("selections", only=theirs)}
    name = run.root.resolve().name
    traces = {key: AuditTrace(name, row, verdicts.get(key), selections.get(key)) for key, row in rows.items()}
    label: StepLabel
    for label in run.table("step_labels", only=theirs):
        steps = traces[label.rationale_id].rationale.steps
        traces[label.rationale_id].labels.setdefault(label.source, [None] * len(steps))[label.step] = label.value
    scores: StepScores
    tried, reading = set(_tried(run)), reading_of(run)
    for scores in run.table("step_scores", only=theirs):
        scored, scorer = traces[scores.rationale_id], _short_name(scores.scorer)
        scored.scores[scorer] = list(scores.scores)
        if reading and scores.rationale_id in tried:
            scored.readings[scorer] = reading
    for key, names in _leaks(run):
        if trace := traces.get(key):
            trace.leaks = names
    return list(traces.values())


def add_scores(found: AuditTraces, scorer: Scorer) -> None:
    """Scores of all traces by one more scorer, which is judged by all of them; one that it cannot score has none."""
    items = [ScoreItem(found.problems[trace.rationale.problem_id].prompt, trace.rationale.steps)
             for trace in found.traces]  # fmt: skip
    for trace, scores in zip(found.traces, scorer.score_batch(items), strict=True):
        if scores.scores:
            trace.scores[_short_name(scorer.name)] = list(scores.scores)
            trace.readings[_short_name(scorer.name)] = scorer.reading


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
        "traces": [_plain_trace(trace, places) | _mistakes(trace, found.problems) for trace in found.traces],
    }


def _mistakes(trace: AuditTrace, problems: Mapping[str, Problem]) -> dict[str, Any]:
    """Where a scorer is to be judged: the sure labels, and the steps that each scorer gets wrong."""
    row = trace.rationale
    if not trace.readings:
        return {}
    sure = sure_labels(problems[row.problem_id], row, trace.verdict, trace.labels.get("near_miss"))
    wrong = {scorer: mistakes(sure, trace.scores[scorer], reading) for scorer, reading in trace.readings.items()}
    # Where a score is read as it is, the page can say what it should have been.
    lines = {scorer: reading.threshold for scorer, reading in trace.readings.items() if reading.readout == "level"}
    return {"T": list(sure), "W": wrong, "B": lines}


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
