"""`dataset/`: the kept rationales of a run as a loadable Parquet dataset with a card.

Rows are the rationales that some round of the main arm trained on, one of each text of a problem (the earliest
round's), ordered by problem and rationale id: a function of the records alone, so equal records give equal bytes. What
is in quarantine (`stepstar quarantine`) is left out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from data.card import dataset_card
from data.lineage import in_force, model_node, read_decisions, row_node
from data.records import Kind, Problem, Rationale, Verdict
from data.run_records import Selection
from data.store import table_bytes, write_atomic
from pipelines.curation.lineage import quarantined_nodes
from pipelines.run_dir import RunFolder

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


def kept_rationales(run: RunFolder, arm: str) -> list[Rationale]:
    """The rationales of the dataset, in order."""
    kept: dict[str, Selection] = {}
    for selection in run.table("selections", f"{arm}-"):
        if selection.kept:
            kept.setdefault(selection.rationale_id, selection)
    found: dict[tuple[str, str], Rationale] = {}
    rows = [row for row in run.table("rationales", f"{arm}-") if row.id in kept]
    bad, decided = quarantined_nodes(run), in_force(read_decisions(run.root))
    # Who takes a row out means its text, which another round may have drawn again.
    banned = {(row.problem_id, row.text) for row in rows if row_node(row.id) in decided}
    for row in sorted(rows, key=lambda row: (row.problem_id, kept[row.id].round, row.id)):
        if row_node(row.id) not in bad and (row.problem_id, row.text) not in banned:
            found.setdefault((row.problem_id, row.text), row)
    return list(found.values())


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


def _row(
    problem: Problem, rationale: Rationale, verdict: Verdict, round_: int, scores: tuple[float, ...] | None
) -> dict[str, Any]:
    made_by = rationale.made_by
    return {
        "step_scores": scores,
        "origin": str(rationale.origin),
        "verified_by": verdict.method,
        "kind": str(Kind(problem.kind)),
        "choices": list(problem.choices),
        "difficulty": problem.difficulty,
        "round": round_,
        "model": made_by.model,
        "model_revision": made_by.revision,
        "engine": made_by.engine,
        "sampling": made_by.sampling,
        "prompt_hash": made_by.prompt_hash,
        "seed": made_by.seed,
        "n_tokens": rationale.n_tokens,
    }


def _labels(run: RunFolder, source: str) -> dict[str, dict[int, float]]:
    """Rationale id to the labelled steps of one source of labels."""
    found: dict[str, dict[int, float]] = {}
    for label in run.table("step_labels", f"{source}-"):
        found.setdefault(label.rationale_id, {})[label.step] = label.value
    return found


def dataset_rows(run: RunFolder, arm: str) -> Iterator[dict[str, Any]]:
    """The rows of the dataset, in order."""
    problems = {problem.id: problem for problem in run.table("problems")}
    verdicts = {row.rationale_id: row for row in run.table("verdicts", f"{arm}-")}
    labels = _labels(run, "symbolic")
    bad = quarantined_nodes(run)
    scores = {row.rationale_id: row.scores for row in run.table("step_scores") if model_node(row.revision) not in bad}
    rounds: dict[str, int] = {}
    for selection in run.table("selections", f"{arm}-"):
        if selection.kept:
            rounds.setdefault(selection.rationale_id, selection.round)
    for row in kept_rationales(run, arm):
        problem = problems[row.problem_id]
        facts = _row(problem, row, verdicts[row.id], rounds[row.id], scores.get(row.id))
        yield _shared(problem, row, labels.get(row.id, {})) | facts


def near_miss_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    """The rows of the near-misses, in order."""
    problems = {problem.id: problem for problem in run.table("problems")}
    labels, bad = _labels(run, "near_miss"), quarantined_nodes(run)
    # By id: shards of before a quarantine may hold some of them once more.
    rows = {row.id: row for row in run.table("rationales", "near_miss-") if row_node(row.id) not in bad}
    for row in rows.values():
        yield _shared(problems[row.problem_id], row, labels[row.id]) | {"made_by": row.made_by.sampling}


def write_dataset(run: RunFolder, arm: str) -> None:
    """Write `dataset/` whole: made beside, then renamed into place."""
    from pipelines.stages.sampling import CODE_VERSION

    rows, near_misses = list(dataset_rows(run, arm)), list(near_miss_rows(run))
    partial, final = run.root / "dataset.partial", run.root / "dataset"
    if partial.exists():
        shutil.rmtree(partial)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_atomic(partial / "data" / "train-00000-of-00001.parquet", table_bytes(table))
    if near_misses:
        table = pa.Table.from_pylist(near_misses, schema=NEAR_MISS_SCHEMA)
        write_atomic(partial / "near_misses" / "train-00000-of-00001.parquet", table_bytes(table))
    card = dataset_card(run.recipe.name, rows, near_misses, version=CODE_VERSION)
    write_atomic(partial / "README.md", card.encode())
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    run.note("dataset_rows", len(rows))
    run.note("near_miss_rows", len(near_misses))
