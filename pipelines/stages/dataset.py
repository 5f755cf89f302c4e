"""`dataset/`: the kept rationales of a run as a loadable Parquet dataset with a card.

Rows are those of `pipelines.stages.kept`, a function of the records alone, so equal records give equal bytes. They are
written as they come, in parts, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.batching import batched
from data.card import CardCounts, dataset_card
from data.decontamination import CONTAMINATION
from data.hash_index import HashIndex
from data.lineage import model_node, row_node
from data.records import Kind, Problem, Rationale
from data.store import Only, table_bytes, write_atomic
from pipelines.curation.lineage import quarantined_nodes
from pipelines.run_dir import RunFolder
from pipelines.stages.kept import SHARD, Kept, kept_rows

_PART = 20_000
"""Rows of one file."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("problem_id", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("steps", pa.list_(pa.string())),
        pa.field("step_labels", pa.list_(pa.float64())),
        pa.field("step_scores", pa.list_(pa.float64())),
        pa.field("final_answer", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("verified_by", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("difficulty", pa.string()),
        pa.field("source", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("round", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("model_revision", pa.string()),
        pa.field("engine", pa.string()),
        pa.field("sampling", pa.string()),
        pa.field("prompt_hash", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("n_tokens", pa.int64()),
        pa.field("parent_id", pa.string()),
    ]
)
"""Columns of the dataset."""


NEAR_MISS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("problem_id", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("steps", pa.list_(pa.string())),
        pa.field("step_labels", pa.list_(pa.float64())),
        pa.field("final_answer", pa.string()),
        pa.field("made_by", pa.string()),
        pa.field("source", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("parent_id", pa.string()),
    ]
)
"""Columns of the near-misses: 1 up to the first wrong step, which is 0, and null after it."""


def _shared(problem: Problem, rationale: Rationale, values: Mapping[int, float]) -> dict[str, Any]:
    return {
        "id": rationale.id,
        "problem_id": problem.id,
        "problem": problem.prompt,
        "answer": problem.answer,
        "steps": list(rationale.steps),
        "step_labels": [values.get(step) for step in range(len(rationale.steps))],
        "final_answer": rationale.answer,
        "source": problem.source,
        "licence": problem.licence,
        "parent_id": rationale.parent_id,
    }


def _row(row: Kept, scores: tuple[float, ...] | None) -> dict[str, Any]:
    problem, made_by = row.problem, row.rationale.made_by
    return {
        "step_scores": scores,
        "origin": str(row.rationale.origin),
        "verified_by": row.verdict.method,
        "kind": str(Kind(problem.kind)),
        "choices": list(problem.choices),
        "difficulty": problem.difficulty,
        "round": row.round,
        "model": made_by.model,
        "model_revision": made_by.revision,
        "engine": made_by.engine,
        "sampling": made_by.sampling,
        "prompt_hash": made_by.prompt_hash,
        "seed": made_by.seed,
        "n_tokens": row.rationale.n_tokens,
    }


def _score_finder(run: RunFolder) -> Callable[[Sequence[str]], dict[str, tuple[float, ...]]]:
    """From ids of rationales to the PRM's scores of those that have some: they were stored in an earlier order."""
    bad, places = quarantined_nodes(run), HashIndex()
    units = run.units("step_scores", "prm-")
    for place, unit in enumerate(units):
        for row in run.read_unit("step_scores", unit):
            if places.get(int(row.rationale_id, 16)) is None:
                places.add(int(row.rationale_id, 16), place)

    def find(ids: Sequence[str]) -> dict[str, tuple[float, ...]]:
        known = {place for key in ids for place in places.get(int(key, 16)) or ()}
        rows = (row for place in sorted(known) for row in run.read_unit("step_scores", units[place]))
        return {row.rationale_id: row.scores for row in rows if model_node(row.revision) not in bad}

    return find


_LABEL = ("rationale_id", "step", "value")


def _labels(stored: Iterable[tuple[str, int, float]]) -> dict[str, dict[int, float]]:
    """Rationale id to the labelled steps, from the fields `_LABEL`."""
    found: dict[str, dict[int, float]] = {}
    for rationale_id, step, value in stored:
        found.setdefault(rationale_id, {})[step] = value
    return found


def dataset_rows(run: RunFolder, arm: str) -> Iterator[dict[str, Any]]:
    """The rows of the dataset, in order."""
    find_scores = _score_finder(run)
    for place, rows in enumerate(batched(kept_rows(run, arm), SHARD)):
        # Labels are written for these very shards.
        labels = _labels(run.stored("step_labels", f"symbolic-{place:05d}", fields=_LABEL))
        scores = find_scores([row.rationale.id for row in rows])
        for row in rows:
            key = row.rationale.id
            yield _shared(row.problem, row.rationale, labels.get(key, {})) | _row(row, scores.get(key))


def near_miss_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    """The rows of the near-misses, in order; there are few of them."""
    labels, bad = _labels(run.table("step_labels", "near_miss-", fields=_LABEL)), quarantined_nodes(run)
    # By id: shards of before a quarantine may hold some of them once more.
    rows = {row.id: row for row in run.table("rationales", "near_miss-") if row_node(row.id) not in bad}
    owners = {row.problem_id for row in rows.values()}
    problems = {problem.id: problem for problem in run.table("problems", "train", only=Only.of("id", owners))}
    for row in rows.values():
        yield _shared(problems[row.problem_id], row, labels[row.id]) | {"made_by": row.made_by.sampling}


def write_dataset(run: RunFolder, arm: str) -> None:
    """Write `dataset/` whole: made beside, then renamed into place."""
    from pipelines.stages.sampling import CODE_VERSION

    if run.dry:
        return
    partial, final = run.root / "dataset.partial", run.root / "dataset"
    if partial.exists():
        shutil.rmtree(partial)
    rows, near_misses = CardCounts(), CardCounts()
    _write_parts(partial / "data", rows.counted(dataset_rows(run, arm)), SCHEMA, or_empty=True)
    _write_parts(partial / "near_misses", near_misses.counted(near_miss_rows(run)), NEAR_MISS_SCHEMA)
    card = dataset_card(run.recipe.name, rows, near_misses, version=CODE_VERSION, judges=_judges(run))
    write_atomic(partial / "README.md", card.encode())
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    run.note("dataset_rows", rows.n)
    run.note("near_miss_rows", near_misses.n)


def _judges(run: RunFolder) -> list[tuple[str, str]]:
    """The PRM of the scores, how far the sources of labels agree, and what decontamination found, for the card."""
    found = []
    if run.recipe.prm.enabled and (prm := run.manifest["checkpoints"].get("prm")):
        blessed = "blessed" if prm["blessed"] else "not blessed: it chooses worse than a majority vote"
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sorted(prm["quality"].items()))
        found.append(("steps, scores", f"PRM {prm['revision']}, {blessed}; on held-out labels: {figures}"))
    for pair in run.manifest["notes"].get("label_agreement", []):
        same = pair["both_right"] + pair["both_wrong"]
        names = f"steps, {pair['first']} and {pair['second']}"
        found.append((names, f"agree on {same} of {pair['steps']} steps, kappa {pair['kappa']}"))
    if (run.root / CONTAMINATION).exists():
        content = json.loads((run.root / CONTAMINATION).read_text(encoding="utf-8"))
        found.append(
            (f"overlap with {', '.join(content['against'])}", f"{content['overlapping']} of {content['rows']} rows")
        )
    return found


def _write_parts(folder: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema, *, or_empty: bool = False) -> None:
    """Write rows as the hub names the parts of a split; where there are none, one part without rows if `or_empty`."""
    n = 0
    for n, part in enumerate(batched(rows, _PART), start=1):
        write_atomic(folder / f"{n - 1:05d}", table_bytes(pa.Table.from_pylist(part, schema=schema)))
    if not n and or_empty:
        n = 1
        write_atomic(folder / "00000", table_bytes(pa.Table.from_pylist([], schema=schema)))
    for place in range(n):
        os.replace(folder / f"{place:05d}", folder / f"train-{place:05d}-of-{n:05d}.parquet")
