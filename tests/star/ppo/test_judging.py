"""From responses to rewards: undecided is not wrong, truncated is never scored, and each reward is on its token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from data.records import Kind, Problem, Status
from star.checkpoints import LoadedModel
from star.generation.base import SamplingParams
from star.generation.transformers_engine import TransformersGenerator
from star.ppo.batches import minibatches, prepare
from star.ppo.config import CreditConfig, PpoConfig
from star.ppo.judging import Solutions, judge, verify_texts
from star.ppo.layouts import HydraLayout
from star.ppo.rollouts import Drawing, Rollout, draw
from star.ppo.update import Faults, make_optimizer, update
from tests.star.ppo.samples import TEMPLATE, fresh, problems, rollout

STEPS = "12+3=15\n15-4=11\n#### 11"


def rows(tiny: LoadedModel, n: int) -> list[Rollout]:
    return [rollout(tiny, problem, problem.solution) for problem in problems(n)]


def says(*statuses: Status) -> Any:
    return lambda pairs: list(statuses)


def half(solutions: Solutions) -> list[list[float]]:
    return [[0.4] * len(steps) for _, steps in solutions]


def test_step_rewards_and_outcome_are_on_their_tokens(tiny: LoadedModel) -> None:
    row = rollout(tiny, problems(2)[0], STEPS)
    config = PpoConfig(credit=CreditConfig(form="sum"), process_weight=0.5, outcome_weight=2.0)
    (found,), _ = judge([row], config, verify=says(Status.CORRECT), scorer=lambda _: [[0.1, 0.2, 0.4]])
    assert {at: value for at, value in enumerate(found.rewards) if value} == pytest.approx(
        {7: 0.05, 15: 0.1, 19: 0.2, 20: 2.0}
    )
    assert (found.solved, found.proxy) == (True, pytest.approx(0.7))
    assert row.token_ids[20] == tiny.tokenizer.eos_token_id


@pytest.mark.parametrize("status", [Status.INCORRECT, Status.NO_ANSWER])
def test_a_wrong_or_missing_answer_gets_no_outcome(tiny: LoadedModel, status: Status) -> None:
    (found,), _ = judge(rows(tiny, 2)[:1], PpoConfig(process_weight=0.0), verify=says(status), scorer=None)
    assert not any(found.rewards)


def test_an_undecided_verdict_has_exactly_no_gradient(small: LoadedModel) -> None:
    """Training with an undecided response among the others gives, to the last bit, the weights of training without."""
    four = rows(small, 4)
    config = PpoConfig(minibatch_size=2, micro_batch_size=2, epochs=2, learning_rate=1e-3, max_undecided_share=0.5)
    trained = []
    for kept, statuses in (
        (four, (Status.CORRECT, Status.UNDECIDED, Status.INCORRECT, Status.CORRECT)),
        ([four[0], *four[2:]], (Status.CORRECT, Status.INCORRECT, Status.CORRECT)),
    ):
        found, dropped = judge(kept, config, verify=says(*statuses), scorer=half)
        assert dropped == ({"undecided": 1} if len(kept) == 4 else {})
        layout = HydraLayout(fresh(small), rank=2, seed=1)
        batches = minibatches(found, config, pad=0, seed=1)
        prepare(batches, layout, config, temperature=1.0, kl_coefficient=0.1)
        faults = Faults(Path("unused"))
        update(
            layout,
            make_optimizer(layout, config),
            batches,
            config,
            faults,
            temperature=1.0,
            kl_coefficient=0.1,
            seed=1,
        )
        trained.append({name: weight.detach() for name, weight in layout.actor_weights.items()})
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    assert any(weight.any() for name, weight in trained[0].items() if "lora_B" in name)


@pytest.mark.parametrize("rule", ["penalty", "drop"])
def test_a_truncated_response_is_neither_scored_nor_verified(tiny: LoadedModel, rule: str) -> None:
    whole, cut = rows(tiny, 2)
    seen: list[str] = []

    def verify(pairs: Any) -> list[Status]:
        seen.extend(text for _, text in pairs)
        return [Status.CORRECT] * len(pairs)

    def scorer(solutions: Solutions) -> list[list[float]]:
        assert [problem for problem, _ in solutions] == [whole.problem.prompt]
        return [[1.0] * len(whole.steps)]

    config = PpoConfig(truncation=rule, truncation_reward=-0.5, credit=CreditConfig(form="sum"))
    found, dropped = judge([whole, replace(cut, truncated=True)], config, verify=verify, scorer=scorer)
    assert seen == [whole.text]
    if rule == "drop":
        assert (len(found), dropped) == (1, {"truncated": 1})
    else:
        assert [value for value in found[1].rewards if value] == [-0.5]
        assert found[1].rewards[-1] == -0.5
        assert (found[1].solved, found[1].proxy) == (False, 0.0)


def test_progress_starts_from_the_problems_own_rate_of_success(tiny: LoadedModel) -> None:
    problem = problems(2)[0]
    pair = [rollout(tiny, problem, "1\n2"), rollout(tiny, problem, "1\n3")]
    config = PpoConfig(credit=CreditConfig(form="progress"), outcome_weight=1.0)
    found, _ = judge(pair, config, verify=says(Status.CORRECT, Status.INCORRECT), scorer=lambda _: [[0.75, 1.0]] * 2)
    assert found[0].rewards == pytest.approx((0.0, 0.25, 0.25, 1.0))


def test_all_solutions_are_scored_at_once_and_each_keeps_its_own(tiny: LoadedModel) -> None:
    three, calls = rows(tiny, 3), list[int]()

    def scorer(solutions: Solutions) -> list[list[float]]:
        calls.append(len(solutions))
        return [[(place + 1) / 4] * len(steps) for place, (_, steps) in enumerate(solutions)]

    statuses = says(Status.CORRECT, Status.UNDECIDED, Status.INCORRECT)
    config = PpoConfig(credit=CreditConfig(form="sum"), max_undecided_share=0.5)
    found, _ = judge(three, config, verify=statuses, scorer=scorer)
    assert calls == [2]
    assert [row.proxy / len(row.rollout.steps) for row in found] == pytest.approx([0.25, 0.5])


def test_a_scorer_that_leaves_out_a_solution_is_an_error(tiny: LoadedModel) -> None:
    statuses = says(Status.CORRECT, Status.CORRECT)
    with pytest.raises(UserError, match="answered 1 of 2 solutions"):
        judge(rows(tiny, 2), PpoConfig(), verify=statuses, scorer=lambda found: half(found[:1]))


def test_gated_credit_hangs_on_the_verdict(tiny: LoadedModel) -> None:
    config = PpoConfig(credit=CreditConfig(form="gated"))
    found, _ = judge(rows(tiny, 2), config, verify=says(Status.CORRECT, Status.INCORRECT), scorer=half)
    assert [row.proxy > 0 for row in found] == [True, False]


def test_the_verifier_knows_answers_and_choices_and_refuses_programs() -> None:
    choice = Problem.create(prompt="Which?", answer="B", kind=Kind.CHOICE, choices=("x", "y"))
    number = Problem.create(prompt="1+1=?", answer="2")
    pairs = [(number, "#### 2"), (choice, "The answer is (B)."), (number, "#### 3"), (choice, "The answer is (A).")]
    assert verify_texts(pairs) == [Status.CORRECT, Status.CORRECT, Status.INCORRECT, Status.INCORRECT]
    program = Problem.create(prompt="Write f.", answer="", kind=Kind.CODE, tests="assert f()")
    with pytest.raises(UserError, match="verify"):
        verify_texts([(program, "def f(): return 1")])


def test_drawing_again_draws_the_same_and_another_iteration_draws_other_samples(tiny: LoadedModel) -> None:
    drawing = Drawing(template=TEMPLATE, sampling=SamplingParams(max_tokens=30, temperature=2.0), n=2, seed=5)
    engine = TransformersGenerator(tiny)
    first, again, later = (draw(engine, tiny.tokenizer, problems(2), drawing, version=at)[0] for at in (1, 1, 2))
    assert first == again
    assert [row.token_ids for row in first] != [row.token_ids for row in later]
    assert len({row.token_ids for row in first}) == 4
    for row in first:
        assert len(row.token_ids) == len(row.sampler_logprobs)
        assert len(row.step_ends) == len(row.steps)
        assert "".join(row.steps) == row.text
