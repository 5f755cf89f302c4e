"""What is in quarantine is in no dataset and no export, and comes back when it is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.errors import InputError, RunFolderError
from data.run_records import Selection
from pipelines.curation.export import ExportJob, export_run
from pipelines.curation.export_rows import ExportRows
from pipelines.curation.quarantine import decide
from pipelines.run_dir import RunFolder
from pipelines.stages.verification import check_rationales
from tests.pipelines.stored_run import BASE, PRM, TRAINED, problems, rationale, stored_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return stored_run(tmp_path / "run").root


def dataset(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(root / "dataset/data").to_pylist()
    return found


def near_misses(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(root / "dataset/near_misses").to_pylist()
    return found


def contents(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((root / "dataset").rglob("*")) if file.is_file()}


def test_a_model_takes_what_it_drew_along_and_undo_brings_back_every_byte(root: Path) -> None:
    before, records = contents(root), sorted(file.name for file in (root / "records").rglob("*"))
    counts = decide(root, "generator-star-r1", "trained on a leaked split")
    assert counts["model"] == 1
    assert {row["model"] for row in dataset(root)} == {"embedded"}
    assert len(dataset(root)) == 20
    assert decide(root, TRAINED, "", undo=True).total() == 0
    assert contents(root) == before
    assert sorted(file.name for file in (root / "records").rglob("*")) == records


def test_a_row_takes_its_near_misses_and_the_models_trained_on_it_unless_those_are_kept(root: Path) -> None:
    parent = near_misses(root)[0]["parent_id"]
    row = next(row for row in dataset(root) if row["id"] == parent)
    decide(root, parent, "wrong gold", through_models=False)
    assert row["id"] not in {one["id"] for one in dataset(root)}
    assert parent not in {one["parent_id"] for one in near_misses(root)}
    assert len(dataset(root)) == 29
    decide(root, parent, "", undo=True)
    decide(root, rationale(problems()[0], 0).id, "wrong gold")
    # The model of round 1 was trained on it, so the ten of round 2 are gone as well.
    assert len(dataset(root)) == 19


def test_a_source_takes_its_problems_out_of_every_export(root: Path, tmp_path: Path) -> None:
    decide(root, "others", "licence withdrawn", through_models=False)
    assert {row["source"] for row in dataset(root)} == {"sums"}
    run = RunFolder.read(root)
    for layout in ("messages", "stepwise", "verl", "openrlhf", "preference"):
        out = tmp_path / layout
        contents = export_run(run, ExportJob(layout=layout, out=out, validation_share=0.0))
        assert ("source", "others") not in contents.origins
        for file in out.rglob("*.parquet"):
            assert "others" not in str(pq.read_table(file).to_pylist())
    assert contents.n_rows


def test_wrong_samples_in_quarantine_are_in_no_pair(root: Path) -> None:
    wrong = rationale(problems()[10], 100, wrong=True)
    rows = [row for _, row in ExportRows(RunFolder.read(root)).main("preference")]
    assert wrong.id in {row["rejected_id"] for row in rows}
    decide(root, wrong.id, "wrong gold")
    rows = [row for _, row in ExportRows(RunFolder.read(root)).main("preference")]
    assert wrong.id not in {row["rejected_id"] for row in rows}


def test_scores_of_a_model_in_quarantine_are_null(root: Path) -> None:
    writable = RunFolder.open(root, RunFolder.read(root).recipe)
    entry = {"revision": PRM, "parent": TRAINED, "sources": {}, "tokens": 0, "blessed": True, "quality": {}}
    writable.checkpoint("prm", "key", lambda _: entry)
    writable.close()
    decide(root, "prm", "trained on test labels")
    assert len(dataset(root)) == 30
    assert {row["step_scores"] for row in dataset(root)} == {None}


def test_mistakes_are_named_and_change_nothing(root: Path) -> None:
    before = contents(root)
    with pytest.raises(InputError, match="no reason"):
        decide(root, "sums", " ")
    with pytest.raises(InputError, match="nothing here is called"):
        decide(root, "gsm8k", "why")
    with pytest.raises(InputError, match="was not put into quarantine"):
        decide(root, "sums", "", undo=True)
    with pytest.raises(RunFolderError, match="no run folder"):
        decide(root / "records", "sums", "why")
    holder = RunFolder.open(root, RunFolder.read(root).recipe)
    with pytest.raises(RunFolderError, match="in use"):
        decide(root, "sums", "why")
    holder.close()
    assert contents(root) == before
    assert not (root / "quarantine.jsonl").exists()


def test_a_row_that_is_taken_out_does_not_come_back_as_another_rounds_equal_text(root: Path) -> None:
    first = rationale(problems()[0], 0)
    again = rationale(problems()[0], 400, round_=1)
    writable = RunFolder.open(root, RunFolder.read(root).recipe)
    writable.unit("rationales", "star-r3-sample-00000", "key", lambda: [again])
    writable.unit("verdicts", "star-r3-sample-00000", "key", lambda: check_rationales(problems(), [again]))
    selection = Selection(
        rationale_id=again.id, problem_id=again.problem_id, arm="star", round=3, kept=True, reason="kept"
    )
    writable.unit("selections", "star-r3-00000", "key", lambda: [selection])
    writable.close()
    decide(root, first.id, "wrong", through_models=False)
    assert problems()[0].id not in {row["problem_id"] for row in dataset(root)}
    # Taken out for its model's sake, its text may stay where another model drew it.
    decide(root, first.id, "", undo=True)
    decide(root, BASE, "withdrawn", through_models=False)
    assert {row["id"] for row in dataset(root)} >= {again.id}


def test_after_a_quarantine_every_row_has_its_labels_and_no_near_miss_stands_twice(root: Path) -> None:
    for row in near_misses(root)[:1]:
        decide(root, row["parent_id"], "wrong", through_models=False)
    assert all(row["step_labels"][:2] == [1.0, 1.0] for row in dataset(root))
    ids = [row["id"] for row in near_misses(root)]
    assert len(set(ids)) == len(ids) > 0
    assert {row["parent_id"] for row in near_misses(root)} <= {row["id"] for row in dataset(root)}
