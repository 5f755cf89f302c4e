"""Problems with known answers, from files, from the Hugging Face hub, or generated: one registry, one reader.

A row that cannot be used is yielded as a `Reject` that names file and line; only a mistake about the whole (no such
source, file or column; nothing usable in it) is an error. Everything streams: a file larger than memory is read.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from data.errors import InputError
from data.records import Problem
from data.sources.base import RawRow, Reject, RowError, Source
from data.sources.choice import parse_aqua, parse_commonsenseqa, parse_strategyqa
from data.sources.hub import read_hub
from data.sources.local import check_columns, local_parser
from data.sources.outcomes import RowReader, deduplicate, read_tables
from data.sources.programs import mbpp_split, parse_humaneval, parse_mbpp
from data.sources.reading import find_files, read_rows, short_names
from data.sources.word_problems import parse_asdiv, parse_gsm8k, parse_math, parse_svamp

__all__ = ["GENERATED", "MAX_CHARS", "SOURCES", "Reject", "RowError", "Source", "deduplicate", "read_problems"]

MAX_CHARS = 100_000
"""A longer prompt, answer, solution or test program is rejected, unless option `max_chars` says otherwise."""

_MATH_LICENCE = "MIT (problem texts from AoPS, disputed)"

SOURCES: dict[str, Source] = {
    "gsm8k": Source(
        parse=parse_gsm8k,
        hub_id="openai/gsm8k",
        hub_config="main",
        licence="MIT",
        description="Grade-school word problems with worked solutions.",
    ),
    "math": Source(
        parse=parse_math,
        hub_id="DigitalLearningGmbH/MATH-lighteval",
        licence=_MATH_LICENCE,
        description="Competition mathematics in five levels; also reads MATH-500.",
    ),
    "math500": Source(
        parse=parse_math,
        hub_id="HuggingFaceH4/MATH-500",
        licence=_MATH_LICENCE,
        hub_splits={"test": "test"},
        description="The 500 test problems of Let's Verify Step by Step.",
    ),
    "svamp": Source(
        parse=parse_svamp,
        hub_id="ChilleD/SVAMP",
        licence="MIT",
        description="One-step word problems that punish shallow pattern matching.",
    ),
    "asdiv": Source(
        parse=parse_asdiv,
        hub_id="EleutherAI/asdiv",
        licence="CC-BY-NC-4.0",
        hub_splits={"train": "validation"},
        description="Diverse primary-school word problems.",
    ),
    "aqua": Source(
        parse=parse_aqua,
        hub_id="deepmind/aqua_rat",
        hub_config="raw",
        licence="Apache-2.0",
        description="Algebra word problems with five options and a rationale.",
    ),
    "commonsenseqa": Source(
        parse=parse_commonsenseqa,
        hub_id="tau/commonsense_qa",
        licence="MIT",
        hub_splits={"train": "train", "test": "validation"},
        description="Common-sense questions with five options.",
    ),
    "strategyqa": Source(
        parse=parse_strategyqa,
        hub_id="ChilleD/StrategyQA",
        licence="Apache-2.0 (BIG-bench form)",
        description="Yes-or-no questions that need several implicit steps.",
    ),
    "mbpp": Source(
        parse=parse_mbpp,
        hub_id="google-research-datasets/mbpp",
        hub_config="full",
        licence="CC-BY-4.0",
        hub_splits={"train": "train", "test": "test", "validation": "validation", "prompt": "prompt"},
        split_of=mbpp_split,
        description="Short Python functions with three assertions each.",
    ),
    "humaneval": Source(
        parse=parse_humaneval,
        hub_id="openai/openai_humaneval",
        licence="MIT",
        hub_splits={"test": "test"},
        description="164 Python functions to complete, with tests.",
    ),
    "local": Source(parse=local_parser(), licence="", description="Your own file or hub dataset, by a column map."),
}
"""Every source that is read row by row. A source of your own: add an entry, or use `local`."""


def _read_arithmetic(options: Mapping[str, Any], split: str) -> Iterator[Problem | Reject]:
    from data.sources.arithmetic import read_arithmetic

    return read_arithmetic(options, split)


def _read_addition(options: Mapping[str, Any], split: str) -> Iterator[Problem | Reject]:
    from data.sources.addition import read_addition

    return read_addition(options, split)


def _read_reasoning_gym(options: Mapping[str, Any], split: str) -> Iterator[Problem | Reject]:
    from data.sources.reasoning_gym_tasks import read_reasoning_gym

    return read_reasoning_gym(options, split)


GENERATED: dict[str, Callable[[Mapping[str, Any], str], Iterator[Problem | Reject]]] = {
    "addition": _read_addition,
    "arithmetic": _read_arithmetic,
    "reasoning_gym": _read_reasoning_gym,
}
"""Sources that draw their problems instead of reading them: (options, split) to problems."""


def read_problems(
    name: str,
    *,
    path: str = "",
    split: str = "train",
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Problem | Reject]:
    """Yield the problems of a source in the source's order, and a `Reject` for each row that cannot be used.

    Args:
        name: a key of `SOURCES` or `GENERATED`.
        path: a file or glob (.jsonl, .json, .parquet, plain or .gz), a hub id `owner/name`, or empty for the source's
            own place on the hub.
        split: `train`, or anything else, which the problems record as `test`. Rows of other splits are passed over
            where rows tell their split (MBPP); any other file is taken to be of this split.
        columns: for `local`, our field to the file's column; see `data.sources.local`.
        options: `max_chars`; on the hub `revision` and `config`; for `local` `kind`; for a generated source its own.

    Raises:
        InputError: nothing can be read: unknown source, option, file or column, a damaged file, no usable row. What
            needs no reading is raised at once, the rest as the rows are read.
    """
    settings = dict(options or {})
    if name in GENERATED:
        if path or columns:
            raise InputError(f"source '{name}' is generated.", "Leave out path and columns.")
        if split not in ("train", "test"):
            raise InputError(f"source '{name}' has no split '{split}'.", "Use train or test.")
        return GENERATED[name](settings, split)
    check_source(name)
    source = SOURCES[name]
    _check_options(name, settings)
    if name == "local":
        source = dataclasses.replace(source, parse=local_parser(columns, settings.get("kind", "")))
    elif columns:
        raise InputError(f"source '{name}' knows its own columns.", "Use the source 'local' to map columns.")
    tables = _tables(source, path, split, settings)
    if name == "local":
        tables = {place: check_columns(rows, columns, place) for place, rows in tables.items()}
    reader = RowReader(source=source, name=name, split=split, max_chars=settings.get("max_chars", MAX_CHARS))
    return read_tables(tables, reader)


def check_source(name: str) -> None:
    """Raise an InputError that names the nearest source if there is none of this name."""
    known = [*SOURCES, *GENERATED]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        cure = f"Did you mean '{near[0]}'?" if near else f"Use one of {', '.join(known)}."
        raise InputError(f"there is no source '{name}'.", cure)


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Hold the options of a source that is read to their names and types."""
    allowed: dict[str, type[Any]] = {"max_chars": int, "revision": str, "config": str}
    if name == "local":
        allowed["kind"] = str
    for option, value in options.items():
        if option not in allowed:
            near = difflib.get_close_matches(option, allowed, n=1)
            raise InputError(
                f"source '{name}' has no option '{option}'.",
                f"Did you mean '{near[0]}'?" if near else f"Use {', '.join(allowed)}.",
            )
        if type(value) is not allowed[option] or (allowed[option] is int and value < 1):
            kind = "a whole number from 1 up" if allowed[option] is int else "text"
            raise InputError(f"option '{option}' of source '{name}' is {value!r}.", f"Give {kind}.")


def _tables(source: Source, path: str, split: str, options: Mapping[str, Any]) -> dict[str, Iterable[RawRow | Reject]]:
    """What to read, by name: the files of a path, or one hub dataset."""
    files = find_files(path) if path else []
    if files:
        return {str(file): read_rows(file, name=name) for file, name in zip(files, short_names(files), strict=True)}
    hub_id = path or source.hub_id
    if not hub_id:
        raise InputError("the source 'local' has no place of its own.", "Give the path of a file or a hub id.")
    ours = hub_id == source.hub_id
    config = options.get("config", source.hub_config if ours else "")
    hub_split = _hub_split(source, split) if ours else split
    rows = read_hub(hub_id, config=config, split=hub_split, revision=options.get("revision", ""))
    return {f"{hub_id}[{hub_split}]": rows}


def _hub_split(source: Source, split: str) -> str:
    """Our split as the hub calls it; a slice (`train[:100]`) is passed on."""
    base, bracket, part = split.partition("[")
    if base not in source.hub_splits:
        raise InputError(f"'{source.hub_id}' has no split '{base}'.", f"Use {', '.join(source.hub_splits)}.")
    return source.hub_splits[base] + bracket + part
