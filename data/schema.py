"""Records to arrow tables and back, by explicit schemas.

Never inferred: a shard whose answers are all null would infer type `null` and could not be read beside its siblings.
The schema of a record is derived from its annotations here, once, and pinned by a golden test.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import cache
from itertools import pairwise
from operator import attrgetter
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
    if "__slots__" not in vars(record_type) or hasattr(record_type, "__post_init__"):
        raise TypeError(f"{record_type.__name__} cannot be read slot by slot")
    hints = typing.get_type_hints(record_type)
    fields = []
    for field in dataclasses.fields(record_type):
        arrow, nullable = _arrow_type(hints[field.name])
        fields.append(pa.field(field.name, arrow, nullable=nullable))
    return pa.schema(fields, metadata={"record": record_type.__name__, "schema_version": str(SCHEMA_VERSION)})


def _plain(value: Any) -> Any:
    """A value as arrow takes it: no dataclasses, no lone surrogates."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def to_table(record_type: type[Record], rows: Iterable[Record]) -> pa.Table:
    """Records to an arrow table with the record's schema."""
    kind: Any = record_type
    schema = arrow_schema(kind)
    return pa.Table.from_arrays(_to_columns(list(schema), list(rows)), schema=schema)


def _to_columns(fields: Sequence[pa.Field], records: Sequence[Any]) -> list[pa.Array]:
    return [_to_column(field.type, list(map(attrgetter(field.name), records))) for field in fields]


def _to_column(arrow: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_struct(arrow):
        if None not in values:
            return pa.StructArray.from_arrays(_to_columns(list(arrow), values), fields=list(arrow))
        return pa.array([_plain(value) for value in values], arrow)
    try:
        return pa.array(values, arrow)
    except (UnicodeEncodeError, pa.ArrowTypeError):  # Lone surrogates; records within a list.
        return pa.array([_plain(value) for value in values], arrow)


@cache
def _hints(record_type: Any) -> dict[str, Any]:
    return typing.get_type_hints(record_type)


def _from_columns(record_type: Any, columns: Iterable[pa.Array], n: int) -> list[Any]:
    """Records whose slots are filled a column at a time: millions are read, and a frozen `__init__` takes longest."""
    found = [object.__new__(record_type) for _ in range(n)]
    for (name, annotation), column in zip(_hints(record_type).items(), columns, strict=True):
        deque(map(getattr(record_type, name).__set__, found, _from_column(annotation, column)), maxlen=0)
    return found


def _from_column(annotation: Any, column: pa.Array) -> list[Any]:
    """The values of a field."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        values = _from_column(next(arg for arg in args if arg is not type(None)), column)
        return [value if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)]
    if origin is tuple:
        offsets = column.offsets.to_pylist()
        first = offsets[0]  # Not 0 in a part of a column.
        values = _from_column(args[0], column.values[first : offsets[-1]])
        return [tuple(values[start - first : end - first]) for start, end in pairwise(offsets)]
    if dataclasses.is_dataclass(annotation):
        return _from_columns(annotation, column.flatten(), len(column))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        # None stands where a record or value around it is missing.
        members = {None: None, **{member.value: member for member in annotation}}
        return list(map(members.__getitem__, column.to_pylist()))
    return list(column.to_pylist())


def from_table(record_type: type[Record], table: pa.Table, *, where: str = "table") -> Iterator[Record]:
    """An arrow table back to records.

    Raises:
        InputError: the table's schema is not that of the record.
    """
    kind: Any = record_type
    if not table.schema.equals(arrow_schema(kind)):
        raise InputError(
            f"{where}: not a table of {record_type.__name__} (schema version {SCHEMA_VERSION}).",
            "It was made by another version or another tool.",
        )
    for batch in table.to_batches(max_chunksize=4096):
        yield from _from_columns(kind, batch.columns, batch.num_rows)
