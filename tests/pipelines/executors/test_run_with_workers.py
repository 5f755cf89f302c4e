"""A whole run gives the same dataset, whoever draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.prompts import PromptTemplate
from data.records import Problem
from pipelines.executors import ExecutorConfig
from pipelines.recipe import load_recipe
from pipelines.run import run_recipe

RECIPE = """
name: sums
model: {name: FOLDER/script.json}
problems: {source: local, path: FOLDER/problems.jsonl}
evaluation: {source: local, path: FOLDER/test.jsonl}
prompt: arithmetic
engine: {type: scripted}
sampling: {n: 4}
rationalization: {enabled: false}
sft: {enabled: false}
rounds: 1
shard_size: 8
threads: 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """Forty sums in five shards, of which the script has a right and two wrong answers each."""
    template, script = PromptTemplate("arithmetic"), {}
    rows = [Problem.create(prompt=f"{first}+3=?", answer=str(first + 3)) for first in range(10, 51)]
    for row in rows:
        sums = [int(row.answer or 0) + error for error in (-1, 0, 1)]
        script[template.render(row)] = [f"{row.prompt[:-1]}{sum_}\n#### {sum_}" for sum_ in sums]
    lines = [json.dumps({"prompt": row.prompt, "answer": row.answer}) + "\n" for row in rows]
    (tmp_path / "problems.jsonl").write_text("".join(lines[1:]))
    (tmp_path / "test.jsonl").write_text(lines[0])
    (tmp_path / "script.json").write_text(json.dumps(script))
    file = tmp_path / "sums.yaml"
    file.write_text(RECIPE.replace("FOLDER", str(tmp_path)))
    return str(file)


def dataset(recipe: str, folder: Path, *settings: str) -> dict[str, bytes]:
    run_recipe(load_recipe(recipe, settings), folder)
    root = folder / "dataset"
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_a_run_leaves_the_same_dataset_with_one_worker_and_with_two_of_either_kind(
    recipe: str, config: ExecutorConfig, tmp_path: Path
) -> None:
    alone = dataset(recipe, tmp_path / "alone")
    assert dataset(recipe, tmp_path / "two", f"executor.type={config.type}", "executor.workers=2") == alone
    assert len(alone) > 1
