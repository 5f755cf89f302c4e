"""Rows of runs and files against benchmarks, and exports that leave such rows out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.errors import InputError, UserError
from pipelines.cli import app
from pipelines.curation.decontamination import decontaminate_file, decontaminate_run, objection_against
from pipelines.curation.export import ExportJob, export_run
from pipelines.curation.quarantine import decide
from pipelines.report.summary import CONTAMINATION
from pipelines.run_dir import RunFolder
from tests.pipelines.stored_run import problems, stored_run

SENTENCE = "A train leaves the old station at noon and travels north at sixty miles each hour for three hours"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return stored_run(tmp_path_factory.mktemp("stored") / "run")


def benchmark(folder: Path, *texts: str) -> list[str]:
    file = folder / "bench.jsonl"
    file.write_text("".join(json.dumps({"id": number, "question": text}) + "\n" for number, text in enumerate(texts)))
    return [str(file)]


def test_a_runs_rows_in_a_benchmark_are_counted_by_file_and_stored_with_examples(
    run: RunFolder, tmp_path: Path
) -> None:
    paths = benchmark(tmp_path, problems()[3].prompt, SENTENCE)
    found = decontaminate_run(run, paths, 0.8)
    stored = json.loads((run.root / CONTAMINATION).read_text())
    assert (found.rows, len(found.overlaps)) == (30, 1)
    assert stored["against"] == ["bench.jsonl"]
    assert stored["by_benchmark"] == {"bench.jsonl: problem": 1}
    (example,) = stored["examples"]["problem"]
    assert example["excerpt"] == problems()[3].prompt
    assert example["benchmark"] == "bench.jsonl:1"
    assert example["row"] in {row.id for row in run.table("rationales")}


@pytest.mark.parametrize("layout", ["messages", "stepwise", "preference", "verl", "openrlhf"])
def test_an_export_leaves_out_every_row_of_a_contaminated_problem(run: RunFolder, tmp_path: Path, layout: str) -> None:
    bad = [problems()[10].prompt, problems()[25].prompt]
    job = ExportJob(layout=layout, out=tmp_path / "out", validation_share=0.0)
    contents = export_run(run, job, objection_against(run, benchmark(tmp_path, *bad)))
    assert contents.dropped["in_benchmark"] >= 2
    kept = "".join(str(pq.read_table(file).to_pylist()) for file in (tmp_path / "out").rglob("*.parquet"))
    assert not any(prompt in kept for prompt in bad)
    assert problems()[11].prompt in kept
    assert "in_benchmark" in (tmp_path / "out/README.md").read_text()


def test_dropped_rows_and_their_near_misses_are_in_no_dataset_and_no_export_and_come_back(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    before = {row["id"]: row["problem"] for row in pq.read_table(run.root / "dataset/data").to_pylist()}
    bad = problems()[3].prompt
    command = ["decontaminate", str(run.root), "--against", benchmark(tmp_path, bad)[0]]
    # Sums differ in their numbers alone: at this similarity some repeat others.
    assert CliRunner().invoke(app, [*command, "--similarity", "0.5", "--drop"]).exit_code == 0
    found = decontaminate_run(RunFolder.read(run.root), benchmark(tmp_path, bad), 0.5)
    assert (found.overlaps, found.repeats) == ({}, {})
    left = {row["id"] for row in pq.read_table(run.root / "dataset/data").to_pylist()}
    dropped = before.keys() - left
    assert bad in {before[row] for row in dropped}
    assert 0 < len(left) < len(before)
    near_misses = pq.read_table(run.root / "dataset/near_misses").to_pylist()
    assert not dropped & {row["parent_id"] for row in near_misses}
    export_run(RunFolder.read(run.root), ExportJob(layout="messages", out=tmp_path / "out", validation_share=0.0))
    exported = [row for file in (tmp_path / "out").rglob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {row["id"] for row in exported} == left
    for row in dropped:
        decide(run.root, row, "", undo=True)
    assert {row["id"] for row in pq.read_table(run.root / "dataset/data").to_pylist()} == before.keys()


def test_drop_is_for_runs(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(rows()[0]) + "\n")
    done = CliRunner().invoke(app, ["decontaminate", str(source), "--against", str(source), "--drop"])
    assert isinstance(done.exception, UserError)
    assert "--out" in done.exception.cure


def rows() -> list[dict[str, object]]:
    long = " ".join(f"word{number}" for number in range(80))
    return [
        {"problem": "What is love?", "steps": ["Baby", "don't hurt me"]},
        {"problem": f"Well. {SENTENCE}. How far?", "steps": []},
        {"problem": long, "steps": None},
        {"problem": long.replace("word7 ", "other "), "steps": None},
    ]


def test_a_jsonl_file_is_copied_with_what_each_row_overlaps_with(tmp_path: Path) -> None:
    source, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()) + "no json\n")
    found = decontaminate_file(source, benchmark(tmp_path, SENTENCE), 0.8, target)
    assert (found.rows, set(found.overlaps), found.repeats) == (5, {1}, {3: 2})
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [bool(row["overlap"]) for row in written] == [False, True, False, False, False]
    assert written[1]["overlap"].startswith("words of bench.jsonl:1: a train leaves")
    assert [row["near_duplicate_of"] for row in written] == [None, None, None, 2, None]
    assert {name: written[1][name] for name in ("problem", "steps")} == rows()[1]


def test_a_parquet_file_keeps_its_columns_and_gets_two(tmp_path: Path) -> None:
    source, target = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.Table.from_pylist([{"text": SENTENCE, "n": 1}, {"text": "other", "n": 2}]), source)
    decontaminate_file(source, benchmark(tmp_path, SENTENCE), 0.0, target)
    written = pq.read_table(target)
    assert written.column_names == ["text", "n", "overlap", "near_duplicate_of"]
    assert [row["overlap"] is None for row in written.to_pylist()] == [False, True]


def test_the_same_rows_in_other_chunks_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows() * 3))
    paths = benchmark(tmp_path, SENTENCE)
    whole = decontaminate_file(source, paths, 0.8, None)
    monkeypatch.setattr("pipelines.curation.decontamination._CHUNK", 2)
    parts = decontaminate_file(source, paths, 0.8, None)
    assert whole == parts
    assert len(whole.overlaps) == 3


def test_a_missing_benchmark_or_target_of_another_type_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(rows()[0]) + "\n")
    with pytest.raises(InputError, match="no file"):
        decontaminate_file(source, [str(tmp_path / "none.jsonl")], 0.8, None)
    with pytest.raises(InputError, match="another type"):
        decontaminate_file(source, benchmark(tmp_path, SENTENCE), 0.8, tmp_path / "out.parquet")
