"""Files of rows of any size, read in chunks and written again with columns added: JSON lines (.gz too) and Parquet.

Memory holds one chunk. A line that is no JSON object is a row all the same (a `Reject`), so that rows can be counted. A
written file appears whole or not at all, and equal rows make equal bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from data.errors import InputError
from data.sources.base import Reject, Row
from data.sources.reading import read_rows
from prm.labels.fields import is_writable

Added = dict[str, Any]
"""Columns to add to one row: texts, numbers, or lists of numbers; None for null."""

_LOOK = 100
"""Rows that are looked at for the names of the columns."""
_UNREADABLE = "unreadable"
"""Column that holds what is left of a line that is no row."""


class RowFile(Protocol):
    """A file of rows."""

    def columns(self) -> list[str]:
        """Names of its columns; for JSON lines, those of the first rows."""

    def count(self) -> int:
        """Rows, quickly; blank lines may be counted too."""

    def chunks(self, size: int, wanted: list[str]) -> Iterator[list[Row | Reject]]:
        """Rows in order, `size` at a time, with at least the columns that are wanted."""

    def write(self, target: Path, added: Iterable[Added], kinds: dict[str, str]) -> None:
        """Write every row with the columns added, in order.

        Args:
            target: appears when it is whole.
            added: for each row.
            kinds: name and type of each added column: `text`, `number` or `numbers`.
        """


def open_rows(file: Path) -> RowFile:
    """A file by its name.

    Raises:
        InputError: there is none, or it cannot be read in chunks.
    """
    if not file.is_file():
        raise InputError(f"there is no file '{file}'.", "Check the path.")
    return _by_name(file)


def check_target(source: Path, target: Path) -> None:
    """Raise an InputError if a file cannot be written as `target` from `source`."""
    if type(_by_name(source)) is not type(_by_name(target)):
        raise InputError(
            f"'{target.name}' is of another type than '{source.name}'.",
            "Give both as .jsonl (or .jsonl.gz) or .parquet.",
        )
    if target.exists() and target.samefile(source):
        raise InputError(f"'{target}' is the input itself.", "Choose another --out.")
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"'{target}' cannot be written: no such folder, or a folder itself.", "Give a file's path.")


def _by_name(file: Path) -> RowFile:
    if file.name.endswith((".jsonl", ".jsonl.gz")):
        return JsonLines(file)
    if file.suffix == ".parquet":
        return Parquet(file)
    raise InputError(f"'{file}' is of an unknown type.", "Use .jsonl, .jsonl.gz or .parquet.")


class JsonLines:
    """JSON lines, plain or gzip by the name."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> list[str]:
        """Names of the columns of the first rows."""
        rows = (item[1] for item in islice(read_rows(self.file), _LOOK) if not isinstance(item, Reject))
        return list(dict.fromkeys(name for row in rows for name in row))

    def count(self) -> int:
        """Lines of the file."""
        with gzip.open(self.file, "rb") if self.file.suffix == ".gz" else self.file.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")) or 1

    def chunks(self, size: int, wanted: list[str]) -> Iterator[list[Row | Reject]]:
        """Rows in order, with all columns."""
        rows = (item if isinstance(item, Reject) else item[1] for item in read_rows(self.file))
        while chunk := list(islice(rows, size)):
            yield chunk

    def write(self, target: Path, added: Iterable[Added], kinds: dict[str, str]) -> None:
        """Write every row with the columns added."""
        partial = target.with_name(f".{target.name}.partial")
        with _create(partial, zipped=target.suffix == ".gz") as stream:
            for item, more in zip(read_rows(self.file), added, strict=True):
                row = {_UNREADABLE: f"{item.where}: {item.excerpt}"} if isinstance(item, Reject) else item[1]
                stream.write(_line(row, more))
        _finish(partial, target)


class Parquet:
    """A Parquet file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def columns(self) -> list[str]:
        """Names of its columns."""
        return list(self._open().schema_arrow.names)

    def count(self) -> int:
        """Rows, from the footer."""
        return int(self._open().metadata.num_rows)

    def chunks(self, size: int, wanted: list[str]) -> Iterator[list[Row | Reject]]:
        """Rows in order, with the wanted columns."""
        for batch in self._open().iter_batches(batch_size=size, columns=wanted):
            yield [_row(batch, index, self.file.name) for index in range(batch.num_rows)]

    def write(self, target: Path, added: Iterable[Added], kinds: dict[str, str]) -> None:
        """Write every row with the columns added; the types of the others stay as they are."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"text": pa.string(), "number": pa.float64(), "numbers": pa.list_(pa.float64())}
        source, more = self._open(), iter(added)
        schema = source.schema_arrow
        for name, kind in kinds.items():
            schema = schema.append(pa.field(name, types[kind]))
        partial = target.with_name(f".{target.name}.partial")
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in source.iter_batches(batch_size=4096):
                fresh = list(islice(more, batch.num_rows))
                columns = [pa.array([one[name] for one in fresh], types[kind]) for name, kind in kinds.items()]
                writer.write_batch(pa.record_batch([*batch.columns, *columns], schema=schema))
        _finish(partial, target)

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.file)
        except pa.ArrowException as error:
            why = str(error).partition("\n")[0]
            raise InputError(f"'{self.file}' is no whole Parquet file ({why}).", "Fetch it again.") from error


def _row(batch: Any, index: int, name: str) -> Row | Reject:
    try:
        return dict(batch.slice(index, 1).to_pylist()[0])
    except UnicodeDecodeError:
        return Reject(where=f"{name}:{index}", reason="bad_utf8", detail="a value is no UTF-8", excerpt="")


def _line(row: Row, more: Added) -> str:
    """A line of strict JSON: a NaN of the input becomes null, half of a surrogate pair stays an escape."""
    content = row | more
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(row) | more, ensure_ascii=False, allow_nan=False)
    return (text if is_writable(text) else json.dumps(json.loads(text))) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _create(path: Path, *, zipped: bool) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        # No name and no time stamp: equal rows make equal files.
        packed: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if zipped else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as stream:
            yield stream


def _finish(partial: Path, target: Path) -> None:
    with partial.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, target)
