"""Files of labelled solutions: the format found by its fields, rows that cannot be used counted and named.

The formats are those of `prm.labels.FORMATS`, and `big_bench_mistake` (Tyen et al., arXiv 2311.08516), which is read
only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import InputError
from data.sources.base import Reject, Row, RowError, optional_text, text_field
from data.sources.reading import find_files, read_rows, short_names
from prm.labels import FORMATS, LabelledSolution, Prm800kConverter, values_up_to
from prm.labels.fields import index_field, texts_field

Parse = Callable[[Row], list[LabelledSolution]]

_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "stepstar": {"problem": str, "steps": list, "values": list, "source": str},
    "process_bench": {"problem": str, "steps": list, "label": int},
    "big_bench_mistake": {"input": str, "steps": list, "mistake_index": (int, type(None))},
    "prm_bench": {"modified_question": str, "modified_process": list},
    "mr_gsm8k": {"question": str, "model_output_steps": list},
    "trl": {"prompt": str, "completions": list, "labels": list},
    "prm800k": {"question": dict, "label": dict},
    "math_shepherd": {"input": str, "label": str},
    "omega_tree": {"question": str, "reasoning_steps": dict},
    "omega_flat": {"question": str, "reasoning_steps": list},
}
"""By format, fields that its rows have and their types."""


@dataclass(slots=True)
class Unusable:
    """Rows that were left out."""

    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Reject] = field(default_factory=list)
    """The first row of each reason."""

    def add(self, reject: Reject) -> None:
        """Count a row."""
        if reject.reason not in self.reasons:
            self.first.append(reject)
        self.reasons[reject.reason] += 1

    def check(self, kept: int, allowed: float) -> None:
        """Raise an InputError if more than the allowed share of the rows is unusable; it names the first one."""
        lost = self.reasons.total()
        if lost and (not kept or lost > allowed * (lost + kept)):
            bad = self.first[0]
            raise InputError(
                f"{lost} of {lost + kept} rows cannot be used, the first one {bad.where}: {bad.reason}, {bad.detail}.",
                "Mend the file, or leave such rows out with max_reject_share=1." if kept else "Mend the file.",
            )


def label_format(files: Sequence[Path], name: str = "auto") -> str:
    """The format of label files: the one named, or that of the first row's fields.

    Raises:
        InputError: it is unknown.
    """
    names = ", ".join(_FIELDS)
    if name != "auto":
        if name not in _FIELDS:
            raise InputError(f"there is no label format '{name}'.", f"Use auto or one of {names}.")
        return name
    row = next((item[1] for file in files for item in read_rows(file) if not isinstance(item, Reject)), {})
    for known, fields in _FIELDS.items():
        if all(isinstance(row.get(name, ...), kind) for name, kind in fields.items()):
            return known
    raise InputError(
        f"'{files[0]}' is of no known label format; its fields are {', '.join(row) or 'none'}.",
        f"Name it with --format: {names}.",
    )


def label_files(paths: Sequence[str]) -> list[Path]:
    """The files of paths and globs, each once.

    Raises:
        InputError: none is given, or nothing is there.
    """
    if not paths:
        raise InputError("no label file is given.", "Name at least one before the settings.")
    found: dict[Path, None] = {}
    for path in paths:
        files = find_files(path)
        if not files:
            raise InputError(f"there is no file '{path}'.", "Give the path of a file or a glob.")
        found |= dict.fromkeys(files)
    return list(found)


def read_label_rows(
    path: str, format_: str, unusable: Unusable, converter: Prm800kConverter | None = None
) -> Iterator[tuple[Row, list[LabelledSolution]]]:
    """Each usable row of a file or glob, and the solutions in it.

    Args:
        path: .jsonl, .json or .parquet, plain or .gz.
        format_: `auto`, or the name of one.
        unusable: the others are counted here.
        converter: for PRM800K, with its options and ledger.

    Raises:
        InputError: no such file or format.
    """
    files = label_files([path])
    parse = _parser(label_format(files, format_), converter)
    for file, name in zip(files, short_names(files), strict=True):
        for item in read_rows(file, name=name):
            if isinstance(item, Reject):
                unusable.add(item)
                continue
            where, row = item
            try:
                solutions = parse(row)
            except RowError as error:
                unusable.add(Reject(where=where, reason=error.reason, detail=error.detail, excerpt=""))
                continue
            yield row, solutions


def _parser(format_: str, converter: Prm800kConverter | None) -> Parse:
    if format_ == "big_bench_mistake":
        return _parse_big_bench_mistake
    return converter.convert if format_ == "prm800k" and converter else FORMATS[format_].parse


def _parse_big_bench_mistake(row: Row) -> list[LabelledSolution]:
    """Fields `input`, `steps`, `answer`, `target`, `mistake_index` (0-based, null for none)."""
    steps = texts_field(row, "steps")
    first = -1 if row.get("mistake_index") is None else index_field(row, "mistake_index")
    answer, target = optional_text(row, "answer"), optional_text(row, "target")
    return [
        LabelledSolution(
            problem=text_field(row, "input"),
            steps=steps,
            values=values_up_to(first, len(steps)),
            source="human",
            dataset="big_bench_mistake",
            gold=target,
            outcome=answer.strip() == target.strip() if answer and target else None,
        )
    ]
