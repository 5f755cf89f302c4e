"""Exports: each is read back by the loader of whom it is for, and no problem is in two splits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from data.exports.layouts import LAYOUTS
from data.exports.writing import split_of
from pipelines.cli import main
from pipelines.curation.export import ExportJob, export_run
from pipelines.run_dir import RunFolder
from prm.labels import LabelledSolution, read_labels
from tests.pipelines.stored_run import stored_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return stored_run(tmp_path_factory.mktemp("stored") / "run")


def exported(run: RunFolder, out: Path, layout: str, **job: Any) -> Path:
    export_run(run, ExportJob(layout=layout, out=out, **{"validation_share": 0.3} | job))
    return out


def load(out: Path, config: str = "default") -> dict[str, list[dict[str, Any]]]:
    from datasets import load_dataset

    loaded = load_dataset(str(out), config, cache_dir=str(out.parent / "cache"))
    return {split: rows.to_list() for split, rows in loaded.items()}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that `datasets` leaves open
@pytest.mark.parametrize("layout", LAYOUTS)
def test_datasets_loads_each_layout_by_its_card_with_no_problem_in_two_splits(
    run: RunFolder, tmp_path: Path, layout: str
) -> None:
    out = exported(run, tmp_path / "out", layout)
    splits = load(out)
    assert set(splits) == {"train", "validation"}
    said = json.loads((out / "export.json").read_text())
    assert {split: len(rows) for split, rows in splits.items()} == said["rows"]["default"]
    texts = {split: {json.dumps(row).partition("+5+7")[0][-2:] for row in rows} for split, rows in splits.items()}
    assert texts["train"].isdisjoint(texts["validation"])
    assert f"{sum(map(len, splits.values()))} rows" in (out / "README.md").read_text()
    # Nothing that a spreadsheet opens, in which a text could be a formula.
    assert {file.suffix for file in out.rglob("*") if file.is_file()} <= {".parquet", ".jsonl", ".json", ".md", ".py"}


def test_chat_and_completion_rows_hold_the_plain_prompt_and_the_whole_text(run: RunFolder, tmp_path: Path) -> None:
    chat = load(exported(run, tmp_path / "chat", "messages", validation_share=0.0))["train"]
    plain = load(exported(run, tmp_path / "plain", "prompt_completion", validation_share=0.0))["train"]
    assert len(chat) == len(plain) == 30
    for one, other in zip(chat, plain, strict=True):
        assert [turn["role"] for turn in one["messages"]] == ["user", "assistant"]
        assert [turn["content"] for turn in one["messages"]] == [other["prompt"], other["completion"]]
        assert other["prompt"].endswith("+5+7=?\n")
        assert other["completion"].count("\n") == 2


def test_stepwise_labels_are_those_of_arithmetic_and_slips_and_soft_scores_stay_soft(
    run: RunFolder, tmp_path: Path
) -> None:
    rows = load(exported(run, tmp_path / "hard", "stepwise", validation_share=0.0))["train"]
    for row in rows:
        assert len(row["labels"]) == len(row["completions"])
        first_wrong = row["labels"].index(0.0) if 0.0 in row["labels"] else -1
        assert (first_wrong == len(row["labels"]) - 1) == (row["origin"] == "corrupted")
        assert not any(step.endswith("\n") for step in row["completions"])
    assert {row["origin"] for row in rows} == {"sampled", "corrupted"}
    soft = load(exported(run, tmp_path / "soft", "stepwise", values="scores", validation_share=0.0))["train"]
    assert {tuple(row["labels"]) for row in soft} == {(0.9, 0.75, 0.5)}


@pytest.mark.parametrize("layout", ["prm800k", "math_shepherd", "stepwise"])
def test_exported_labels_are_read_back_by_the_projects_own_reader(run: RunFolder, tmp_path: Path, layout: str) -> None:
    out = exported(run, tmp_path / "out", layout, validation_share=0.0)
    format_ = "trl" if layout == "stepwise" else layout
    found = list(read_labels(str(next(out.glob("train.*"))), format_))
    solutions = [one for one in found if isinstance(one, LabelledSolution)]
    assert len(solutions) == len(found) > 30
    assert {solution.first_error for solution in solutions} >= {-1, 0, 1}
    assert all("+5+7=?" in solution.problem for solution in solutions)


def test_soft_scores_are_refused_by_formats_of_hard_labels(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="soft_label 30"):
        exported(run, tmp_path / "out", "prm800k", values="scores")
    assert not list(tmp_path.iterdir())


def test_preferences_pair_a_right_solution_with_a_wrong_one_of_its_problem(run: RunFolder, tmp_path: Path) -> None:
    rows = load(exported(run, tmp_path / "out", "preference", validation_share=0.0))["train"]
    sampled = [row for row in rows if row["rejected_origin"] == "sampled"]
    # Problems 10 to 24 have a wrong sample and a right one; that of problem 0 was only cut off.
    assert len(sampled) == 15
    for row in rows:
        total = sum(map(int, row["prompt"].partition("=")[0].split("+")))
        assert row["chosen"].endswith(f"#### {total}")
        assert not row["rejected"].endswith(f"#### {total}")


@pytest.mark.parametrize("layout", ["verl", "openrlhf"])
def test_dense_rewards_name_the_character_that_ends_each_step(run: RunFolder, tmp_path: Path, layout: str) -> None:
    rows = load(exported(run, tmp_path / "out", layout, validation_share=0.0), "step_rewards")["train"]
    assert {row["outcome"] for row in rows} == {0.0, 1.0}
    for row in rows:
        starts = [0, *row["step_ends"][:-1]]
        steps = [row["response"][start:end] for start, end in zip(starts, row["step_ends"], strict=True)]
        assert "".join(steps) == row["response"]
        assert all(step.endswith("\n") for step in steps[:-1])
        assert row["step_values"][-1] is None or row["origin"] == "corrupted"
        assert len(row["step_values"]) == len(steps)


def test_equal_runs_make_equal_exports(run: RunFolder, tmp_path: Path) -> None:
    one, other = (exported(run, tmp_path / name, "verl") for name in ("one", "other"))
    names = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert len(names) == 7
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_folder_is_replaced_only_if_it_is_an_export_and_fresh_is_asked_for(run: RunFolder, tmp_path: Path) -> None:
    out = exported(run, tmp_path / "out", "messages")
    with pytest.raises(InputError, match="--fresh"):
        exported(run, out, "messages")
    exported(run, out, "preference", fresh=True)
    assert json.loads((out / "export.json").read_text())["format"] == "preference"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(InputError, match="no export"):
        exported(run, tmp_path / "mine", "messages", fresh=True)
    assert (tmp_path / "mine/thesis.txt").exists()
    with pytest.raises(InputError, match="Did you mean 'messages'"):
        exported(run, tmp_path / "new", "mesages")


def test_an_export_that_fails_leaves_what_was_there(run: RunFolder, tmp_path: Path) -> None:
    out = exported(run, tmp_path / "out", "messages")
    before = (out / "train.parquet").read_bytes()
    with pytest.raises(InputError):
        exported(run, out, "math_shepherd", values="scores", fresh=True)
    assert (out / "train.parquet").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_prompts_of_a_template_that_has_changed_are_refused(tmp_path: Path) -> None:
    root = stored_run(tmp_path / "run").root
    writable = RunFolder.open(root, RunFolder.read(root).recipe)
    writable.pin(template="another")
    writable.close()
    with pytest.raises(InputError, match="template 'arithmetic' has changed"):
        exported(RunFolder.read(root), tmp_path / "out", "messages")


def test_splits_follow_the_problem_not_its_spelling() -> None:
    shares = [split_of(f"{number}+1=?", 0.25) == "validation" for number in range(2000)]
    assert 0.22 < sum(shares) / len(shares) < 0.28
    assert all(split_of(f"How  MANY is {n}? ", 0.5) == split_of(f"how many is {n}?", 0.5) for n in range(50))


def test_the_command_line_exports_quarantines_and_explains_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = str(stored_run(tmp_path / "run").root), str(tmp_path / "out")

    def cli(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["stepstar", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        return int(ending.value.code or 0), *capsys.readouterr()

    code, said, _ = cli("export", root, "--format", "messages", "--out", out, "--validation-share", "0")
    assert (code, "train 30" in said) == (0, True)
    code, said, _ = cli("quarantine", root, "generator-star-r1", "--reason", "leaked")
    assert "1 model, 49 rows" in said
    for mistake, cure in (
        (["export", root, "--format", "messages", "--out", out], "--fresh"),
        (["export", root, "--format", "messages", "--out", f"{out}2", "--values", "none"], "labels or scores"),
        (["lineage", root, "generator"], "Give a row"),
        (["decontaminate", root, "--against", "nothing.jsonl"], "a glob"),
    ):
        code, said, wrong = cli(*mistake)
        assert (code, said, wrong.count("\n")) == (2, "", 1)
        assert cure in wrong
