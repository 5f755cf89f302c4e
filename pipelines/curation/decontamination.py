"""`stepstar decontaminate`: which rows of a run or a file overlap with benchmarks, and which nearly repeat another.

Rows stream through in chunks; what is kept of a row is its name, its signature and, if it overlaps, with what. A run's
result goes to `decontamination.json` in its folder, a file's into two columns of a copy of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.batching import batched
from data.decontamination import CONTAMINATION, Benchmarks, Overlap, texts_of
from data.near_duplicates import Signatures, near_duplicates, signatures
from data.ngrams import words_of
from data.sources.base import Reject
from data.store import write_atomic
from pipelines.curation.export_rows import Objection
from pipelines.progress import track
from pipelines.row_files import check_target, open_rows
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR
from pipelines.stages.dataset import dataset_rows

IN_BENCHMARK = "in_benchmark"
"""Why an export leaves a row out."""
_CHUNK = 1024
_EXAMPLES = 10

Named = tuple[str, Sequence[str]]
"""A row's id or number, and its texts."""


@dataclass(slots=True)
class Contamination:
    """What was found."""

    rows: int = 0
    overlaps: dict[int, Overlap] = field(default_factory=dict)
    """By the row's number, from 0."""
    repeats: dict[int, int] = field(default_factory=dict)
    """Number of a row to that of the first one that it nearly repeats."""
    names: dict[int, str] = field(default_factory=dict)
    """Ids of the rows that are named above."""

    @property
    def counts(self) -> Counter[str]:
        """Overlapping rows by benchmark file and kind."""
        return Counter(f"{one.benchmark.rpartition(':')[0]}: {one.kind}" for one in self.overlaps.values())

    @property
    def reasons(self) -> dict[str, str]:
        """Id of each row that overlaps or repeats to why it should go; of such as repeat each other the first stays."""
        repeats = {self.names[at]: f"nearly repeats {self.names[first]}" for at, first in self.repeats.items()}
        overlaps = {self.names[at]: f"{one.kind} of {one.benchmark}" for at, one in self.overlaps.items()}
        return repeats | overlaps

    def as_json(self) -> dict[str, Any]:
        """Counts and the first examples of each kind, for reports."""
        firsts: dict[str, list[dict[str, str]]] = {}
        for place, overlap in self.overlaps.items():
            examples = firsts.setdefault(overlap.kind, [])
            if len(examples) < _EXAMPLES:
                examples.append({"row": self.names[place], **asdict(overlap)})
        pairs = [[self.names[place], self.names[first]] for place, first in self.repeats.items()]
        return {
            "rows": self.rows,
            "overlapping": len(self.overlaps),
            "by_benchmark": dict(self.counts),
            "examples": firsts,
            "near_duplicates": len(self.repeats),
            "near_duplicate_examples": pairs[:_EXAMPLES],
        }


def find_contamination(
    rows: Iterable[Named], benchmarks: Benchmarks, *, threshold: float, total: int = 0
) -> Contamination:
    """Compare rows with benchmarks and, where a threshold is given, with each other.

    Args:
        rows: name and texts of each.
        benchmarks: what to compare with.
        threshold: similarity from which a row nearly repeats another; 0 for not looking.
        total: rows that will come, for the progress bar.
    """
    found, parts, names = Contamination(), list[Signatures](), list[str]()
    with track("compare with benchmarks", total) as bar:
        for chunk in batched(rows, _CHUNK):
            words = [[words_of(text) for text in texts] for _, texts in chunk]
            for place, overlap in enumerate(benchmarks.check([texts for _, texts in chunk], words), found.rows):
                if overlap:
                    found.overlaps[place] = overlap
            if threshold:
                parts.append(signatures([word for one in texts for word in one] for texts in words))
            names += [name for name, _ in chunk]
            found.rows += len(chunk)
            bar.advance(len(chunk), f"{len(found.overlaps)} overlap")
    if parts:
        whole = np.concatenate(parts)
        parts.clear()
        groups = near_duplicates(whole, threshold)
        found.repeats = {int(at): int(groups[at]) for at in np.flatnonzero(groups != np.arange(len(groups)))}
    wanted = {*found.overlaps, *found.repeats, *found.repeats.values()}
    found.names = {place: names[place] for place in sorted(wanted)}
    return found


def decontaminate_run(run: RunFolder, paths: Sequence[str], threshold: float) -> Contamination:
    """Compare the dataset of a run, problem and solution of each row, and store the result in its folder.

    Raises:
        InputError: a benchmark cannot be read.
    """
    benchmarks = Benchmarks.read(paths)
    rows = [(row["id"], (row["problem"], "".join(row["steps"]))) for row in dataset_rows(run, STAR)]
    found = find_contamination(rows, benchmarks, threshold=threshold, total=len(rows))
    content = {"against": [Path(path).name for path in paths], **found.as_json()}
    write_atomic(run.root / CONTAMINATION, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return found


def decontaminate_file(source: Path, paths: Sequence[str], threshold: float, target: Path | None) -> Contamination:
    """Compare every text of every row of a file.

    Args:
        source: .jsonl, .jsonl.gz or .parquet.
        paths: of the benchmarks.
        threshold: as in `find_contamination`.
        target: a copy of the file with columns `overlap` (null for none) and `near_duplicate_of` (a row's number).

    Raises:
        InputError: a file cannot be read or written.
    """
    rows = open_rows(source)
    if target:
        check_target(source, target)
    benchmarks = Benchmarks.read(paths)

    def texts() -> Iterator[Named]:
        place = 0
        for chunk in rows.chunks(_CHUNK, rows.columns()):
            for row in chunk:
                yield str(place), () if isinstance(row, Reject) else texts_of(row)
                place += 1

    found = find_contamination(texts(), benchmarks, threshold=threshold, total=rows.count())
    if target:
        added = (
            {"overlap": _line(found.overlaps.get(place)), "near_duplicate_of": found.repeats.get(place)}
            for place in range(found.rows)
        )
        rows.write(target, added, {"overlap": "text", "near_duplicate_of": "number"})
    return found


def objection_against(run: RunFolder, paths: Sequence[str]) -> Objection:
    """What an export leaves out: problems and solutions that overlap with benchmarks.

    Raises:
        InputError: a benchmark cannot be read.
    """
    benchmarks, bad = Benchmarks.read(paths), set[str]()

    def texts() -> Iterator[str]:
        yield from (problem.prompt for problem in run.table("problems", "train"))
        for prefix in (f"{STAR}-", "near_miss-"):
            yield from (row.text for row in run.table("rationales", prefix))

    for chunk in batched(texts(), _CHUNK):
        overlaps = benchmarks.check([[text] for text in chunk])
        bad.update(text for text, overlap in zip(chunk, overlaps, strict=True) if overlap)
    return lambda problem, text: IN_BENCHMARK if problem in bad or text in bad else ""


def _line(overlap: Overlap | None) -> str | None:
    return f"{overlap.kind} of {overlap.benchmark}: {overlap.excerpt}" if overlap else None
