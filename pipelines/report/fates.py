"""What became of every problem of a round, and a few rationales of each fate to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from data.records import Problem, Rationale, Verdict
from data.run_records import Selection
from pipelines.stages.groups import Group

_REJECTING = {"leak", "quarantine", "truncated", "duplicate", "too_hard", "too_easy"}
"""Rules that drop a rationale although its answer is right."""


@dataclass(slots=True)
class Trace:
    """One rationale with all that is known of it: a view for readers."""

    problem: Problem
    rationale: Rationale
    verdict: Verdict
    selection: Selection


class ToRead:
    """A few rationales of each origin and fate, drawn by hash, each of another problem of a target difficulty."""

    def __init__(self, targets: set[str], samples: int) -> None:
        self._targets, self._samples = targets, samples
        self._found: dict[tuple[str, str], list[tuple[str, Trace]]] = defaultdict(list)

    def add(self, group: Group, selections: Sequence[Selection]) -> None:
        """Consider the rationales of a problem."""
        if group.problem.difficulty not in self._targets:
            return
        rows, seen = {row.id: row for row in group.rationales}, set[tuple[str, str]]()
        for selection in sorted(selections, key=lambda selection: selection.rationale_id):
            row = rows[selection.rationale_id]
            kind = (selection.reason, str(row.origin))
            if kind not in seen:
                seen.add(kind)
                found = self._found[kind]
                found.append((row.id, Trace(group.problem, row, group.verdicts[row.id], selection)))
                found.sort(key=lambda entry: entry[0])
                del found[self._samples :]

    def __iter__(self) -> Iterator[Trace]:
        for _, found in sorted(self._found.items()):
            yield from (trace for _, trace in found)


class Fates:
    """What became of the problems of a round; each counts once."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, rationales: Mapping[str, Rationale], selections: Sequence[Selection]) -> None:
        """Count a problem by its rationales (by id) and what was decided on them."""
        if selections:
            self._counts[_fate({(str(rationales[row.rationale_id].origin), row.reason) for row in selections})] += 1

    def counts(self, n_problems: int) -> Counter[str]:
        """Problems by fate; those without a rationale are unsolved."""
        counts = Counter(self._counts)
        counts["unsolved"] += n_problems - self._counts.total()
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
