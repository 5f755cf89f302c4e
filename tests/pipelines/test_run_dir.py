"""The run folder: one writer, one recipe, and only whole units are trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import RunFolderError
from data.records import Problem
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder

RECIPE = load_recipe("quickstart")
ROWS = [Problem.create(prompt="1+1=?", answer="2")]


def test_a_unit_is_computed_once_and_again_when_its_key_changes(tmp_path: Path) -> None:
    calls = []

    def compute() -> list[Problem]:
        calls.append(1)
        return ROWS

    for key, expected in (("a", 1), ("a", 1), ("b", 2)):
        run = RunFolder.open(tmp_path / "run", RECIPE)
        assert run.unit("problems", "train", key, compute) == ROWS
        run.close()
        assert len(calls) == expected


def test_a_damaged_unit_is_computed_again(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train", "a", lambda: ROWS)
    run.close()
    file = next((tmp_path / "run/records/problems").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    run = RunFolder.open(tmp_path / "run", RECIPE)
    assert not run.has_unit("problems", "train", "a")
    assert run.unit("problems", "train", "a", lambda: ROWS) == ROWS
    assert file.read_bytes() == whole
    run.close()


def test_a_file_between_rename_and_manifest_is_set_aside(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train", "a", lambda: ROWS)
    run.close()
    torn = tmp_path / "run/records/problems/shard-x.parquet"
    torn.write_bytes(b"half")
    run = RunFolder.open(tmp_path / "run", RECIPE)
    assert run.set_aside == ["records/problems/shard-x.parquet"]
    assert not torn.exists()
    run.close()


def test_another_recipe_is_refused_with_the_difference_and_fresh_clears(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train", "a", lambda: ROWS)
    run.close()
    other = load_recipe("quickstart", ["sampling.n=7"])
    with pytest.raises(RunFolderError, match=r"sampling\.n: \d+ -> 7"):
        RunFolder.open(tmp_path / "run", other)
    run = RunFolder.open(tmp_path / "run", other, fresh=True)
    assert not run.has_unit("problems", "train", "a")
    assert run.recipe == other
    run.close()


def test_an_update_forgets_what_was_told_of_old_stages_but_not_the_peak_of_all_attempts(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.note("peak_mb", 123456.0)
    run.note("best_of_n", {"key": "old"})
    run.close()
    run = RunFolder.open(tmp_path / "run", load_recipe("quickstart", ["sampling.n=7"]), update=True)
    run.unit("problems", "train", "a", lambda: ROWS)
    assert run.manifest["notes"] == {"peak_mb": 123456.0}
    run.close()


def test_a_limit_that_stopped_a_run_can_be_raised_where_it_stopped(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train", "a", lambda: ROWS)
    run.close()
    raised = load_recipe("quickstart", ["max_undecided_share=0.5"])
    for _ in range(2):
        run = RunFolder.open(tmp_path / "run", raised)
        assert run.has_unit("problems", "train", "a")
        run.close()
        assert RunFolder.read(tmp_path / "run").recipe.max_undecided_share == 0.5


def test_a_folder_in_use_by_a_live_process_is_refused_and_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.recipe import load_recipe; "
        "from pipelines.run_dir import RunFolder; run = RunFolder.open(Path(sys.argv[1]), load_recipe('quickstart')); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunFolderError, match=f"process {holder.pid}"):
        RunFolder.open(tmp_path / "run", RECIPE)
    holder.kill()
    holder.communicate()
    RunFolder.open(tmp_path / "run", RECIPE).close()


def test_a_newer_run_is_refused(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.note("x", 1)
    run.close()
    file = tmp_path / "run/manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(RunFolderError, match="newer"):
        RunFolder.open(tmp_path / "run", RECIPE)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder.open(tmp_path, RECIPE, fresh=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_models_folder_is_no_run_folder_though_it_has_a_config_of_that_name(tmp_path: Path, fresh: bool) -> None:
    files = {"config.json": '{"model_type": "llama"}', "model.safetensors": "weights"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder.open(tmp_path, RECIPE, fresh=fresh)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == files


def test_a_shard_that_a_later_version_no_longer_asks_for_is_not_read(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train-0", "a", lambda: ROWS)
    run.unit("problems", "train-1", "a", lambda: ROWS)
    run.close()
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train-0", "a", lambda: ROWS)
    run.drop_stale()
    assert list(run.table("problems")) == ROWS
    assert run.set_aside == ["records/problems/shard-train-1.parquet"]
    run.close()


def test_a_folder_in_which_nothing_was_computed_takes_a_corrected_recipe(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", load_recipe("quickstart", ["problems.path=nope.jsonl"]))
    run.pin(problems="of the wrong file")
    run.close()
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.pin(problems="of the right file")
    assert run.recipe == RECIPE
    run.close()


def test_a_damaged_manifest_is_named_and_fresh_starts_over(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.unit("problems", "train", "a", lambda: ROWS)
    run.close()
    (tmp_path / "run/manifest.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"manifest\.json' is damaged.*--fresh"):
        RunFolder.open(tmp_path / "run", RECIPE)
    RunFolder.open(tmp_path / "run", RECIPE, fresh=True).close()
