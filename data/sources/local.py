"""The user's own file or hub dataset, by a column map: `columns={"prompt": "question", "answer": "gold"}`.

Without a map, `prompt` is looked for as prompt, question, problem, and `answer` as answer, gold, final_answer,
ground_truth. A column may be a path into a nested row: `reward_model.ground_truth`, `prompt.0.content`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from data.errors import InputError
from data.records import Kind, Problem
from data.sources.base import LETTERS, RawRow, Reject, Row, RowError, plain_text, without_zero_fraction

DEFAULT_COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "problem"),
    "answer": ("answer", "gold", "final_answer", "ground_truth"),
    "solution": ("solution",),
    "tests": ("tests",),
    "choices": ("choices",),
    "difficulty": ("difficulty",),
    "licence": (),
}
"""What can be mapped, and the columns that are tried in turn where the map does not say."""

_HEAD_ROWS = 100
_MISSING = object()


def local_parser(columns: Mapping[str, str] | None = None, kind: str = "") -> Callable[[Row], Problem]:
    """A parse function for a column map.

    Args:
        columns: our field to the file's column.
        kind: `math`, `code` or `choice`; if empty, `code` where a row has tests, `choice` where it has choices.

    Raises:
        InputError: the map names a field that does not exist, or the kind is none of the three.
    """
    chosen = dict(columns or {})
    for field in chosen:
        if field not in DEFAULT_COLUMNS:
            near = difflib.get_close_matches(field, DEFAULT_COLUMNS, n=1)
            cure = f"Did you mean '{near[0]}'?" if near else f"Use {', '.join(DEFAULT_COLUMNS)}."
            raise InputError(f"columns: there is no field '{field}' to map.", cure)
    if kind and kind not in list(Kind):
        raise InputError(f"options: kind '{kind}' does not exist.", f"Use {', '.join(Kind)}.")
    names = {field: (chosen[field],) if field in chosen else tried for field, tried in DEFAULT_COLUMNS.items()}

    def parse(row: Row) -> Problem:
        return _parse(row, names, kind)

    return parse


def check_columns(
    rows: Iterable[RawRow | Reject], columns: Mapping[str, str] | None, place: str
) -> Iterator[RawRow | Reject]:
    """Pass rows through once the first 100 show that the file has the columns that are needed.

    Raises:
        InputError: a mapped column, or every candidate for `prompt`, is in none of them.
    """
    stream = iter(rows)
    head = list(islice(stream, _HEAD_ROWS))
    found = [item[1] for item in head if not isinstance(item, Reject)]
    wanted: dict[str, tuple[str, ...]] = {field: (name,) for field, name in (columns or {}).items()}
    wanted.setdefault("prompt", DEFAULT_COLUMNS["prompt"])
    for field, names in wanted.items():
        if found and all(_pick(row, name) is _MISSING for row in found for name in names):
            present = sorted({str(name) for row in found for name in row})[:20]
            needed = " or ".join(f"'{name}'" for name in names)
            raise InputError(
                f"'{place}' has no column {needed} (for {field}); it has {', '.join(present)}.",
                f"Set columns: {field}.",
            )
    yield from head
    yield from stream


def _parse(row: Row, names: Mapping[str, tuple[str, ...]], kind: str) -> Problem:
    values = {field: _first(row, tried) for field, tried in names.items()}
    if values["prompt"] is None:
        raise RowError("missing_field", f"no {' or '.join(names['prompt'])}")
    choices = _choices(values["choices"])
    tests = _text(values["tests"])
    decided = Kind(kind) if kind else Kind.CODE if tests else Kind.CHOICE if choices else Kind.MATH
    if decided is Kind.CHOICE:
        answer = _letter(values["answer"], choices)
    else:
        answer = "" if decided is Kind.CODE else without_zero_fraction(_text(values["answer"]))
    return Problem.create(
        prompt=_text(values["prompt"]),
        answer=answer,
        kind=decided,
        choices=choices,
        tests=tests if decided is Kind.CODE else "",
        solution=_text(values["solution"]),
        difficulty=_text(values["difficulty"]),
        licence=_text(values["licence"]),
    )


def _first(row: Row, names: Iterable[str]) -> object:
    """The first of the columns that a row has and that is not null."""
    for name in names:
        value = _pick(row, name)
        if value is not _MISSING and value is not None:
            return value
    return None


def _pick(row: Row, name: str) -> object:
    """A column by name, else by path."""
    if name in row:
        return row[name]
    value: object = row
    for part in name.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            return _MISSING
    return value


def _text(value: object) -> str:
    """Text; null is empty, and a list of one (some sets wrap their answers) is its item."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return "" if value is None else plain_text(value)


def _choices(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError("bad_choices", f"choices are a {type(value).__name__}, not a list")
    return tuple(plain_text(choice) for choice in value)


def _letter(answer: object, choices: tuple[str, ...]) -> str:
    """The letter of the right choice, which may be given as letter, text or place from 0."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < min(len(choices), len(LETTERS)):
        return LETTERS[answer]
    text = _text(answer).strip()
    if text in choices and choices.index(text) < len(LETTERS):
        return LETTERS[choices.index(text)]
    return text
