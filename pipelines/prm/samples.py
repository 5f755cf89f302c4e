"""Samples of problems with checked answers, for best-of-N: one row a problem with its candidates, or one row a sample.

    {"question", "candidates": [{"steps", "answer", "is_correct", "prm_scores": {"name": [...]}}]}
    {"problem", "steps", "answer", "correct", "step_scores"}

`problem` or `question`, `correct` or `is_correct`. A column of scores may be named by a dotted path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.sources.base import Reject, Row, RowError, optional_text
from data.sources.reading import read_rows
from pipelines.prm.label_files import Unusable

if TYPE_CHECKING:
    from prm.training_fit import Sample


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A sample and the step scores that its row has for it."""

    sample: Sample
    scores: dict[str, tuple[float, ...]]
    """By column; a sample that its scorer left out has none there."""


def is_samples(row: Row) -> bool:
    """Whether a row is of one of the two layouts."""
    inner = row.get("candidates")
    return isinstance(inner, list) or ("answer" in row and ("correct" in row or "is_correct" in row))


def read_samples(file: Path, columns: Iterable[str], unusable: Unusable) -> list[list[StoredSample]]:
    """The samples of each problem, problems in order of first appearance.

    Args:
        file: JSON lines or Parquet.
        columns: of step scores.
        unusable: rows that cannot be used are counted here.
    """
    wanted = list(columns)
    groups: dict[str, list[StoredSample]] = {}
    for item in read_rows(file):
        if isinstance(item, Reject):
            unusable.add(item)
            continue
        where, row = item
        try:
            found = [_sample(one, wanted) for one in _candidates(row)]
        except RowError as error:
            unusable.add(Reject(where=where, reason=error.reason, detail=error.detail, excerpt=""))
            continue
        for one in found:
            groups.setdefault(one.sample.problem, []).append(one)
    return list(groups.values())


def _candidates(row: Row) -> Iterator[Row]:
    if not isinstance(row.get("candidates"), list):
        yield row
        return
    for one in row["candidates"]:
        if not isinstance(one, dict):
            raise RowError("bad_field", "a candidate is no object")
        yield {"problem": _first(row, "problem", "question"), **one}


def _sample(row: Row, columns: list[str]) -> StoredSample:
    from prm.training_fit import Sample  # Brings torch.

    problem, correct, steps = _first(row, "problem", "question"), _first(row, "correct", "is_correct"), row.get("steps")
    if not isinstance(problem, str) or not isinstance(correct, bool):
        raise RowError("bad_field", "'problem' must be text and 'correct' true or false")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise RowError("bad_field", "'steps' is no list of texts")
    sample = Sample(problem=problem, steps=tuple(steps), answer=optional_text(row, "answer"), correct=correct)
    return StoredSample(sample, {name: stored_scores(row, name, len(steps)) for name in columns})


def _first(row: Row, *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def stored_scores(row: Row, column: str, n_steps: int) -> tuple[float, ...]:
    """The scores that a row holds under a dotted path; none if they are null.

    Raises:
        RowError: there is no such column, or it does not hold one probability for each step.
    """
    place: Any = row
    for name in column.split("."):
        if not isinstance(place, dict) or name not in place:
            raise RowError("missing_field", f"no field '{column}'")
        place = place[name]
    if place is None:
        return ()
    if not isinstance(place, list) or len(place) != n_steps:
        raise RowError("label_count", f"{len(place) if isinstance(place, list) else 1} scores for {n_steps} steps")
    if not all(isinstance(one, int | float) and math.isfinite(one) and 0 <= one <= 1 for one in place):
        raise RowError("bad_label", f"'{column}' holds something that is no probability")
    return tuple(map(float, place))
