"""`stepstar label`: labels for the steps of solutions in a file, by the arithmetic that they state, or by consensus.

Written in the `stepstar` format, which `stepstar train-prm` reads; the file appears when it is whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError
from data.sources.base import Reject, Row, RowError, optional_text
from pipelines.label_files import Unusable, read_label_rows
from pipelines.progress import say, track
from pipelines.row_files import open_rows
from pipelines.solution_rows import Columns, read_solution
from prm.labels import (
    ConsensusConfig,
    LabelledSolution,
    agreement_matrix,
    consensus,
    label_symbolic,
    write_labels,
)

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


def label_by_arithmetic(file: Path, out: Path, columns: Columns) -> LabelCounts:
    """Label each step of each row by the equalities that it states; rows without a solution are counted.

    Raises:
        UserError: the file or a column is not there, or no row can be used.
    """
    rows, counts = open_rows(file), LabelCounts()
    columns.check(rows.columns())

    def labelled() -> Iterator[LabelledSolution]:
        wanted = [name for name in (columns.problem, columns.steps, "id", "correct") if name in rows.columns()]
        with track("label", rows.count()) as tracker:
            number = 0
            for chunk in rows.chunks(_CHUNK, wanted):
                for row in chunk:
                    number += 1
                    found = _by_arithmetic(row, columns, f"{file.name}:{number}")
                    if isinstance(found, Reject):
                        counts.unusable.add(found)
                    else:
                        counts.add(found)
                        yield found
                tracker.advance(len(chunk))
        counts.unusable.check(counts.solutions, 1.0)

    write_labels(_new(out), labelled(), "stepstar")
    return counts


def _by_arithmetic(row: Row | Reject, columns: Columns, where: str) -> LabelledSolution | Reject:
    if isinstance(row, Reject):
        return row
    outcome = row.get("correct")
    try:
        item = read_solution(row, columns)
        return label_symbolic(
            item.problem,
            item.steps,
            row_id=optional_text(row, "id"),
            outcome=outcome if isinstance(outcome, bool) else None,
        )
    except RowError as error:
        return Reject(where=where, reason=error.reason, detail=error.detail, excerpt="")


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
