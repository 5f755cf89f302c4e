"""`dataset/`: the kept rationales of a run as a loadable Parquet dataset with a card.

Rows are the rationales that some round of the main arm trained on, one of each text of a problem (the earliest
round's), ordered by problem and rationale id: a function of the records alone, so equal records give equal bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from data.card import dataset_card
from data.records import Kind, Problem, Rationale, Selection, Verdict
from data.store import table_bytes, write_atomic
from pipelines.run_dir import RunFolder

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("problem_id", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("steps", pa.list_(pa.string())),
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


def _row(problem: Problem, rationale: Rationale, verdict: Verdict, selection: Selection) -> dict[str, Any]:
    made_by = rationale.made_by
    return {
        "id": rationale.id,
        "problem_id": problem.id,
        "problem": problem.prompt,
        "answer": problem.answer,
        "steps": list(rationale.steps),
        "final_answer": rationale.answer,
        "origin": str(rationale.origin),
        "verified_by": verdict.method,
        "kind": str(Kind(problem.kind)),
        "choices": list(problem.choices),
        "difficulty": problem.difficulty,
        "source": problem.source,
        "licence": problem.licence,
        "round": selection.round,
        "model": made_by.model,
        "model_revision": made_by.revision,
        "engine": made_by.engine,
        "sampling": made_by.sampling,
        "prompt_hash": made_by.prompt_hash,
        "seed": made_by.seed,
        "n_tokens": rationale.n_tokens,
        "parent_id": rationale.parent_id,
    }


def dataset_rows(run: RunFolder, arm: str) -> Iterator[dict[str, Any]]:
    """The rows of the dataset, in order."""
    problems = {problem.id: problem for problem in run.table("problems")}
    kept: dict[str, Selection] = {}
    for selection in run.table("selections", f"{arm}-"):
        if selection.kept:
            kept.setdefault(selection.rationale_id, selection)
    verdicts = {row.rationale_id: row for row in run.table("verdicts", f"{arm}-") if row.rationale_id in kept}
    rationales = [row for row in run.table("rationales", f"{arm}-") if row.id in kept]
    seen: set[tuple[str, str]] = set()
    for row in sorted(rationales, key=lambda row: (row.problem_id, kept[row.id].round, row.id)):
        if (row.problem_id, row.text) not in seen:
            seen.add((row.problem_id, row.text))
            yield _row(problems[row.problem_id], row, verdicts[row.id], kept[row.id])


def write_dataset(run: RunFolder, arm: str) -> None:
    """Write `dataset/` whole: made beside, then renamed into place."""
    from pipelines.stages import CODE_VERSION

    rows = list(dataset_rows(run, arm))
    partial, final = run.root / "dataset.partial", run.root / "dataset"
    if partial.exists():
        shutil.rmtree(partial)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_atomic(partial / "data" / "train-00000-of-00001.parquet", table_bytes(table))
    card = dataset_card(run.recipe.name, rows, version=CODE_VERSION)
    write_atomic(partial / "README.md", card.encode())
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    run.note("dataset_rows", len(rows))
