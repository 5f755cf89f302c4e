"""Writes the rows of an export: split by problem, streamed, and whole or absent.

The folder is made beside its place and renamed. Equal rows give equal bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa

from data.batching import batched
from data.errors import InputError
from data.exports.card import file_of
from data.exports.layouts import STEP_REWARDS, Layout
from data.ids import derive_seed

MARK = "export.json"
"""Written last; a folder with it is an export and may be replaced by another one."""
_CHUNK = 1024

Keyed = tuple[str, Mapping[str, Any]]
"""A problem's text, by which rows are split, and a row."""


def split_of(problem: str, validation_share: float) -> str:
    """`train` or `validation`, drawn by the hash of a problem's text; case and white space do not matter."""
    drawn = derive_seed("export split", " ".join(problem.lower().split()))
    return "validation" if drawn < validation_share * 2**63 else "train"


class ExportFolder:
    """An export that is being written; `with` puts it in its place, or nothing at all after an error.

    Args:
        root: its folder.
        layout: of its main part.
        validation_share: share of the problems that go to `validation`.
        fresh: an export that is there may be replaced.

    Raises:
        InputError: the folder holds something else, or an export without `fresh`, or cannot be written.
    """

    def __init__(self, root: Path, layout: Layout, validation_share: float, *, fresh: bool = False) -> None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            if not (root / MARK).is_file():
                raise InputError(f"'{root}' is not empty and is no export.", "Choose another folder with --out.")
            if not fresh:
                raise InputError(f"'{root}' holds an export.", "Choose another --out, or replace it with --fresh.")
        self.root, self.layout, self.validation_share = root, layout, validation_share
        self._partial = root.absolute().with_name(f".{root.absolute().name}.partial")

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        try:
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot write '{self.root}': {error.strerror}.", "Choose another --out.") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            shutil.rmtree(self.root, ignore_errors=True)
            os.replace(self._partial, self.root)
            return
        shutil.rmtree(self._partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(
                f"cannot write '{self.root}': {error.strerror or error}.",
                "Free space or permissions, then run it again.",
            ) from error

    def write(self, rows: Iterable[Keyed], config: str = "default") -> Counter[str]:
        """Write one part; returns the rows of each split, those without a row left out.

        Args:
            rows: in order; a split keeps it.
            config: `default`, or `step_rewards` for rows of that schema.
        """
        schema = self.layout.schema if config == "default" else STEP_REWARDS
        counts: Counter[str] = Counter()
        with ExitStack() as files:
            sinks: dict[str, _Sink] = {}
            for chunk in batched(rows, _CHUNK):
                for split in ("train", "validation"):
                    fresh = [row for problem, row in chunk if split_of(problem, self.validation_share) == split]
                    if fresh and split not in sinks:
                        path = self._partial / file_of(config, split, self.layout)
                        sinks[split] = files.enter_context(_Sink(path, schema))
                    if fresh:
                        sinks[split].write(fresh)
                    counts[split] += len(fresh)
        return +counts

    def add(self, name: str, text: str) -> None:
        """Write a small file."""
        (self._partial / name).write_text(text, encoding="utf-8")


class _Sink:
    """A Parquet or JSON lines file that is being written."""

    def __init__(self, path: Path, schema: pa.Schema | None) -> None:
        self._path, self._schema = path, schema
        self._parquet: Any = None
        self._lines: IO[str] | None = None

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self._path.parent.mkdir(exist_ok=True)
        if self._schema is None:
            self._lines = self._path.open("w", encoding="utf-8", newline="\n")
        else:
            self._parquet = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def __exit__(self, *_: object) -> None:
        (self._lines or self._parquet).close()

    def write(self, rows: list[Mapping[str, Any]]) -> None:
        if self._lines:
            self._lines.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        else:
            self._parquet.write_table(pa.Table.from_pylist(rows, schema=self._schema))
