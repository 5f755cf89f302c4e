"""The main job, end to end on the embedded model: killed anywhere, its dataset is that of an uninterrupted run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from data.errors import UserError
from data.records import Problem
from pipelines.explain import explain_run
from pipelines.recipe import load_recipe
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder

ROOT = Path(__file__).parents[2]
SMALL = [
    "problems.options={n: 24, difficulty: [3, 6], seed: 1}",
    "evaluation.options={n: 10, difficulty: [3, 6], seed: 2}",
    "shard_size=8",
    "engine.batch_size=32",
    "sft.steps=12",
    "sft.save_every_s=0",
    "rounds=2",
    "threads=1",
    "near_misses.rationales=4",
    "prm.enabled=false",
    "ppo.enabled=false",
]


def command(folder: Path, *more: str, kill_at: int = 0, when: str = "after") -> list[str]:
    script = str(Path(__file__).with_name("killed_run.py"))
    return [sys.executable, script, str(kill_at), when, "run", "quickstart", *SMALL, *more, "--out", str(folder)]


def finish(folder: Path, *more: str, kill_at: int = 0, when: str = "after") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *more, kill_at=kill_at, when=when),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def fingerprint(folder: Path) -> dict[str, str]:
    files = [*(folder / "dataset").rglob("*"), *(folder / "checkpoints").rglob("*.safetensors")]
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An uninterrupted run and the number of its events."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = finish(folder)
    assert done.returncode == 0, done.stderr
    return folder, int(done.stderr.rsplit("events ", 1)[1])


def test_five_kills_at_random_moments_leave_the_bytes_of_an_uninterrupted_run(
    whole: tuple[Path, int], tmp_path: Path
) -> None:
    folder, rng = tmp_path / "run", random.Random(20)
    for _ in range(5):
        # An eighth of the run's events on average between two kills, so that they fall all over its life.
        done = finish(folder, kill_at=rng.randint(1, whole[1] // 4), when=rng.choice(["before", "after"]))
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = finish(folder)
    assert done.returncode == 0, done.stderr
    assert fingerprint(folder) == fingerprint(whole[0])


def test_a_kill_at_the_very_end_leaves_a_dataset_that_the_next_run_mends(
    whole: tuple[Path, int], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    # Everything is there: the only events left are the dataset's, the manifest's and the report's.
    for kill_at in (1, 2, 3, 4):
        done = finish(folder, kill_at=kill_at, when="before")
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert finish(folder).returncode == 0
    assert fingerprint(folder) == fingerprint(whole[0])


def test_a_kill_while_a_folder_is_cleared_does_not_lock_the_user_out(whole: tuple[Path, int], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    assert finish(folder, "--fresh", kill_at=2, when="before").returncode == -signal.SIGKILL
    assert finish(folder, "--fresh").returncode == 0
    assert fingerprint(folder) == fingerprint(whole[0])


def test_a_changed_input_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "12+3=?", "answer": "15"}\n')
    local = ["problems.source=local", f"problems.path={file}", "problems.options={}"]
    # Late enough that something was computed: before that, a folder takes whatever is corrected.
    assert finish(tmp_path / "run", *local, kill_at=14).returncode == -signal.SIGKILL
    file.write_text('{"prompt": "12+4=?", "answer": "16"}\n')
    done = finish(tmp_path / "run", *local)
    assert done.returncode == 2
    assert "problems: " in done.stderr
    assert "--fresh" in done.stderr


@pytest.mark.parametrize("mistake", ["problems.path=nope.jsonl", "prompt=nope", "model.name=./nope"])
def test_fresh_deletes_nothing_where_the_new_run_could_not_begin(
    whole: tuple[Path, int], tmp_path: Path, mistake: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    local = ["problems.source=local", "problems.options={}"] if "path" in mistake else []
    with pytest.raises(UserError, match="nope"):
        run_recipe(load_recipe("quickstart", [*SMALL, *local, mistake]), folder, fresh=True)
    assert fingerprint(folder) == fingerprint(whole[0])


def test_explain_says_what_is_kept_and_update_computes_just_the_rest(whole: tuple[Path, int], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    assert "first:  nothing: the run is through" in finish(folder, "--explain").stdout
    told = finish(folder, "sft.steps=13", "--explain").stdout
    assert "recipe: sft.steps: 12 -> 13" in told
    assert (
        "first:  checkpoint generator-star-r1 (stage 'star · round 1 · train'): it was trained from other inputs"
        in told
    )
    assert "rationales" in told.partition("kept:")[2].splitlines()[0]
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()} == before
    refused = finish(folder, "sft.steps=13")
    assert refused.returncode == 2
    assert "--update" in refused.stderr
    assert finish(folder, "sft.steps=13", "--update").returncode == 0
    first = [file for file in before if "rationales/shard-star-r1-sample" in str(file)]
    assert first
    assert all(file.stat().st_mtime_ns == before[file] for file in first)
    # What an update leaves is what a new run gives.
    assert finish(tmp_path / "new", "sft.steps=13").returncode == 0
    assert fingerprint(folder) == fingerprint(tmp_path / "new")


def test_explain_of_a_new_folder_says_that_everything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_run(load_recipe("quickstart"), tmp_path / "new")
    assert "everything is computed" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_explain_names_a_damaged_shard(whole: tuple[Path, int], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    file = folder / "records/rationales/shard-star-r1-sample-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    told = finish(folder, "--explain").stdout
    assert (
        "first:  rationales star-r1-sample-00001 (stage 'star · round 1 · sample'): its file is damaged or gone" in told
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that `datasets` leaves open
def test_the_dataset_loads_and_every_row_ends_in_the_gold_answer(whole: tuple[Path, int], tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(whole[0] / "dataset"), split="train", cache_dir=str(tmp_path)).to_list()
    assert rows
    for row in rows:
        assert row["final_answer"] == row["answer"]
        assert "".join(row["steps"]).rstrip().endswith(f"#### {row['answer']}")
        assert f"({row['answer']})" not in "".join(row["steps"])
    assert {row["origin"] for row in rows} == {"sampled", "rationalized"}
    card = (whole[0] / "dataset/README.md").read_text()
    assert f"{len(rows)} verified rationales" in card
    assert str(whole[0]) not in card


def test_every_problem_is_accounted_for_once_a_round_and_rounds_train_from_the_base(whole: tuple[Path, int]) -> None:
    from data.model_folder import weights_revision
    from pipelines.report.summary import summarize
    from pipelines.stages.problems import split_dev
    from star.checkpoints import EMBEDDED

    run = RunFolder.read(whole[0])
    summary = summarize(run)
    assert set(summary.accounting) == {(arm, round_) for arm in ("star", "no_rationalization") for round_ in (1, 2)}
    train, dev = split_dev(list(run.table("problems", "train")), run.recipe)
    assert (len(train) + len(dev), summary.n_dev) == (48, len(dev))
    for counts in summary.accounting.values():
        assert sum(counts.values()) == len(train)
    assert not {row.problem_id for row in run.table("rationales")} & {problem.id for problem in dev}
    assert not any(counts["rationalized"] for (arm, _), counts in summary.accounting.items() if arm != "star")
    for training in summary.trainings.values():
        assert training["parent"] == weights_revision(EMBEDDED)
    rationales = list(run.table("rationales"))
    assert Counter(row.made_by.round for row in rationales).keys() == {0, 1}
    assert len({row.id for row in rationales}) == len(rationales)


def test_a_finished_run_draws_and_trains_nothing_again(whole: tuple[Path, int]) -> None:
    before = json.loads((whole[0] / "manifest.json").read_text())
    assert finish(whole[0]).returncode == 0
    after = json.loads((whole[0] / "manifest.json").read_text())
    assert after["shards"] == before["shards"]
    for stage, costs in before["stages"].items():
        assert after["stages"][stage].get("tokens", 0) == costs.get("tokens", 0)


def test_the_report_is_one_file_that_loads_nothing_and_answers_at_the_top(whole: tuple[Path, int]) -> None:
    page = (whole[0] / "report.html").read_text()
    assert "default-src 'none'" in page
    assert 'src="http' not in page
    assert "Held-out accuracy on the target difficulties went from" in page


def test_another_recipe_in_the_folder_exits_with_two_and_one_line(whole: tuple[Path, int]) -> None:
    done = finish(whole[0], "sampling.n=3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.splitlines()[1:] == ["events 0"]
    assert "sampling.n" in done.stderr


def test_too_many_bad_rows_stop_the_run_before_anything_is_spent(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "1+1=?", "answer": "2"}\n{"prompt": "2+2=?"}\nnot json\n')
    done = finish(tmp_path / "run", "problems.source=local", f"problems.path={file}", "problems.options={}")
    assert done.returncode == 2
    assert "2 of 3 rows" in done.stderr
    assert (tmp_path / "run/rejects.jsonl").read_text().count("\n") == 2
    assert "p.jsonl:2" in done.stderr
    assert not (tmp_path / "run/records/rationales").exists()


def test_bad_rows_are_set_aside_by_line_and_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"{value}+3=?", "answer": str(value + 3)}) for value in range(10, 50)]
    rows += [
        rows[0],
        rows[1][:-9],
        json.dumps({"prompt": "5+5=?"}),
        json.dumps({"prompt": "9" * 200_000, "answer": "1"}),
    ]
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(rows) + "\n")
    local = [
        "problems.source=local",
        f"problems.path={file}",
        "problems.options={}",
        "max_reject_share=0.1",
        "rounds=1",
    ]
    done = finish(tmp_path / "run", *local, "compare_without_rationalization=false")
    assert done.returncode == 0, done.stderr
    rejects = [json.loads(line) for line in (tmp_path / "run/rejects.jsonl").read_text().splitlines()]
    assert {(row["where"].rsplit(":", 1)[-1], row["reason"]) for row in rejects} == {
        (Problem.create(prompt="10+3=?", answer="13").id, "duplicate"),
        ("42", "bad_json"),
        ("43", "no_answer"),
        ("44", "too_long"),
    }
    assert "duplicate 1" in (tmp_path / "run/report.html").read_text()
    assert "40 training problems" in done.stderr


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path / "run"),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell ignores interrupts, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    while "sample" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "Run the same command again to resume." in said
    assert "Traceback" not in said
