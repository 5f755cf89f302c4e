"""Responses made by hand, for tests of what follows the drawing."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from star.checkpoints import LoadedModel
from star.encoding import encode_completion, encode_prompt
from star.ppo.judging import Judged
from star.ppo.placement import place_rewards, step_end_tokens
from star.ppo.rollouts import Rollout

TEMPLATE = PromptTemplate("arithmetic")


def fresh(tiny: LoadedModel) -> LoadedModel:
    """A copy of the embedded model, to be changed."""
    return LoadedModel(copy.deepcopy(tiny.model), tiny.tokenizer, tiny.name, tiny.revision)


def problems(n: int, split: str = "train") -> list[Problem]:
    return list(read_arithmetic({"difficulty": {1: n - n // 2, 3: n // 2}, "seed": 3}, split))


def rollout(tiny: LoadedModel, problem: Problem, text: str, *, truncated: bool = False) -> Rollout:
    ids = encode_completion(tiny.tokenizer, text)
    steps = split_steps(text)
    return Rollout(
        problem=problem,
        prompt_ids=tuple(encode_prompt(tiny.tokenizer, TEMPLATE.render(problem))),
        token_ids=tuple(ids),
        sampler_logprobs=(-0.1,) * len(ids),
        text=text,
        steps=steps,
        step_ends=tuple(step_end_tokens(tiny.tokenizer, ids, steps)),
        truncated=truncated,
        version=0,
    )


def judged(tiny: LoadedModel, n: int) -> list[Judged]:
    """Ragged responses with distinct rewards; every third is wrong."""
    found = []
    for place, problem in enumerate(problems(n)):
        text = problem.solution if place % 3 else f"{problem.solution}1"
        row = rollout(tiny, problem, text)
        credit = [0.1 * (place + 1) - 0.3 * at for at in range(len(row.steps))]
        rewards = place_rewards(len(row.token_ids), row.step_ends, credit, float(place % 3 > 0))
        found.append(Judged(rollout=row, rewards=tuple(rewards), solved=place % 3 > 0, proxy=sum(credit)))
    return found


def texts(rows: Sequence[Judged]) -> list[str]:
    return [row.rollout.text for row in rows]
