"""A row of a user's file as a problem and its steps: a column map, and steps that are a list or one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import InputError
from data.sources.base import Row, RowError, text_field
from data.steps import split_steps
from prm.scoring.base import ScoreItem


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what."""

    problem: str = "problem"
    steps: str = "steps"
    """A list of texts, or one text, which is cut by `data.steps.split_steps`."""

    def check(self, present: Sequence[str]) -> None:
        """Raise an InputError if a file has no such columns; `present` are those it has."""
        for option, name in (("--problem-column", self.problem), ("--steps-column", self.steps)):
            if name not in present:
                raise InputError(
                    f"there is no column '{name}'; the columns are {', '.join(present)}.", f"Name it: {option} NAME."
                )


def read_solution(row: Row, columns: Columns) -> ScoreItem:
    """Problem and steps of a row; white space around a step is left out where one text is cut.

    Raises:
        RowError: a column is missing, null or of another type.
    """
    steps = row.get(columns.steps)
    if steps is None:
        raise RowError("missing_field", f"no field '{columns.steps}'")
    if isinstance(steps, str):
        steps = [step.strip() for step in split_steps(steps) if step.strip()]
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise RowError("bad_field", f"field '{columns.steps}' is neither a list of texts nor a text")
    return ScoreItem(text_field(row, columns.problem), tuple(steps))
