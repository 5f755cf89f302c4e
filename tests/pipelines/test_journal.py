"""The journal: shards of the stage at hand survive a kill, and a torn line says nothing."""

from __future__ import annotations

from pathlib import Path

from data.records import Problem
from pipelines.journal import JOURNAL
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder

RECIPE = load_recipe("quickstart")
ROWS = [Problem.create(prompt="1+1=?", answer="2")]


def write(root: Path, *names: str) -> None:
    """Shards in the middle of a stage, as a killed process leaves them."""
    run = RunFolder.open(root, RECIPE)
    run.note("made", "before the stage")
    for name in names:
        run.unit("problems", name, "key", lambda: ROWS)
    run.close()


def test_shards_of_an_unfinished_stage_are_there_for_the_next_attempt(tmp_path: Path) -> None:
    write(tmp_path, "train-00000", "train-00001")
    assert "train-00000" not in (tmp_path / "manifest.json").read_text()
    run = RunFolder.open(tmp_path, RECIPE)
    assert run.set_aside == []
    assert [run.has_unit("problems", name, "key") for name in ("train-00000", "train-00001")] == [True, True]
    run.close()


def test_a_torn_line_costs_its_shard_alone(tmp_path: Path) -> None:
    write(tmp_path, "train-00000", "train-00001")
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    assert whole.count(b"\n") == 2, "a line for each shard"
    journal.write_bytes(whole[:-9])
    run = RunFolder.open(tmp_path, RECIPE)
    assert [run.has_unit("problems", name, "key") for name in ("train-00000", "train-00001")] == [True, False]
    # The next attempt's lines must not be hung onto the torn one.
    run.unit("problems", "train-00001", "key", lambda: ROWS)
    run.close()
    again = RunFolder.open(tmp_path, RECIPE)
    assert again.has_unit("problems", "train-00001", "key")
    again.close()


def test_the_manifest_takes_the_lines_in_at_the_end_of_a_stage(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    with run.stage("problems"):
        run.unit("problems", "train-00000", "key", lambda: ROWS)
        assert (tmp_path / JOURNAL).exists()
    assert not (tmp_path / JOURNAL).exists()
    run.close()
    assert RunFolder.read(tmp_path).units("problems") == ["train-00000"]
