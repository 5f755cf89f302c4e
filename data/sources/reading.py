"""Stream raw rows from files: .jsonl, .json and .parquet, plain or gzip.

One row that cannot be read costs that row: JSON lines are decoded line by line from bytes, so bad UTF-8 in one leaves
the others whole. A file that cannot be read as a whole is an `InputError` naming it. A .json file may be a JSON array,
an object that holds one array of rows, a single row, or JSON lines under another name; only the last is streamed.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from data.errors import InputError
from data.sources.base import RawRow, Reject, excerpt_of

if TYPE_CHECKING:
    import pyarrow as pa

Stream = IO[bytes] | gzip.GzipFile

EXTENSIONS = (".jsonl", ".json", ".parquet")
MAX_LINE_BYTES = 64 * 2**20
"""A longer line is rejected without being held in memory."""
_FILE_SUFFIXES = {*EXTENSIONS, ".gz", ".csv", ".tsv", ".txt", ".zip", ".zst", ".arrow", ".yaml"}
"""`owner/name` with such an ending is a file that is missing; a hub id may hold dots (`owner/name-1.5`)."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


def find_files(path: str) -> list[Path]:
    """The files that a path or glob names; empty if it is a hub id (`owner/name`) instead.

    Raises:
        InputError: nothing is there, or it is a folder, or of a type that cannot be read.
    """
    place = Path(path)
    if place.is_file():
        files = [place]
    elif place.is_dir():
        raise InputError(f"'{path}' is a folder.", f"Name its files, e.g. '{path.rstrip('/')}/*.jsonl'.")
    elif glob.has_magic(path):
        files = sorted(Path(match) for match in glob.glob(path, recursive=True) if Path(match).is_file())
        if not files:
            raise InputError(f"no file matches '{path}'.", "Mend the pattern.")
    elif _HUB_ID.fullmatch(path) and place.suffix not in _FILE_SUFFIXES:
        return []
    else:
        raise InputError(f"there is no file '{path}'.", "Give the path of a file, a glob, or a hub id 'owner/name'.")
    for file in files:
        if _extension(file) not in EXTENSIONS:
            raise InputError(f"'{file}' is of an unknown type.", f"Use {', '.join(EXTENSIONS)}, plain or .gz.")
    return files


def short_names(files: list[Path]) -> list[str]:
    """The shortest names that tell the files apart: relative to the folder that they share."""
    shared = os.path.commonpath([file.absolute().parent for file in files])
    return [file.absolute().relative_to(shared).as_posix() for file in files]


