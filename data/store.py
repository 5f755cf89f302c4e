"""Files that are whole or absent: atomic writes, and parquet shards checked by hash when they are read.

A shard is written to a temporary name, flushed to disk, renamed, and the folder flushed; only then may a manifest name
it. Equal rows give equal bytes: no timestamp goes in, and the writer's settings are fixed here.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data.errors import InputError

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """What a manifest says of one shard."""

    file: str
    """Path relative to the run folder."""
    rows: int
    sha256: str
    key: str
    """Hash of what the shard was computed from."""

    def __post_init__(self) -> None:
        if self.file.startswith("/") or ".." in self.file.split("/"):
            raise InputError(f"the manifest names '{self.file}', outside its folder.", "Do not use that folder.")


@dataclass(frozen=True, slots=True)
class Only:
    """The records of a table whose field has one of some values; the others are never made."""

    field: str
    values: Any
    """Arrow array."""

    @classmethod
    def of(cls, field: str, values: Iterable[str]) -> Only:
        """The records whose `field` is among `values`."""
        import pyarrow as pa

        return cls(field, pa.array(list(values), pa.string()))


def sha256_of(file: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(file: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, even if the machine stops.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    partial = file.with_name(f".{file.name}.partial")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
        _sync(file.parent)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path at which a library may write what then takes the place of `file`, whole.

    It lies in a folder of its own: libraries write under names that nobody else knows, and a killed one leaves them.
    The next write takes that folder away, and so does `discard`.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    scratch = _scratch(file)
    with writing(file):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch / file.name
            _sync(scratch / file.name)
            os.replace(scratch / file.name, file)
            _sync(file.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def discard(file: Path) -> None:
    """Remove a file, if it is there, and what an interrupted `replacing` left of it."""
    file.unlink(missing_ok=True)
    shutil.rmtree(_scratch(file), ignore_errors=True)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Name `place`, the reason and the cure where what the block writes does not fit or may not be written.

    Raises:
        InputError: an operation on a file failed.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        cure = "Free space or permissions, then run the same command again: it resumes."
        if isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError)):
            cure = "Give another path."
        raise InputError(f"cannot write '{place}': {getattr(error, 'strerror', None) or error}.", cure) from error


def _scratch(file: Path) -> Path:
    return file.with_name(f".{file.name}.writing")


def _sync(place: Path) -> None:
    """Have the disk hold what a file or folder has."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_SEAL = b'{\n "sha256": "'


def seal(text: bytes) -> bytes:
    """JSON text of an object, with the hash of all the rest as its first key."""
    return _SEAL + hashlib.sha256(text).hexdigest().encode() + b'",' + text[1:]


def unseal(content: bytes) -> bytes:
    """The text that was sealed; what has no seal, being of an earlier version, is taken as it is.

    Raises:
        ValueError: it is not what was written.
    """
    if not content.startswith(_SEAL):
        return content
    digest, rest = content[len(_SEAL) :][:64], content[len(_SEAL) + 66 :]
    if hashlib.sha256(b"{" + rest).hexdigest().encode() != digest:
        raise ValueError("its bytes are not those that were written")
    return b"{" + rest


def table_bytes(table: Any) -> bytes:
    """An arrow table as parquet; equal tables give equal bytes."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", version="2.6", write_statistics=True)
    return buffer.getvalue()


def write_shard(root: Path, file: str, record_type: type[Record], rows: Iterable[Record], *, key: str) -> ShardEntry:
    """Write records as `root/file` and return what the manifest needs to know."""
    from data.schema import to_table

    table = to_table(record_type, rows)
    content = table_bytes(table)
    write_atomic(root / file, content)
    return ShardEntry(file=file, rows=table.num_rows, sha256=hashlib.sha256(content).hexdigest(), key=key)


def read_shard(
    root: Path, entry: ShardEntry, record_type: type[Record], *, only: Only | None = None
) -> Iterator[Record]:
    """Records of a shard.

    Args:
        root: of the store.
        entry: of the shard.
        record_type: what it holds.
        only: which of them; all, if none is given.

    Raises:
        InputError: the file is missing or is not the one that was written.
    """
    import pyarrow.compute as pc

    from data.schema import from_table

    table = _read_table(root, entry)
    if only:
        table = table.filter(pc.is_in(table[only.field], only.values))
    yield from from_table(record_type, table, where=str(root / entry.file))


def read_fields(root: Path, entry: ShardEntry, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some fields of the records of a shard, as plain values: an enum's are text. Costs a tenth of the records.

    Raises:
        InputError: the file is missing or is not the one that was written.
    """
    table = _read_table(root, entry, fields)
    yield from zip(*(table[field].to_pylist() for field in fields), strict=True)


def _read_table(root: Path, entry: ShardEntry, fields: Sequence[str] | None = None) -> Any:
    """The arrow table of a shard, or some of its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = root / entry.file
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(f"the shard '{file}' is missing or damaged.", "Run the same command again: it is recomputed.")
    # `read_table` looks for a dataset of many files first, which takes longer than reading a shard.
    with pq.ParquetFile(pa.BufferReader(content)) as stored:
        return stored.read(columns=fields, use_threads=False)


def shard_is_whole(root: Path, entry: ShardEntry) -> bool:
    """Whether the file that an entry names is there, byte for byte."""
    file = root / entry.file
    return file.is_file() and sha256_of(file) == entry.sha256


def set_aside_foreign(root: Path, known: set[str]) -> list[str]:
    """Move files under `records/` that no manifest entry names to `set-aside/`, and return their names.

    Such a file was torn by a kill between rename and manifest, or put there by hand; it is never read.
    """
    moved = []
    for file in sorted((root / "records").glob("*/*")):
        name = file.relative_to(root).as_posix()
        if name not in known:
            target = root / "set-aside" / name.replace("/", "__")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
            moved.append(name)
    return moved
