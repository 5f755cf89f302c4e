"""Runs that go on with something changed, a recipe, an input, a lost file: the dataset is that of a new run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from data.errors import InputError
from data.lineage import Decision, append_decisions, row_node
from data.prompts import PromptTemplate
from data.records import Problem
from pipelines.recipe import Recipe, parse_recipe
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages import problems as problems_stage
from pipelines.stages.policy import Policy
from star.generation import Request
from star.generation.scripted import ScriptedGenerator

TEMPLATE = PromptTemplate("arithmetic")
ROWS = [Problem.create(prompt=f"{first}+3=?", answer=str(first + 3)) for first in range(10, 23)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps({"prompt": row.prompt, "answer": row.answer}) + "\n" for row in ROWS]
    (tmp_path / "problems.jsonl").write_text("".join(lines[1:]))
    (tmp_path / "test.jsonl").write_text(lines[0])
    sums = {row: (f"{row.prompt[:-1]}{row.answer}", f"3+{row.prompt[:2]}={row.answer}") for row in ROWS}
    answers = {TEMPLATE.render(row): [f"{one}\n#### {row.answer}" for one in both] for row, both in sums.items()}
    (tmp_path / "script.json").write_text(json.dumps(answers))
    return tmp_path


def recipe(folder: Path, problems: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    content = {
        "name": "sums",
        "model": {"name": str(folder / "script.json")},
        "problems": {"source": "local", "path": str(folder / "problems.jsonl"), **(problems or {})},
        "evaluation": {"source": "local", "path": str(folder / "test.jsonl")},
        "prompt": "arithmetic",
        "engine": {"type": "scripted"},
        "sampling": {"n": 4},
        "rationalization": {"enabled": False},
        "sft": {"enabled": False},
        "rounds": 1,
        "shard_size": 4,
        "threads": 1,
        **changes,
    }
    return parse_recipe(content, where="recipe")


def rows(root: Path) -> list[dict[str, Any]]:
    return [row for file in sorted((root / "dataset/data").iterdir()) for row in parquet.read_table(file).to_pylist()]


def test_fewer_problems_leave_none_of_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems_stage, "SHARD", 5)
    run_recipe(recipe(folder), folder / "run")
    run_recipe(recipe(folder, {"limit": 4}), folder / "run", update=True)
    run_recipe(recipe(folder, {"limit": 4}), folder / "new")
    assert rows(folder / "run") == rows(folder / "new")
    assert len({row["problem_id"] for row in rows(folder / "run")}) == 4


def test_verdicts_of_a_lost_shard_are_not_those_of_what_is_drawn_in_its_place(folder: Path) -> None:
    """An engine need not draw the same again: a server, say."""

    def policy(error: int) -> Policy:
        def answer(request: Request) -> str:
            first = int(request.prompt.split("+")[0].split()[-1])
            return f"#### {first + 3 + error}"

        found = Policy("m", "m", "one revision", 0, "scripted", 8)
        found.use(ScriptedGenerator(answer))
        return found

    run_recipe(recipe(folder), folder / "run", start=policy(0))
    assert len(rows(folder / "run")) == 12
    (folder / "run/records/rationales/shard-star-r1-sample-00001.parquet").unlink()
    run_recipe(recipe(folder), folder / "run", start=policy(1))
    assert len(rows(folder / "run")) == 8
    assert all(row["final_answer"] == row["answer"] for row in rows(folder / "run"))


def test_a_quarantined_row_does_not_come_back_as_its_twin_when_the_run_goes_on(folder: Path) -> None:
    run_recipe(recipe(folder), folder / "run")
    bad = rows(folder / "run")[0]
    decision = Decision(node=row_node(bad["id"]), action="quarantine", reason="why", through_models=True, version="0")
    append_decisions(folder / "run", [decision])
    run_recipe(recipe(folder), folder / "run")
    texts = {(row["problem_id"], "".join(row["steps"])) for row in rows(folder / "run")}
    assert (bad["problem_id"], "".join(bad["steps"])) not in texts
    assert bad["problem_id"] in {problem for problem, _ in texts}


@pytest.mark.parametrize("wrong", [{"columns": {"prompt": "question"}}, {"source": "lokal"}, {"options": {"x": 1}}])
def test_a_folder_takes_the_corrected_recipe_of_an_input_that_was_refused(folder: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        run_recipe(recipe(folder, wrong), folder / "run")
    run_recipe(recipe(folder), folder / "run")
    assert rows(folder / "run")


def test_a_dataset_without_rows_can_be_loaded(folder: Path) -> None:
    (folder / "script.json").write_text(json.dumps({TEMPLATE.render(row): "#### 0" for row in ROWS}))
    run_recipe(recipe(folder), folder / "run")
    assert rows(folder / "run") == []
    assert list((folder / "run/dataset/data").iterdir())


def test_a_line_of_the_journal_that_the_manifest_has_taken_in_says_nothing_more(folder: Path) -> None:
    run = RunFolder.open(folder / "run", recipe(folder))
    run.note("begun", True)
    run.unit("problems", "train-00000", "key", lambda: ROWS)
    journal = (folder / "run/journal.jsonl").read_bytes()
    run.forget("problems")
    run.close()
    # A kill between the manifest and the end of the journal.
    (folder / "run/journal.jsonl").write_bytes(journal)
    assert RunFolder.read(folder / "run").units("problems") == []
