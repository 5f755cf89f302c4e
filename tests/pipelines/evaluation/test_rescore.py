"""Stored outputs graded again: nothing is generated, what changed is listed row by row, what was stored stays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Kind, Origin, Problem, Status, Verdict
from data.schema import from_table
from data.sources import read_problems
from pipelines.evaluation.rescore import rescore, rescored_lines
from pipelines.evaluation.settings import BenchmarkConfig, config_from
from pipelines.evaluation.stage import TWINS, evaluate_model
from pipelines.evaluation.twins import suggested
from pipelines.recipe import load_recipe
from pipelines.report.audit import write_audit
from pipelines.run_dir import RunFolder
from tests.pipelines.audit_folders import rationale, verdict, write_run

GOLD = Problem.create(prompt="What is a half?", answer="1/2", kind=Kind.MATH)
# A calculation that is not finished: the default takes it, the strict policy does not.
TEXTS = ["#### 1/2", "#### 2/4", "#### 0.5", "#### 3/4", "I do not know."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose verdicts are those of another version: it took 2/4 and 3/4 for wrong and right."""
    run = RunFolder.open(tmp_path / "run", load_recipe("quickstart"))
    rows = [rationale(GOLD, text, seed) for seed, text in enumerate(TEXTS)]
    near_miss = rationale(GOLD, "#### 9", 9, Origin.CORRUPTED)
    said = [Status.CORRECT, Status.INCORRECT, Status.CORRECT, Status.CORRECT, Status.NO_ANSWER]
    run.unit("problems", "train", "k", lambda: [GOLD])
    run.unit("rationales", "star-r1-sample-00000", "k", lambda: rows)
    run.unit("verdicts", "star-r1-sample-00000", "k", lambda: list(map(verdict, rows, said)))
    run.unit("rationales", "near_miss-00000", "k", lambda: [near_miss])
    run.close()
    return run.root


def records(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (folder / "records").rglob("*.parquet")
    }


def test_every_difference_is_listed_and_the_stored_verdicts_stay(folder: Path) -> None:
    before = records(folder)
    found, file = rescore(folder)
    assert records(folder) == before
    assert found.outputs == 5
    assert dict(found.changes) == {("incorrect", "correct"): 1, ("correct", "incorrect"): 1}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["new_extracted"], row["old"], row["new"]) for row in rows] == [
        ("2/4", "incorrect", "correct"), ("3/4", "correct", "incorrect")
    ]  # fmt: skip
    assert all(row["gold"] == "1/2" and row["text"] in TEXTS for row in rows)
    lines = "\n".join(rescored_lines(found, file))
    assert "5 outputs graded again" in lines
    assert "1 from incorrect to correct" in lines


def test_the_new_verdicts_of_each_policy_stand_beside_the_old_ones(folder: Path) -> None:
    statuses = {}
    for policy in ("default", "strict"):
        _, file = rescore(folder, policy)
        table = pq.read_table(file.with_suffix(".parquet"))
        statuses[policy] = [str(row.status) for row in from_table(Verdict, table)]
    assert statuses["default"] == ["correct", "correct", "correct", "incorrect", "no_answer"]
    assert statuses["strict"] == ["correct", "incorrect", "correct", "incorrect", "no_answer"]
    assert {file.name for file in (folder / "rescored").iterdir()} == {
        "default.jsonl", "default.parquet", "strict.jsonl", "strict.parquet"
    }  # fmt: skip


def test_held_out_answers_are_graded_again_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["#### 100", "b", "c"])
    found, file = rescore(run.root)
    # 2 x 3 rationales, and 2 x 3 held-out answers that all say 100.
    assert found.outputs == 12
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {row["old"] for row in rows if row["id"].startswith("star-r1-00000/")} == {"correct"}


def test_answers_to_variants_are_graded_again_and_shown_on_the_audit_page(tmp_path: Path) -> None:
    options = {"n": 3, "difficulty": [3]}
    problems = [row for row in read_problems("arithmetic", split="test", options=options) if isinstance(row, Problem)]
    hinted = [found[1] for row in problems if (found := suggested(row, 0))]
    twins = [found for row in problems for change in TWINS.values() if (found := change(row, 0))]
    asked = [*problems, *twins, *hinted]
    assert len(asked) == 12
    template = PromptTemplate("arithmetic")
    answers = {template.render(one): f"#### {one.answer}" for one in asked}
    (tmp_path / "model.json").write_text(json.dumps(answers))
    benchmark = BenchmarkConfig(name="arithmetic", source="arithmetic", options=options)
    flags = {"twins": True, "wrong_hint": True}
    evaluate_model(config_from(str(tmp_path / "model.json"), "scripted", [benchmark], flags, []), tmp_path / "e")
    found, _ = rescore(tmp_path / "e")
    assert found.outputs == found.after["correct"] == len(asked)
    page = write_audit([tmp_path / "e"], tmp_path / "a.html").read_text()
    assert all(one.prompt in page for one in asked)
    manifest = json.loads((tmp_path / "e/manifest.json").read_text())
    del manifest["shards"]["problems/arithmetic-twin-problems"], manifest["sha256"]
    (tmp_path / "e/manifest.json").write_text(json.dumps(manifest))
    for again in (lambda: rescore(tmp_path / "e"), lambda: write_audit([tmp_path / "e"], tmp_path / "a.html")):
        with pytest.raises(UserError, match="does not hold all problems"):
            again()


def test_mistakes_are_told_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown policy 'stict'"):
        rescore(folder, "stict")
    assert not (folder / "rescored").exists()
    empty = RunFolder.open(tmp_path / "empty", load_recipe("quickstart"))
    empty.unit("problems", "train", "k", lambda: [GOLD])
    empty.close()
    with pytest.raises(UserError, match="no checked outputs"):
        rescore(empty.root)
