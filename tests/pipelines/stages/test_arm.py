"""The rounds with a scripted learner on a ladder of difficulties: what it can do next is what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data.lineage import Decision, append_decisions, row_node
from data.prompts import PromptTemplate
from data.records import Origin, Problem
from data.sources.arithmetic import read_arithmetic
from pipelines.recipe import Recipe, load_recipe
from pipelines.report.page import verdict_line
from pipelines.report.summary import summarize
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR, WITHOUT, Arm
from pipelines.stages.policy import Policy, base_policy
from pipelines.stages.problems import split_dev
from pipelines.stages.sampling import Context, evaluate
from pipelines.stages.training import Training

RUNGS = 6
TRAIN = list(read_arithmetic({"difficulty": list(range(1, RUNGS + 1)), "n": 12, "seed": 5}))
TEST = list(read_arithmetic({"difficulty": list(range(1, RUNGS + 1)), "n": 3, "seed": 6}, split="test"))
TEMPLATE = PromptTemplate("arithmetic")


def wrong(problem: Problem) -> str:
    return f"I guess.\n#### {int(problem.answer) + 1}"


@dataclass
class Learner:
    """A policy of skill s solves chains of up to s operations, and one more with the answer as a hint."""

    folder: Path
    grow: Callable[[Learner, Training], int]
    trainings: list[Training] = field(default_factory=list)

    def policy(self, name: str, skill: int, round_: int) -> Policy:
        answers = {}
        for problem in [*TRAIN, *TEST]:
            rung = int(problem.difficulty)
            answers[TEMPLATE.render(problem)] = problem.solution if rung <= skill else wrong(problem)
            hinted = TEMPLATE.render(problem, hint=problem.answer)
            answers[hinted] = problem.solution if rung <= skill + 1 else wrong(problem)
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(answers))
        base = base_policy(str(file), hub_revision=None, engine="scripted", batch_size=8)
        return Policy(name, base.path, f"skill {skill}", round_, "scripted", 8)

    def learn(self, training: Training) -> Policy:
        self.trainings.append(training)
        return self.policy(training.name, self.grow(self, training), training.round)


def top_rung(_: Learner, training: Training) -> int:
    """The highest rung up to which every rung has rows: nothing is learnt from problems out of reach."""
    reached = {int(problem.difficulty) for problem, _ in training.examples}
    return max(rung for rung in range(RUNGS + 1) if reached >= set(range(1, rung + 1)))


def climb(
    folder: Path,
    *,
    rationalize: bool,
    grow: Callable[[Learner, Training], int] = top_rung,
    changes: tuple[str, ...] = (),
) -> tuple[RunFolder, Learner, Policy]:
    """Run the rounds of one arm from a base of skill 2."""
    folder.mkdir(exist_ok=True)
    settings = ["rounds=5", "engine.batch_size=8", "sampling.n=1", "prm.enabled=false", "ppo.enabled=false"]
    recipe: Recipe = load_recipe("quickstart", [*settings, *changes])
    run = RunFolder.open(folder / "run", recipe)
    run.unit("problems", "train", "key", lambda: TRAIN)
    run.unit("problems", "test", "key", lambda: TEST)
    learner = Learner(folder, grow)
    train, dev = split_dev(TRAIN, recipe)
    name, base = STAR if rationalize else WITHOUT, learner.policy("base", 2, 0)
    context = Context(run, recipe, TEMPLATE)
    arm = Arm(context, base, name, rationalize, train, dev, TEST, learn=learner.learn)
    evaluate(context, base, TEST, "base")
    last = arm.run()
    run.close()
    return run, learner, last


def skills(learner: Learner) -> list[int]:
    return [top_rung(learner, training) for training in learner.trainings]


def test_without_rationalization_the_learner_stays_where_its_samples_end(tmp_path: Path) -> None:
    assert skills(climb(tmp_path, rationalize=False)[1]) == [2, 2, 2, 2, 2]


def test_with_rationalization_it_climbs_one_rung_a_round(tmp_path: Path) -> None:
    run, learner, last = climb(tmp_path, rationalize=True)
    assert skills(learner) == [3, 4, 5, 6, 6]
    assert last.revision == "skill 6"
    # Each problem has one fate a round: what was out of reach even with the hint is unsolved.
    accounting = summarize(run).accounting
    n_train = len(split_dev(TRAIN, run.recipe)[0])
    assert [sum(accounting[STAR, number].values()) for number in range(1, 6)] == [n_train] * 5
    assert accounting[STAR, 1]["unsolved"] > accounting[STAR, 2]["unsolved"] > accounting[STAR, 3]["unsolved"]
    assert accounting[STAR, 5] == {"solved": n_train, "unsolved": 0}


def test_rounds_train_from_the_base_on_plain_prompts_without_the_hint(tmp_path: Path) -> None:
    _, learner, _ = climb(tmp_path, rationalize=True)
    origins = set()
    for training in learner.trainings:
        assert training.base.revision == "skill 2"
        for problem, rationale in training.examples:
            origins.add(rationale.origin)
            assert f"({problem.answer})" not in TEMPLATE.render(problem) + rationale.text
    assert origins == {Origin.SAMPLED, Origin.RATIONALIZED}


def test_the_steps_of_a_round_grow_by_a_fifth(tmp_path: Path) -> None:
    _, learner, _ = climb(tmp_path, rationalize=True, changes=("sft.steps=40", "rounds=4"))
    config = learner.trainings[0].context.recipe.sft
    assert [config.steps_of_round(training.round) for training in learner.trainings] == [40, 48, 57, 69]


def test_a_round_run_twice_changes_nothing(tmp_path: Path) -> None:
    run, first, _ = climb(tmp_path, rationalize=True)
    before = dict(run.manifest["shards"])
    again, second, _ = climb(tmp_path, rationalize=True)
    assert again.manifest["shards"] == before
    assert [training.key for training in first.trainings] == [training.key for training in second.trainings]


def forgets_in_round_2(learner: Learner, training: Training) -> int:
    return 0 if training.round == 2 else top_rung(learner, training)


def test_a_worse_model_is_not_promoted_and_the_next_round_samples_from_the_one_before(tmp_path: Path) -> None:
    run, learner, last = climb(
        tmp_path, rationalize=True, grow=forgets_in_round_2, changes=("promotion.dev_share=0.3", "rounds=3")
    )
    gates = {(row.arm, row.round): row.promoted for row in run.table("promotions")}
    assert gates == {(STAR, 1): True, (STAR, 2): False, (STAR, 3): True}
    # Round 3 begins with the skill of round 1, not with nothing, and draws anew.
    assert skills(learner)[2] == 4
    assert last.revision == "skill 4"
    models = {row.made_by.model for row in run.table("rationales", "star-r3-")}
    assert models == {"generator-star-r1"}


def test_without_a_gate_it_would_have_been(tmp_path: Path) -> None:
    run, _, _ = climb(
        tmp_path, rationalize=True, grow=forgets_in_round_2, changes=("promotion.gate=always", "rounds=2")
    )
    assert list(run.table("promotions")) == list(run.table("dev_evaluations")) == []


def test_a_base_that_solves_nothing_stays_and_ends_no_run(tmp_path: Path) -> None:
    changes = ("rounds=2", "selection.max_pass_rate=0.5")
    _, learner, last = climb(tmp_path, rationalize=False, changes=changes)
    # Every problem is too easy or out of reach: nothing is kept.
    assert learner.trainings == []
    assert last.revision == "skill 2"


def test_where_the_gate_lets_nothing_through_the_run_ends_with_the_base_and_says_so(tmp_path: Path) -> None:
    changes = ("rounds=2", "promotion.dev_share=0.3", "promotion.gate=not_worse")
    run, _, last = climb(tmp_path, rationalize=True, grow=lambda *_: 0, changes=changes)
    assert last.revision == "skill 2"
    assert verdict_line(summarize(run)).startswith("The gate turned every round down")


def test_the_rounds_end_at_a_plateau(tmp_path: Path) -> None:
    _, learner, _ = climb(tmp_path, rationalize=False, changes=("promotion.patience=2", "promotion.dev_share=0.3"))
    assert len(learner.trainings) == 2


def test_a_tiny_round_is_filled_up_from_earlier_ones(tmp_path: Path) -> None:
    def shrink(learner: Learner, training: Training) -> int:
        return 0 if training.round == 1 else top_rung(learner, training)

    _, learner, _ = climb(
        tmp_path, rationalize=True, grow=shrink,
        changes=("promotion.gate=always", "rounds=2", "selection.min_rows=20", "rationalization.p=0.5"),
    )  # fmt: skip
    rows = learner.trainings[1].examples
    assert {rationale.made_by.round for _, rationale in rows} == {0, 1}
    assert len(rows) == 20


def test_hard_problems_are_trained_on_more_often(tmp_path: Path) -> None:
    _, learner, _ = climb(tmp_path, rationalize=True, changes=("selection.max_copies=3", "rounds=1"))
    counts = {rationale.id: 0 for _, rationale in learner.trainings[0].examples}
    for _, rationale in learner.trainings[0].examples:
        counts[rationale.id] += 1
    times = {rationale.origin: counts[rationale.id] for _, rationale in learner.trainings[0].examples}
    assert times == {Origin.SAMPLED: 1, Origin.RATIONALIZED: 3}


@pytest.mark.parametrize("temperature", [0.3, 0.9])
def test_a_round_samples_at_the_setting_of_the_best_balance_score(tmp_path: Path, temperature: float) -> None:
    changes = (f"balance.temperatures=[{temperature}]", "balance.n=[1, 3]", "balance.target=1", "rounds=1")
    run, _, _ = climb(tmp_path, rationalize=False, changes=changes)
    # One right, distinct sample is all that a scripted learner can give: more are waste.
    rows = [row for row in run.table("rationales") if f'"temperature": {temperature}' in row.made_by.sampling]
    assert rows
    chosen = [row for row in run.manifest["notes"][f"balance {WITHOUT} 1"] if row["chosen"]]
    assert [(row["temperature"], row["n"]) for row in chosen] == [(temperature, 1)]


def test_what_was_put_into_quarantine_is_not_trained_on_when_the_run_goes_on(tmp_path: Path) -> None:
    run, first, _ = climb(tmp_path, rationalize=True, changes=("rounds=2",))
    _, bad = first.trainings[0].examples[0]
    decision = Decision(
        node=row_node(bad.id), action="quarantine", reason="a wrong premise", through_models=False, version="0"
    )
    append_decisions(run.root, [decision])
    _, second, _ = climb(tmp_path, rationalize=True, changes=("rounds=2",))
    assert bad.id not in {row.id for _, row in second.trainings[0].examples}
    assert len(second.trainings[0].examples) >= len(first.trainings[0].examples) - 1
    reasons = {row.rationale_id: row.reason for row in RunFolder.read(run.root).table("selections", "star-r1-")}
    assert reasons[bad.id] == "quarantine"
