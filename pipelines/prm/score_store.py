"""The step scores of a file's rows, one line a row, beside the output: a job that was killed goes on behind its chunks.

The first line says whose scores they are, the last one that they are all. A line that a kill (or a full disk) tore, and
the whole lines of an unfinished chunk, are cut off: a chunk is always scored as one, since floating point depends on
the batch. One process at a time holds the file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data.errors import InputError, UserError

_END = b'"end"\n'


class RowScores(NamedTuple):
    """What became of one row."""

    steps: Sequence[float] | None
    """A probability for each step; None if the row cannot be scored."""
    error: str | None
    """Why the row cannot be scored, a short code; None if it was."""


class ScoreStore:
    """The file; opened, it holds whole chunks of one job.

    Args:
        file: where it lies; made if need be.
        job: what the scores depend on.
        chunk: rows of a chunk.

    Raises:
        UserError: another process writes it, it belongs to another job, or it cannot be written.
    """

    def __init__(self, file: Path, job: Mapping[str, str | int], chunk: int) -> None:
        self.file = file
        try:
            self._stream = file.open("a+b")
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process writes '{file}'.", "Wait for it, or choose another --out.") from None
        except OSError as error:
            raise InputError(f"cannot write '{file}': {error.strerror}.", "Choose another --out.") from error
        header = json.dumps(job, sort_keys=True).encode() + b"\n"
        self._stream.seek(0)
        first = self._stream.readline()
        if first.endswith(b"\n") and first != header:
            self._stream.close()
            raise UserError(
                f"'{file}' is from {_difference(first, job)}.",
                "Give --fresh to drop them, or another --out.",
            )
        self.rows = 0
        self.ended = False
        if first == header:
            self._cut(chunk)
        else:
            self._stream.truncate(0)
            self._write(header)

    def _cut(self, chunk: int) -> None:
        """Cut off what is torn or unfinished, and count the rows that are kept."""
        rows, place = 0, self._stream.tell()
        whole = place
        for line in self._stream:
            self.ended = line == _END
            if not (self.ended or _is_entry(line)):
                break
            rows, place = rows + (not self.ended), place + len(line)
            if self.ended or rows % chunk == 0:
                self.rows, whole = rows, place
        self._stream.truncate(whole)

    def add(self, entries: Sequence[RowScores]) -> None:
        """Add a chunk; it is on the disk when this returns.

        Raises:
            InputError: the disk is full.
        """
        self._write("".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries).encode())
        self.rows += len(entries)

    def end(self) -> None:
        """Say that these are the scores of all rows."""
        self._write(_END)
        self.ended = True

    def _write(self, content: bytes) -> None:
        try:
            self._stream.write(content)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write '{self.file}': {error.strerror}.", "Free space, then run the same command again."
            ) from error

    def entries(self) -> Iterator[RowScores]:
        """All rows in order."""
        with self.file.open("rb") as stream:
            next(stream)
            for line in stream:
                if line != _END:
                    yield RowScores(*json.loads(line))

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()


def _is_entry(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and len(json.loads(line)) == len(RowScores._fields)
    except (ValueError, TypeError):
        return False


def _difference(first: bytes, job: Mapping[str, str | int]) -> str:
    try:
        known = dict(json.loads(first))
    except (ValueError, TypeError):
        return "another kind of file"
    return "another " + " and ".join(name.replace("_", " ") for name in job if known.get(name) != job[name])
