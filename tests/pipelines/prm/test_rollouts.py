"""`stepstar label --how monte_carlo`: what a generator makes of the first steps becomes labels with their counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from pipelines.prm.labelling import LabelCounts
from pipelines.prm.rollout_labels import label_by_rollouts
from pipelines.prm.rollouts import Rollouts, RolloutSettings
from pipelines.prm.solution_rows import Columns
from prm.labels import Attempt, LabelledSolution, Prefix, read_labels
from star.generation.base import Completion, Request
from star.generation.scripted import ScriptedGenerator

PROBLEM, GOLD = "12+3-4=?", "11"
RIGHT, WRONG = ("12+3=15", "15-4=11", "#### 11"), ("12+3=15", "15-4=12", "#### 12")


def settings(**changes: object) -> RolloutSettings:
    content = {"model": {"name": "script"}, "prompt": "arithmetic", "sampling": {"n": 4}} | changes
    return RolloutSettings.model_validate(content)


def solver(request: Request) -> str | None:
    """Goes on rightly from right steps, and three times in four never finds back from the wrong one."""
    if "=12\n" in request.prompt:
        return "#### 11" if request.seed % 4 == 0 else "#### 12"
    return "15-4=11\n#### 11" if request.prompt.endswith("=15\n") else "12+3=15\n15-4=11\n#### 11"


def write_rows(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def label(
    tmp_path: Path, rows: list[dict[str, object]], **changes: object
) -> tuple[list[LabelledSolution], LabelCounts]:
    """Labels of rows by a script in a file, which knows each prompt by its text."""
    prompts = [
        f"{PROBLEM}\n" + "".join(f"{step}\n" for step in steps[:k]) for steps in (RIGHT, WRONG) for k in range(4)
    ]
    answers = {
        prompt: [solver(Request(id="", prompt=prompt, seed=seed)) for seed in range(4)] for prompt in prompts
    }  # fmt: skip
    (tmp_path / "script.json").write_text(json.dumps(answers))
    source = {"model": {"name": str(tmp_path / "script.json")}, "engine": {"type": "scripted"}}
    file, out = write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "labels.jsonl"
    counts = label_by_rollouts(file, out, Columns(), "gold", settings(**source, **changes))
    return [one for one in read_labels(str(out), "stepstar") if isinstance(one, LabelledSolution)], counts


def test_each_step_is_labelled_by_the_share_of_right_rollouts_and_the_counts_are_kept(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "problem": PROBLEM, "steps": list(RIGHT), "gold": 11},
        {"id": 2, "problem": PROBLEM, "steps": "\n".join(WRONG), "gold": "11"},
        {"id": 3, "problem": PROBLEM, "steps": list(RIGHT)},
        {"id": 4, "problem": PROBLEM, "steps": list(RIGHT), "gold": "12"},
    ]
    (right, wrong), counts = label(tmp_path, rows, sampling={"n": 40})
    assert (right.values, right.outcome, right.gold, right.row_id) == ((1.0, 1.0, 1.0), True, GOLD, "1")
    assert (wrong.values[0], wrong.values[2], wrong.outcome) == (1.0, 0.0, False)
    # A wrong step is recovered from one time in four; the share is what was counted.
    assert 0 < wrong.n_right[1] < 20
    assert wrong.values[1] == wrong.n_right[1] / 40
    assert wrong.n_rollouts == (40, 40, 40)
    assert (wrong.source, wrong.first_error) == ("monte_carlo", 1)
    assert counts.unusable.reasons == {"missing_field": 1, "other_answer": 1}


@pytest.mark.parametrize("method", ["bisect", "bayesian"])
def test_a_search_names_the_first_wrong_step_and_leaves_right_solutions_alone(tmp_path: Path, method: str) -> None:
    rows = [{"problem": PROBLEM, "steps": list(steps), "gold": GOLD} for steps in (RIGHT, WRONG)]
    (right, wrong), _ = label(tmp_path, rows, method=method, sampling={"n": 16})
    assert right.values == (1.0, 1.0, 1.0)
    assert wrong.first_error == 1
    assert wrong.values[2] is None


def test_a_solution_that_has_stated_its_answer_is_not_continued() -> None:
    asked: list[str] = []
    rollouts = Rollouts(ScriptedGenerator(lambda one: asked.append(one.prompt) or solver(one)), settings())
    rollouts.golds[PROBLEM] = GOLD
    rollouts.note_endings([Attempt(problem=PROBLEM, steps=steps) for steps in (RIGHT, WRONG)])
    assert rollouts([Prefix(PROBLEM, RIGHT), Prefix(PROBLEM, RIGHT[:2]), Prefix(PROBLEM, WRONG)], 2) == [
        [True, True],
        [True, True],
        [False, False],
    ]
    assert asked == ["12+3-4=?\n12+3=15\n15-4=11\n"] * 2


def test_draws_depend_on_the_prefix_and_its_number_not_on_what_is_asked_beside_it() -> None:
    seeds: dict[str, list[int]] = {}

    def drawn(prefixes: list[Prefix], n: int, calls: int) -> dict[str, list[int]]:
        seeds.clear()
        rollouts = Rollouts(
            ScriptedGenerator(lambda one: seeds.setdefault(one.prompt, []).append(one.seed) or solver(one)), settings()
        )
        rollouts.golds[PROBLEM] = GOLD
        for _ in range(calls):
            rollouts(prefixes, n)
        return {prompt: list(found) for prompt, found in seeds.items()}

    one, two = Prefix(PROBLEM, RIGHT[:1]), Prefix(PROBLEM, RIGHT[:2])
    alone, beside = drawn([one], 4, 1), drawn([two, one], 1, 4)
    prompt = "12+3-4=?\n12+3=15\n"
    assert alone[prompt] == beside[prompt]
    assert len(set(alone[prompt])) == 4


def test_rollouts_that_could_not_be_drawn_are_no_failures_and_too_many_stop_the_labelling(tmp_path: Path) -> None:
    rollouts = Rollouts(ScriptedGenerator(lambda request: None), settings())
    rollouts.golds[PROBLEM] = GOLD
    assert rollouts([Prefix(PROBLEM, RIGHT[:1])], 2) == [[None, None]]
    (tmp_path / "script.json").write_text("{}")
    source = {"model": {"name": str(tmp_path / "script.json")}, "engine": {"type": "scripted"}}
    file = write_rows(tmp_path / "rows.jsonl", [{"problem": PROBLEM, "steps": list(RIGHT), "gold": GOLD}])
    with pytest.raises(UserError, match="8 of 8 rollouts"):
        label_by_rollouts(file, tmp_path / "labels.jsonl", Columns(), "gold", settings(**source))
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_labelling_that_was_stopped_goes_on_and_draws_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": number, "problem": PROBLEM, "steps": list(WRONG), "gold": GOLD} for number in range(40)]
    label(tmp_path, rows)
    wanted = (tmp_path / "labels.jsonl").read_bytes()
    (tmp_path / "labels.jsonl").unlink()
    drawn: list[int] = []
    generate = ScriptedGenerator.generate

    def counted(self: ScriptedGenerator, requests: list[Request]) -> Iterator[Completion]:
        drawn.append(len(requests))
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return generate(self, requests)

    monkeypatch.setattr(ScriptedGenerator, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path, rows)
    assert not (tmp_path / "labels.jsonl").exists()
    label(tmp_path, rows)
    # Two steps to go on from, four rollouts each, for parts of 32 and of 8 equal rows: the second part was cut short.
    assert drawn == [8, 8, 8]
    assert (tmp_path / "labels.jsonl").read_bytes() == wanted
    assert not (tmp_path / "labels.jsonl.rollouts").exists()
