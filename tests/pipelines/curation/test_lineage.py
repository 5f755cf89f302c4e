"""The tree of a row says where it is from, what was said of it and what was made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import InputError
from pipelines.curation.lineage import build_graph, lineage_tree
from pipelines.run_dir import RunFolder
from tests.pipelines.stored_run import BASE, TRAINED, problems, rationale, stored_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return stored_run(tmp_path_factory.mktemp("stored") / "run")


def tree(run: RunFolder, target: str) -> str:
    return "\n".join(lineage_tree(run, target).lines())


def test_a_row_of_the_second_round_names_its_model_and_that_models_parent(run: RunFolder) -> None:
    row = next(row for row in run.table("rationales") if row.made_by.round == 1 and not row.parent_id)
    found = tree(run, row.id)
    for part in (
        f"rationale {row.id}: sampled, 3 steps, 20 tokens",
        f"problem {row.problem_id}",
        "seed 300",
        f"model generator-star-r1 {TRAINED}: star round 1, on 20 rows",
        f"model {BASE}: the base",
        "verdict of stepstar 0.1.0: correct",
        "selection star round 2: kept",
        "labels symbolic: 1 1 -",
        "scores prm prm-revision: 0.9 0.75 0.5",
    ):
        assert part in found
    assert found.index(TRAINED) < found.index("the base")


def test_a_near_miss_shows_its_parent_and_a_parent_counts_what_was_made_of_it(run: RunFolder) -> None:
    near_miss = next(row for row in run.table("rationales") if row.parent_id)
    found = tree(run, near_miss.id[:8])
    assert "corrupted" in found
    assert f"rationale {near_miss.parent_id}: sampled" in found
    assert "labels near_miss:" in found
    siblings = [row for row in run.table("rationales") if row.parent_id == near_miss.parent_id]
    assert f"made of it: {len(siblings)} rationales directly" in tree(run, near_miss.parent_id)


def test_a_kept_row_leads_to_the_model_and_through_it_to_what_it_drew(run: RunFolder) -> None:
    edges = build_graph(run).edges
    kept = rationale(problems()[0], 0)
    wrong = rationale(problems()[10], 100, wrong=True)
    assert f"model:{TRAINED}" in edges[f"row:{kept.id}"]
    assert f"row:{wrong.id}" not in edges
    drawn = {node for node in edges[f"model:{TRAINED}"] if node.startswith("row:")}
    assert {row.id for row in run.table("rationales") if row.made_by.round == 1} == {node[4:] for node in drawn}


def test_what_a_model_wrote_cannot_steer_the_terminal(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    hostile = replace(rationale(problems()[0], 999), id="f" * 16, steps=("\x1b]0;owned\x07\x1b[2J\r", "\u202e1+1=2"))
    writable = RunFolder.open(run.root, run.recipe)
    writable.unit("rationales", "star-r9-sample-00000", "key", lambda: [hostile])
    writable.close()
    found = tree(RunFolder.read(run.root), hostile.id)
    assert "\\x1b]0;owned" in found
    assert all(char.isprintable() or char == "\n" for char in found)


def test_an_unknown_row_is_an_error(run: RunFolder) -> None:
    with pytest.raises(InputError, match="nothing here is called 'nobody'"):
        lineage_tree(run, "nobody")
