"""What `stepstar validate` says a run will cost, against what runs did cost."""

from __future__ import annotations

import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Problem
from pipelines.estimate import Pilot, estimate, run_pilot
from pipelines.recipe import load_recipe
from pipelines.stages.policy import base_policy
from pipelines.stages.problems import read_both


def pilot(**changes: float) -> Pilot:
    fields = {"samples": 8, "tokens": 10.0, "draw_rate": 100.0, "solved": 0.5, "right": 0.5, "row_tokens": 20.0}
    return Pilot(**({"train_rate": 50.0} | fields | changes))  # type: ignore[arg-type]


def test_every_sample_hint_evaluation_and_step_is_counted_once() -> None:
    recipe = load_recipe(
        "quickstart",
        ["rounds=2", "sampling.n=4", "rationalization.n=2", "sft.steps=10", "sft.growth=1.2", "sft.batch_size=8"],
    )
    found = estimate(pilot(), recipe, n_train=100, n_heldout=30)
    # Base; per arm and round an evaluation; 400 samples in round 1, shared, and in round 2 of both arms; 50 problems
    # fail and then 25, of which the first arm alone shows two hints each.
    assert found.drawn == 10 * (30 + 4 * 30 + 3 * 400 + 2 * 50 + 2 * 25)
    assert found.trained == 2 * (10 + 12) * 8 * 20
    assert found.seconds == found.drawn / 100 + found.trained / 50
    alone = recipe.model_copy(update={"compare_without_rationalization": False})
    assert estimate(pilot(), alone, 100, 30).trained == found.trained / 2


def test_few_rows_shorten_the_training_as_they_will_in_the_run() -> None:
    recipe = load_recipe("quickstart", ["rounds=1", "compare_without_rationalization=false", "sft.max_epochs=1"])
    found = estimate(pilot(solved=0.0, right=0.0), recipe, n_train=256, n_heldout=0)
    # 512 hinted samples, half of them kept: four batches of 64.
    assert found.trained == 4 * 64 * 20


def test_training_in_several_processes_has_no_time() -> None:
    assert estimate(pilot(train_rate=0.0), load_recipe("quickstart"), 100, 30).seconds is None


def test_the_quickstarts_tokens_are_within_a_factor_of_two_of_what_it_took() -> None:
    measured = pilot(samples=512, tokens=38.8, solved=0.42, right=0.27, row_tokens=44.0)
    found = estimate(measured, load_recipe("quickstart"), n_train=974, n_heldout=600 + 106)
    # A finished quickstart's manifest: tokens of the stages that draw, and of those that train.
    for guess, truth in ((found.drawn, 989_778), (found.trained, 2_399_322)):
        assert truth / 2 < guess < truth * 2


def test_samples_that_cannot_be_drawn_are_told_and_not_estimated_as_free() -> None:
    recipe = load_recipe("quickstart", ["sampling.max_tokens=4096", "problems.options={n: 4, difficulty: [1]}"])
    policy = base_policy("embedded", hub_revision=None, engine="transformers", batch_size=8)
    with pytest.raises(UserError, match=r"could not be drawn.*context"):
        run_pilot(recipe, policy, PromptTemplate(recipe.prompt), read_both(recipe)[0].problems)


def test_the_pilot_draws_a_batch_of_whole_problems_and_trains() -> None:
    recipe = load_recipe(
        "quickstart",
        [
            "problems.options={n: 24, difficulty: [1, 3], seed: 1}",
            "evaluation.options={n: 4, seed: 2}",
            "threads=1",
            "engine.batch_size=18",
            "sft.batch_size=8",
            "sft.micro_batch_size=8",
        ],
    )
    policy = base_policy("embedded", hub_revision=None, engine="transformers", batch_size=18)
    problems: list[Problem] = read_both(recipe)[0].problems
    found = run_pilot(recipe, policy, PromptTemplate(recipe.prompt), problems)
    assert found.samples == 20
    assert 1 < found.tokens <= recipe.sampling.max_tokens
    assert 0 < found.right <= found.solved <= 1
    assert found.row_tokens > found.tokens / 2
    assert min(found.draw_rate, found.train_rate) > 0
