"""The pairwise reward model: learns what is compared, its reference has mean 0, and PPO can use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.arithmetic import read_arithmetic
from star.checkpoints import EMBEDDED, LoadedModel, save_checkpoint
from star.preference.config import RewardModelConfig
from star.preference.reward_model import (
    Group,
    RewardModel,
    build_reward_model,
    load_reward_model,
    response_row,
    train_reward_model,
)

TEMPLATE = PromptTemplate("arithmetic")
CONFIG = RewardModelConfig(steps=12, batch_size=4, learning_rate=1e-3, max_epochs=9.0)


def groups_of(tiny: LoadedModel, n: int = 8) -> list[Group]:
    """Worked solutions are right; those that stop after a step are wrong."""
    found = []
    for problem in read_arithmetic({"difficulty": {2: n}, "seed": 5}):
        solution = problem.solution or ""
        texts = [solution, solution.split("\n")[0], "#### 1", solution]
        rows = [response_row(tiny.tokenizer, TEMPLATE, problem, text) for text in texts]
        found.append(Group(rows, [True, False, False, True]))
    return found


@pytest.fixture(scope="module")
def trained(tiny: LoadedModel) -> tuple[RewardModel, tuple[float, ...]]:
    model = build_reward_model(str(EMBEDDED), seed=1)
    return model, train_reward_model(model, groups_of(tiny), CONFIG, seed=0)


def rewards(model: RewardModel, groups: list[Group]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([model.rewards(group.rows) for group in groups])


def test_all_pairs_of_a_prompt_are_compared() -> None:
    assert Group([], [True, False, False, True]).better == [(0, 1), (0, 2), (3, 1), (3, 2)]
    assert Group([], [True, True]).better == []


def test_a_new_reward_model_is_loaded_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    # transformers prints a table of the weights that are new.
    build_reward_model(str(EMBEDDED), seed=0)
    assert capfd.readouterr() == ("", "")


def test_right_responses_get_the_higher_reward(
    tiny: LoadedModel, trained: tuple[RewardModel, tuple[float, ...]]
) -> None:
    model, losses = trained
    assert losses[-1] < 0.5 * losses[0]
    found = rewards(model, groups_of(tiny))
    assert (found[:, [0, 3]].min(1).values > found[:, [1, 2]].max(1).values).all()


def test_the_rewards_of_the_reference_have_mean_zero(
    tiny: LoadedModel, trained: tuple[RewardModel, tuple[float, ...]]
) -> None:
    assert rewards(trained[0], groups_of(tiny)).mean().item() == pytest.approx(0.0, abs=1e-5)


def test_a_response_has_the_reward_that_it_has_alone(
    tiny: LoadedModel, trained: tuple[RewardModel, tuple[float, ...]]
) -> None:
    group = groups_of(tiny, 1)[0]
    with torch.no_grad():
        alone = [trained[0].rewards([row]).item() for row in group.rows]
        together = trained[0].rewards(group.rows).tolist()
    assert together == pytest.approx(alone, abs=1e-5)


def test_what_is_loaded_gives_what_was_saved(
    tiny: LoadedModel, trained: tuple[RewardModel, tuple[float, ...]], tmp_path: Path
) -> None:
    model, _ = trained
    save_checkpoint(LoadedModel(model.model, tiny.tokenizer, "rm", ""), tmp_path / "rm", provenance=model.facts())
    loaded = load_reward_model(tmp_path / "rm")
    assert torch.allclose(rewards(loaded, groups_of(tiny)), rewards(model, groups_of(tiny)), atol=1e-6)
    with pytest.raises(UserError, match="no reward model"):
        load_reward_model(EMBEDDED)


def test_ppo_gets_the_reward_on_the_last_step(
    tiny: LoadedModel, trained: tuple[RewardModel, tuple[float, ...]]
) -> None:
    model, _ = trained
    problem = Problem.create(prompt="12+3=?", answer="15")
    score = model.step_scorer(TEMPLATE, {problem.prompt: problem})
    steps = ("12+3=15\n", "#### 15")
    with torch.no_grad():
        expected = model.rewards([response_row(tiny.tokenizer, TEMPLATE, problem, "".join(steps))]).item()
    assert score([(problem.prompt, steps)] * 2) == [[0.0, pytest.approx(expected)]] * 2


def test_without_a_comparison_there_is_nothing_to_learn(tiny: LoadedModel) -> None:
    model = build_reward_model(str(EMBEDDED), seed=1)
    same = [Group(group.rows[:1], [True]) for group in groups_of(tiny)]
    with pytest.raises(UserError, match="both a right and a wrong"):
        train_reward_model(model, same, CONFIG, seed=0)
