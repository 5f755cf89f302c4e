"""Records to arrow tables and back, by explicit schemas.

Never inferred: a shard whose answers are all null would infer type `null` and could not be read beside its siblings.
The schema of a record is derived from its annotations here, once, and pinned by a golden test.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cache, partial
from typing import Any, TypeVar

import pyarrow as pa

from data import records, run_records
from data.errors import InputError

SCHEMA_VERSION = 1
"""Written into every shard and manifest; a larger one than this was made by a newer stepstar."""

Record = TypeVar("Record")

TABLES: dict[str, type[Any]] = {
    "problems": records.Problem,
    "rationales": records.Rationale,
    "verdicts": records.Verdict,
    "step_labels": records.StepLabel,
    "step_scores": records.StepScores,
    "selections": run_records.Selection,
    "leak_reports": run_records.LeakReport,
    "wrong_hints": run_records.WrongHint,
    "evaluations": run_records.Evaluation,
    "dev_evaluations": run_records.Evaluation,
    "promotions": run_records.Promotion,
    "ppo_iterations": run_records.PpoIteration,
}
"""Table name to record type: the folder names under `records/` of a run."""

_SCALARS: dict[type[Any], pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """Arrow type and nullability of one annotation."""
    if annotation in _SCALARS:
        return _SCALARS[annotation], False
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string(), False
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return pa.struct(list(arrow_schema(annotation))), False
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return pa.list_(pa.field("item", _arrow_type(args[0])[0], nullable=False)), False
    if origin in (types.UnionType, typing.Union) and type(None) in args:
        return _arrow_type(next(arg for arg in args if arg is not type(None)))[0], True
    raise TypeError(f"no arrow type for {annotation!r}")


@cache
def arrow_schema(record_type: Any) -> pa.Schema:
    """The explicit schema of a record type."""
    hints = typing.get_type_hints(record_type)
    fields = []
    for field in dataclasses.fields(record_type):
        arrow, nullable = _arrow_type(hints[field.name])
        fields.append(pa.field(field.name, arrow, nullable=nullable))
    return pa.schema(fields, metadata={"record": record_type.__name__, "schema_version": str(SCHEMA_VERSION)})


def _plain(value: Any) -> Any:
    """A value as arrow takes it: no enums, no dataclasses, no lone surrogates."""
    if isinstance(value, str):
        return str(value).encode("utf-8", "replace").decode("utf-8") if not value.isascii() else str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_row(value)
    return value


def to_row(record: Any) -> dict[str, Any]:
    """A record as a plain dict, nested records too."""
    kind: Any = type(record)
    return {name: _plain(getattr(record, name)) for name in _names(kind)}


@cache
def _names(record_type: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record_type))


def to_table(record_type: type[Record], rows: Iterable[Record]) -> pa.Table:
    """Records to an arrow table with the record's schema."""
    kind: Any = record_type
    return pa.Table.from_pylist([to_row(row) for row in rows], schema=arrow_schema(kind))


def _reader(annotation: Any) -> Callable[[Any], Any] | None:
    """What makes a value of a column a value of a field; None where they are the same, which nearly all are."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {member.value: member for member in annotation}.__getitem__
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return partial(from_row, annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        entry = _reader(args[0])
        return tuple if entry is None else lambda values: tuple(map(entry, values))
    if origin in (types.UnionType, typing.Union):
        return _reader(next(arg for arg in args if arg is not type(None)))
    return None


@cache
def _readers(record_type: Any) -> dict[str, Callable[[Any], Any]]:
    """Field to its reader, for those that have one. Looked up once a type: a run reads millions of records."""
    readers = {name: _reader(annotation) for name, annotation in typing.get_type_hints(record_type).items()}
    return {name: reader for name, reader in readers.items() if reader}


def from_row(record_type: type[Record], row: dict[str, Any]) -> Record:
    """A plain dict back to a record."""
    kind: Any = record_type
    read = {name: reader(row[name]) for name, reader in _readers(kind).items() if row[name] is not None}
    return record_type(**{**row, **read})


def from_table(record_type: type[Record], table: pa.Table, *, where: str = "table") -> Iterator[Record]:
    """An arrow table back to records.

    Raises:
        InputError: the table's schema is not that of the record.
    """
    kind: Any = record_type
    expected = arrow_schema(kind)
    if not table.schema.equals(expected):
        raise InputError(
            f"{where}: not a table of {record_type.__name__} (schema version {SCHEMA_VERSION}).",
            "It was made by another version or another tool.",
        )
    for batch in table.to_batches(max_chunksize=4096):
        columns = [_column(kind, name, batch.column(name).to_pylist()) for name in expected.names]
        for values in zip(*columns, strict=True):
            yield record_type(**dict(zip(expected.names, values, strict=True)))


def _column(record_type: Any, name: str, values: list[Any]) -> list[Any]:
    reader = _readers(record_type).get(name)
    return [None if value is None else reader(value) for value in values] if reader else values
