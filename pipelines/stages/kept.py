"""The rationales of a run's dataset as a stream: in the order of the problems, all rounds of one problem together.

They are what some round of an arm trained on, one of each text of a problem (the earliest round's), without what is in
quarantine (`stepstar quarantine`): a function of the records alone. Stored records follow the order of the problems, so
a problem at a time is in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data.errors import RunFolderError
from data.records import Problem, Rationale, Verdict
from data.run_records import Selection
from pipelines.curation.lineage import read_quarantine
from pipelines.run_dir import RunFolder
from pipelines.stages.groups import Group, by_problem
from pipelines.stages.sampling import drawn_rows

SHARD = 1000
"""Rationales whose labels, or scores, are one unit."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A rationale of the dataset."""

    problem: Problem
    rationale: Rationale
    verdict: Verdict
    round: int


def rounds_of(run: RunFolder, arm: str) -> list[int]:
    """The rounds that an arm has selections of."""
    names = (re.match(rf"{re.escape(arm)}-r(\d+)-", name) for name in run.units("selections"))
    return sorted({int(found[1]) for found in names if found})


def stored_round(run: RunFolder, arm: str, round_: int) -> Iterator[tuple[Group, list[Selection]]]:
    """What a stored round drew for each training problem, with the selections of it, in the order of the problems."""
    # All arms share the first round's samples, which the main arm stores.
    sampled = _drawn(run, f"{'star' if round_ == 1 else arm}-r{round_}-sample-")
    hinted = _drawn(run, f"{arm}-r{round_}-rationalize-")
    chosen = _Lookahead(run.table("selections", f"{arm}-r{round_}-"))
    for group in by_problem(run.table("problems", "train"), sampled, hinted):
        yield group, chosen.of_problem(group.problem.id)
    if chosen.is_left:
        raise RunFolderError(f"'{run.root}': selections do not follow its problems.", "An older stepstar made them.")


def _drawn(run: RunFolder, prefix: str) -> Iterator[tuple[Rationale, Verdict]]:
    for unit in run.units("rationales", prefix):
        yield from drawn_rows(run, unit)


class _Lookahead:
    """Selections in order, a problem at a time."""

    def __init__(self, rows: Iterable[Selection]) -> None:
        self._rows = iter(rows)
        self._head = next(self._rows, None)

    @property
    def is_left(self) -> bool:
        return self._head is not None

    def of_problem(self, problem_id: str) -> list[Selection]:
        found = []
        while self._head is not None and self._head.problem_id == problem_id:
            found.append(self._head)
            self._head = next(self._rows, None)
        return found


def kept_rows(run: RunFolder, arm: str) -> Iterator[Kept]:
    """The rationales of the dataset, in order: by problem, then round, then id."""
    bad = read_quarantine(run)
    rounds = [(number, stored_round(run, arm, number)) for number in rounds_of(run, arm)]
    for of_rounds in zip(*(stream for _, stream in rounds), strict=True):
        rows = [
            Kept(group.problem, row, group.verdicts[row.id], number)
            for (number, _), (group, chosen) in zip(rounds, of_rounds, strict=True)
            for row in _chosen(group, chosen)
        ]
        texts = set[str]()
        for row in rows:
            if not bad.covers(row.rationale) and row.rationale.text not in texts:
                texts.add(row.rationale.text)
                yield row


def _chosen(group: Group, selections: Sequence[Selection]) -> list[Rationale]:
    ids = {row.rationale_id for row in selections if row.kept}
    return sorted((row for row in group.rationales if row.id in ids), key=lambda row: row.id)


def kept_rationales(run: RunFolder, arm: str) -> list[Rationale]:
    """The rationales of the dataset in memory, in order."""
    return [row.rationale for row in kept_rows(run, arm)]