def read_rows(path: Path | str, *, name: str = "") -> Iterator[RawRow | Reject]:
    """Yield each row of a file with its place, or a `Reject` for a line that is no row.

    Args:
        path: the file.
        name: what to call the file in places; its own name if empty.

    Raises:
        InputError: the file is missing, empty, of an unknown type, or damaged.
    """
    file = Path(path)
    reader = {".jsonl": _read_lines, ".json": _read_json, ".parquet": _read_parquet}.get(_extension(file))
    if reader is None:
        raise InputError(f"'{file}' is of an unknown type.", f"Use {', '.join(EXTENSIONS)}, plain or .gz.")
    empty = True
    try:
        with _open(file) as stream:
            for item in reader(stream, file, name or file.name):
                empty = False
                yield item
    except FileNotFoundError as error:
        raise InputError(f"there is no file '{file}'.", "Check the path.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"'{file}' is not a whole gzip file ({error}).", "Fetch it again.") from error
    except OSError as error:
        raise InputError(f"cannot read '{file}': {error.strerror or _one_line(error)}.", "Check the file.") from error
    if empty:
        raise InputError(f"'{file}' is empty.", "Give a file with at least one row.")


def _extension(file: Path) -> str:
    return Path(file.stem).suffix if file.suffix == ".gz" else file.suffix


def _open(file: Path) -> Stream:
    """Open a file; gzip is known by its name or by its first two bytes."""
    stream = file.open("rb")
    zipped = file.suffix == ".gz" or stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    if not zipped:
        return stream
    stream.close()
    return gzip.open(file, "rb")


def _read_lines(stream: Stream, file: Path, name: str) -> Iterator[RawRow | Reject]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        where = f"{name}:{number}"
        if number == 1:
            if line.startswith(_UTF16_MARKS):
                raise InputError(f"'{file}' is UTF-16.", f"Convert it: iconv -f UTF-16 -t UTF-8 '{file}'")
            line = line.removeprefix(_BOM)
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            size = len(line) + _skip_line(stream)
            yield Reject(
                where=where,
                reason="too_long",
                detail=f"a line of {size} bytes",
                excerpt=line[:200].decode("utf-8", "replace"),
            )
        elif line.strip():
            yield _row_of_line(line, where)


def _skip_line(stream: Stream) -> int:
    skipped = 0
    while part := stream.readline(MAX_LINE_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _row_of_line(line: bytes, where: str) -> RawRow | Reject:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        detail = f"byte {error.start + 1} of the line is no UTF-8"
        return Reject(
            where=where, reason="bad_utf8", detail=detail, excerpt=excerpt_of(line.decode("utf-8", "replace").strip())
        )
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Reject(where=where, reason="bad_json", detail=_one_line(error), excerpt=excerpt_of(text))
    if not isinstance(row, dict):
        detail = f"a JSON {type(row).__name__}, not an object"
        return Reject(where=where, reason="bad_json", detail=detail, excerpt=excerpt_of(text))
    return where, row


def _one_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _read_json(stream: Stream, file: Path, name: str) -> Iterator[RawRow | Reject]:
    head, second = stream.readline(MAX_LINE_BYTES), stream.readline(MAX_LINE_BYTES)
    # Two lines that open an object: JSON lines under another name, as AQuA ships them.
    if head.removeprefix(_BOM).startswith(b"{") and second.startswith(b"{"):
        stream.seek(0)
        yield from _read_lines(stream, file, name)
        return
    content = (head + second + stream.read()).removeprefix(_BOM)
    if not content.strip():
        return
    try:
        loaded = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{file}' is not JSON: {_one_line(error)}.", "Mend it, or name it .jsonl.") from error
    for index, row in enumerate(_rows_within(loaded)):
        where = f"{name}[{index}]"
        if isinstance(row, dict):
            yield where, row
        else:
            detail = f"a JSON {type(row).__name__}, not an object"
            yield Reject(where=where, reason="bad_json", detail=detail, excerpt=excerpt_of(row))


def _rows_within(loaded: object) -> list[object]:
    """The rows of a JSON document: itself, or the one array of objects that it holds (as BIG-bench's `examples`)."""
    if isinstance(loaded, list):
        return loaded
    if isinstance(loaded, dict):
        tables = [
            value for value in loaded.values() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        return tables[0] if len(tables) == 1 else [loaded]
    return [loaded]


def _read_parquet(stream: Stream, file: Path, name: str) -> Iterator[RawRow | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    zipped = isinstance(stream, gzip.GzipFile)
    try:
        table = pq.ParquetFile(io.BytesIO(stream.read()) if zipped else stream)
        number = 0
        for batch in table.iter_batches(batch_size=1024):
            for index in range(batch.num_rows):
                number += 1
                yield _row_of_batch(batch.slice(index, 1), f"{name}:{number}")
    except pa.ArrowException as error:
        raise InputError(f"'{file}' is not a whole parquet file ({_one_line(error)}).", "Fetch it again.") from error


def _row_of_batch(batch: pa.RecordBatch, where: str) -> RawRow | Reject:
    try:
        return where, batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Reject(
            where=where, reason="bad_utf8", detail="a value is no UTF-8", excerpt=excerpt_of(repr(error.object))
        )
