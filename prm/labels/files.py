"""Labelled solutions from JSON lines and back, streaming: one registry of formats, one reader, one writer.

A row that cannot be used is yielded as a `Reject` that names file, line and reason. A solution that a format cannot
express (TRL has no way to say "unlabelled") is left out of a written file and counted by reason.
"""

from __future__ import annotations

import difflib
import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from data.errors import InputError
from data.sources.base import Reject, Row, RowError, excerpt_of
from data.sources.reading import find_files, read_rows, short_names
from prm.labels.benchmarks import (
    parse_mr_gsm8k,
    parse_prm_bench,
    parse_process_bench,
    render_mr_gsm8k,
    render_prm_bench,
    render_process_bench,
)
from prm.labels.math_shepherd import parse_math_shepherd, render_math_shepherd
from prm.labels.omega_prm import parse_omega_flat, parse_omega_tree, render_omega_flat, render_omega_tree
from prm.labels.prm800k import Prm800kConverter
from prm.labels.solution import LabelledSolution
from prm.labels.stepwise import parse_stepstar, parse_trl, render_prm800k, render_stepstar, render_trl


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a row of a format is read and written."""

    parse: Callable[[Row], list[LabelledSolution]]
    render: Callable[[Sequence[LabelledSolution]], Row]
    grouped: bool = False
    """A row holds all neighbouring solutions of one problem, not one solution."""


FORMATS: dict[str, Format] = {
    "stepstar": Format(parse=parse_stepstar, render=render_stepstar),
    "trl": Format(parse=parse_trl, render=render_trl),
    "prm800k": Format(parse=lambda row: Prm800kConverter().convert(row), render=render_prm800k),
    "math_shepherd": Format(parse=parse_math_shepherd, render=render_math_shepherd),
    "omega_tree": Format(parse=parse_omega_tree, render=render_omega_tree, grouped=True),
    "omega_flat": Format(parse=parse_omega_flat, render=render_omega_flat, grouped=True),
    "process_bench": Format(parse=parse_process_bench, render=render_process_bench),
    "prm_bench": Format(parse=parse_prm_bench, render=render_prm_bench),
    "mr_gsm8k": Format(parse=parse_mr_gsm8k, render=render_mr_gsm8k),
}
"""Every format that is read and written."""


def read_labels(path: str, format_: str) -> Iterator[LabelledSolution | Reject]:
    """Yield the labelled solutions of a file or glob, and a `Reject` for each row that cannot be used.

    Args:
        path: .jsonl, .json or .parquet, plain or .gz.
        format_: a key of `FORMATS`; for PRM800K with options or a ledger see `read_prm800k`.

    Raises:
        InputError: no such format or file, or the file is damaged as a whole.
    """
    return _read(path, _find_format(format_).parse)


def read_prm800k(path: str, converter: Prm800kConverter) -> Iterator[LabelledSolution | Reject]:
    """Yield the labelled solutions of PRM800K files; the converter's ledger fills as they are read."""
    return _read(path, converter.convert, on_unread=converter.ledger.lines)


def write_labels(path: str | Path, solutions: Iterable[LabelledSolution], format_: str) -> Counter[str]:
    """Write solutions as JSON lines, gzip if the name ends in .gz; the file appears when it is whole.

    Returns:
        Counts of `written` solutions and, by reason, of those that the format cannot express.
    """
    layout = _find_format(format_)
    target = Path(path)
    partial = target.with_name(f"{target.name}.part")
    counts: Counter[str] = Counter()
    with _create(partial, zipped=target.suffix == ".gz") as stream:
        for group in _groups(solutions, layout):
            try:
                row = layout.render(group)
            except RowError as error:
                counts[error.reason] += len(group)
                continue
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            counts["written"] += len(group)
    os.replace(partial, target)
    return counts


def _find_format(name: str) -> Format:
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name, FORMATS, n=1)
    cure = f"Did you mean '{near[0]}'?" if near else f"Use one of {', '.join(FORMATS)}."
    raise InputError(f"there is no label format '{name}'.", cure)


def _read(
    path: str, parse: Callable[[Row], list[LabelledSolution]], on_unread: Counter[str] | None = None
) -> Iterator[LabelledSolution | Reject]:
    files = find_files(path)
    if not files:
        raise InputError(f"there is no file '{path}'.", "Give the path of a file or a glob.")
    for file, name in zip(files, short_names(files), strict=True):
        for item in read_rows(file, name=name):
            if isinstance(item, Reject):
                if on_unread is not None:
                    on_unread[item.reason] += 1
                yield item
                continue
            where, row = item
            try:
                yield from parse(row)
            except RowError as error:
                yield Reject(where=where, reason=error.reason, detail=error.detail, excerpt=excerpt_of(row))


def _groups(solutions: Iterable[LabelledSolution], layout: Format) -> Iterator[list[LabelledSolution]]:
    if not layout.grouped:
        return ([solution] for solution in solutions)
    return (list(group) for _, group in groupby(solutions, key=lambda one: (one.problem, one.row_id)))


@contextmanager
def _create(path: Path, *, zipped: bool) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        # No name and no time stamp: equal labels make equal files.
        packed: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if zipped else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as stream:
            yield stream
