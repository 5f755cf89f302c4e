"""What became of every problem of a round, and a few rationales of each fate to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from data.records import Problem, Rationale, Verdict
from data.run_records import Selection

_REJECTING = {"leak", "quarantine", "truncated", "duplicate", "too_hard", "too_easy"}
"""Rules that drop a rationale although its answer is right."""


@dataclass(slots=True)
class Trace:
    """One rationale with all that is known of it: a view for readers."""

    problem: Problem
    rationale: Rationale
    verdict: Verdict
    selection: Selection


def to_read(
    selections: list[Selection],
    rationales: dict[str, Rationale],
    verdicts: dict[str, Verdict],
    problems: dict[str, Problem],
    targets: set[str],
    samples: int,
) -> Iterator[Trace]:
    """A few rationales of each origin and fate, drawn by hash, each of another problem of a target difficulty."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in sorted(selections, key=lambda row: (row.reason, row.rationale_id)):
        rationale, problem = rationales[row.rationale_id], problems[row.problem_id]
        seen = found[str(rationale.origin), row.reason]
        if len(seen) < samples and problem.id not in seen and problem.difficulty in targets:
            seen.add(problem.id)
            yield Trace(problem, rationale, verdicts[row.rationale_id], row)


def account(selections: list[Selection], rationales: dict[str, Rationale], n_problems: int) -> Counter[str]:
    """Every problem exactly once."""
    by_problem: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in selections:
        by_problem[row.problem_id].add((str(rationales[row.rationale_id].origin), row.reason))
    counts = Counter(_fate(marks) for marks in by_problem.values())
    counts["unsolved"] += n_problems - len(by_problem)
    return counts


def _fate(marks: set[tuple[str, str]]) -> str:
    reasons = {reason for _, reason in marks}
    if ("sampled", "kept") in marks:
        return "solved"
    if ("rationalized", "kept") in marks:
        return "rationalized"
    if reasons <= {"undecided", "error"}:
        return "undecided"
    return "rejected" if reasons & _REJECTING else "unsolved"
