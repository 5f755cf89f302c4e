"""Two models on the same problems: gain, test and flips as worked out by hand; sides are named, mistakes told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Kind, Problem
from data.sources import Reject, read_problems
from pipelines.evaluation.compare import Reply, Side, compare, comparison_json, comparison_lines, read_side
from pipelines.evaluation.settings import BenchmarkConfig, config_from
from pipelines.evaluation.stage import evaluate_model
from tests.pipelines.audit_folders import write_run


def side(name: str, right: dict[str, bool]) -> Side:
    problems = {
        key: Problem(id=key, prompt=f"{key}=?", answer="1", kind=Kind.MATH) for key in right
    }  # fmt: skip
    replies = {key: Reply(mark, "1" if mark else "2") for key, mark in right.items()}
    return Side(name, problems, replies)


def test_gain_and_mcnemar_equal_the_values_worked_out_by_hand() -> None:
    before = {f"p{at}": at < 10 for at in range(30)}
    # Loses p0, gains p10 to p17: 8 of 9 flips one way.
    after = {key: (mark or 10 <= int(key[1:]) < 18) and key != "p0" for key, mark in before.items()}
    found = compare(side("A", before), side("B", after))
    assert found.figures["a"].mean == pytest.approx(10 / 30)
    assert found.figures["b"].mean == pytest.approx(17 / 30)
    assert found.figures["gain"].mean == pytest.approx(7 / 30)
    assert found.figures["gain"].low > 0
    # Twice the chance of 8 or 9 heads of 9: 2 * (9 + 1) / 512.
    assert found.p == pytest.approx(20 / 512)
    assert (found.flips[0].problem_id, found.flips[0].gained) == ("p0", False)
    assert len(found.flips) == 9
    lines = "\n".join(comparison_lines(found, shown=3))
    assert "8 gained, 1 lost; McNemar's exact p = 0.0391" in lines
    assert "and 5 more" in lines


def test_no_flips_are_no_difference_and_problems_of_one_side_are_left_out() -> None:
    found = compare(side("A", {"x": True, "y": False, "z": True}), side("B", {"x": True, "y": False, "w": True}))
    assert (found.p, found.flips, found.unpaired) == (1.0, [], 2)
    assert found.figures["gain"].n == 2
    with pytest.raises(UserError, match="share no problem"):
        compare(side("A", {"x": True}), side("B", {"y": True}))


def test_a_run_is_compared_with_its_own_base_and_the_last_policy_is_the_default(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["a", "b", "c", "d", "e", "f"])
    base, last = read_side(f"{run.root}:base"), read_side(str(run.root))
    assert last.name.endswith(":star-r1")
    found = compare(base, last)
    # The base solves every third of six problems, the last policy all.
    assert found.figures["gain"].mean == pytest.approx(4 / 6)
    assert all(flip.gained for flip in found.flips)
    assert json.loads(json.dumps(comparison_json(found)))["flips"][0]["gained"] is True
    with pytest.raises(UserError, match=r"no policy 'star-r9'.*") as error:
        read_side(f"{run.root}:star-r9")
    assert "base, star-r1" in error.value.cure
    with pytest.raises(UserError, match="no run folder"):
        read_side(str(tmp_path / "nothing"))


def test_evaluations_are_compared_by_greedy_answers_and_by_samples(tmp_path: Path) -> None:
    options = {"n": 4, "difficulty": [3]}
    problems = [
        row for row in read_problems("arithmetic", split="test", options=options) if not isinstance(row, Reject)
    ]
    template, sides = PromptTemplate("arithmetic"), []
    for name, n_right in (("weak", 1), ("strong", 3)):
        answers = {
            template.render(row): f"#### {row.answer if at < n_right else 7777}" for at, row in enumerate(problems)
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(answers))
        benchmark = BenchmarkConfig(name="arithmetic", source="arithmetic", options=options)
        settings = config_from(str(tmp_path / f"{name}.json"), "scripted", [benchmark], {"samples": 2}, [])
        sides.append(read_side(str(evaluate_model(settings, tmp_path / name).root)))
    found = compare(*sides)
    assert {name: row.mean for name, row in found.figures.items()} == {
        "a": 0.25, "b": 0.75, "gain": 0.5, "a pass@1": 0.25, "b pass@1": 0.75, "gain pass@1": 0.5
    }  # fmt: skip
    assert [flip.problem_id for flip in found.flips] == sorted(row.id for row in problems[1:3])
    with pytest.raises(UserError, match="one model"):
        read_side(f"{tmp_path / 'weak'}:base")
