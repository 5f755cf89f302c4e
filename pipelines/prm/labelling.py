"""`stepstar label`: labels for the steps of solutions in a file, by a labeller of rows, or by consensus of label files.

Written in the `stepstar` format, which `stepstar train-prm` reads; the file appears when it is whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError
from data.sources.base import Reject, Row, RowError, optional_text
from pipelines.prm.label_files import Unusable, read_label_rows
from pipelines.prm.solution_rows import Columns, read_solution
from pipelines.progress import say, track
from pipelines.row_files import open_rows
from prm.labels import (
    ConsensusConfig,
    LabelledSolution,
    agreement_matrix,
    consensus,
    label_symbolic,
    write_labels,
)
from prm.scoring.base import ScoreItem

_CHUNK = 256


@dataclass(slots=True)
class LabelCounts:
    """What was labelled."""

    solutions: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    """Steps that are `right`, `wrong` or `unlabelled`."""
    unusable: Unusable = field(default_factory=Unusable)

    def add(self, solution: LabelledSolution) -> None:
        """Count a solution."""
        self.solutions += 1
        self.steps.update(label_kind(value) for value in solution.values)


def label_kind(value: float | None) -> str:
    """A label in one word."""
    return "unlabelled" if value is None else "right" if value >= 0.5 else "wrong"


@dataclass(frozen=True, slots=True)
class SolutionRow:
    """A row of a file, its solution read."""

    where: str
    """File and number of the row."""
    item: ScoreItem
    row: Row

    def reject(self, error: RowError) -> Reject:
        """Why it cannot be used."""
        return Reject(where=self.where, reason=error.reason, detail=error.detail, excerpt="")


Labeller = Callable[[Sequence[SolutionRow]], Iterable[LabelledSolution | Reject]]


def label_rows(file: Path, out: Path, columns: Columns, labeller: Labeller, also: Sequence[str] = ()) -> LabelCounts:
    """Label the solution of each row of a file, some rows at a time; rows without one are counted.

    Args:
        file: the rows.
        out: the labels, in the `stepstar` format; appears when it is whole.
        columns: of problem and steps.
        labeller: the labels of some rows, or why there are none.
        also: further columns that the labeller reads, where the file has them.

    Raises:
        UserError: the file or a column is not there, or no row can be used.
    """
    rows, counts = open_rows(file), LabelCounts()
    columns.check(rows.columns())
    wanted = [name for name in (columns.problem, columns.steps, "id", *also) if name in rows.columns()]

    def labelled() -> Iterator[LabelledSolution]:
        number = 0
        with track("label", rows.count()) as tracker:
            for chunk in rows.chunks(_CHUNK, wanted):
                read = [_read(row, columns, f"{file.name}:{number + place}") for place, row in enumerate(chunk, 1)]
                number += len(chunk)
                usable = [one for one in read if isinstance(one, SolutionRow)]
                for found in [*(one for one in read if isinstance(one, Reject)), *labeller(usable)]:
                    if isinstance(found, Reject):
                        counts.unusable.add(found)
                    else:
                        counts.add(found)
                        yield found
                tracker.advance(len(chunk))
        counts.unusable.check(counts.solutions, 1.0)

    write_labels(_new(out), labelled(), "stepstar")
    return counts


def _read(row: Row | Reject, columns: Columns, where: str) -> SolutionRow | Reject:
    if isinstance(row, Reject):
        return row
    try:
        return SolutionRow(where, read_solution(row, columns), row)
    except RowError as error:
        return Reject(where=where, reason=error.reason, detail=error.detail, excerpt="")


def label_by_arithmetic(file: Path, out: Path, columns: Columns) -> LabelCounts:
    """Label each step by the equalities that it states; see `label_rows`."""
    return label_rows(file, out, columns, lambda rows: map(_by_arithmetic, rows), ["correct"])


def _by_arithmetic(row: SolutionRow) -> LabelledSolution | Reject:
    outcome = row.row.get("correct")
    try:
        return label_symbolic(
            row.item.problem,
            row.item.steps,
            row_id=optional_text(row.row, "id"),
            outcome=outcome if isinstance(outcome, bool) else None,
        )
    except RowError as error:
        return row.reject(error)


def label_by_consensus(files: Sequence[Path], out: Path, config: ConsensusConfig, format_: str = "auto") -> LabelCounts:
    """One labelling from several files of labels of the same solutions; how far they agree is told.

    Raises:
        UserError: fewer than two files, or no solution is in two of them.
    """
    if len(files) < 2:
        raise UserError("a consensus needs at least two files of labels.", "Name them: stepstar label A B --how ...")
    counts = LabelCounts()
    said: dict[str, dict[str, LabelledSolution]] = {}
    for file in files:
        for _, solutions in read_label_rows(str(file), format_, counts.unusable):
            for solution in solutions:
                said.setdefault(solution.id, {})[str(file)] = solution
    several = [labellings for labellings in said.values() if len(labellings) >= min(2, config.min_sources)]
    if not several:
        raise UserError("no solution is in two of the files.", "Problem and steps must be equal to the letter.")
    for (one, other), found in agreement_matrix(several).items():
        kappa = "not defined" if found.kappa is None else f"{found.kappa:.3f}"
        say(f"{one} and {other}: {found.n} steps labelled by both, kappa {kappa}")
    combined = [consensus(labellings, config) for labellings in several]
    for solution in combined:
        counts.add(solution)
    write_labels(_new(out), combined, "stepstar")
    return counts


def label_from_audit(file: Path, out: Path) -> LabelCounts:
    """Human labels from the decisions of an audit page; of several decisions on one solution the last one holds.

    Raises:
        UserError: there is no such file, or no row of it can be used.
    """
    counts = LabelCounts()
    decided: dict[str, LabelledSolution] = {}
    for _, solutions in read_label_rows(str(file), "stepstar", counts.unusable):
        for solution in solutions:
            # What comes from a browser says who decided; nobody else's word is taken for a human's.
            if solution.source == "human":
                decided[solution.id] = solution
    counts.unusable.check(len(decided), 1.0)
    if not decided:
        raise UserError(f"'{file}' holds no decisions.", "Download them from the audit page (key d).")
    for solution in decided.values():
        counts.add(solution)
    write_labels(_new(out), decided.values(), "stepstar")
    return counts


def _new(out: Path) -> Path:
    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(
            f"labels are written as JSON lines, not as '{out.name}'.", "Give --out NAME.jsonl or .jsonl.gz."
        )
    if out.exists():
        raise UserError(f"'{out}' exists.", "Choose another --out, or remove it.")
    if not out.absolute().parent.is_dir():
        raise UserError(f"there is no folder '{out.parent}'.", "Make it first.")
    return out
