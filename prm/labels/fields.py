"""Fields of raw rows, held to their types: whatever a row holds, it is either usable or a named `RowError`."""

from __future__ import annotations

from typing import Any

from data.sources.base import Row, RowError


def object_field(row: Row, name: str) -> Row:
    """A field that must be an object."""
    value = _required(row, name)
    if not isinstance(value, dict):
        raise RowError("bad_field", f"field '{name}' is a {type(value).__name__}, not an object")
    return value


def list_field(row: Row, name: str, *, optional: bool = False) -> list[Any]:
    """A field that must be a list; a missing or null one is empty if it is `optional`."""
    if optional and row.get(name) is None:
        return []
    value = _required(row, name)
    if not isinstance(value, list):
        raise RowError("bad_field", f"field '{name}' is a {type(value).__name__}, not a list")
    return value


def texts_field(row: Row, name: str, *, optional: bool = False) -> tuple[str, ...]:
    """A field that must be a list of texts."""
    values = list_field(row, name, optional=optional)
    if not all(isinstance(value, str) for value in values):
        raise RowError("bad_field", f"field '{name}' holds something that is not text")
    return tuple(values)


def index_field(row: Row, name: str) -> int:
    """A field that must be a whole number."""
    value = _required(row, name)
    if type(value) is not int:
        raise RowError("bad_field", f"field '{name}' is {value!r}, not a whole number")
    return value


def flag(row: Row, name: str) -> bool:
    """A field that is true, false, null or missing; the last two mean false."""
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise RowError("bad_field", f"field '{name}' is {value!r}, neither true nor false")
    return bool(value)


def label_value(value: object) -> float | None:
    """A label: a truth value, a number from 0 to 1, or null for none."""
    if value is None:
        return None
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:  # NaN fails every comparison.
        raise RowError("bad_label", f"a label of {str(value)[:40]}")
    return float(value)


def is_writable(text: str) -> bool:
    """Whether a text can be written as UTF-8: half of a surrogate pair, which JSON can hold, cannot."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _required(row: Row, name: str) -> object:
    if row.get(name) is None:
        raise RowError("missing_field", f"no field '{name}'")
    return row[name]
