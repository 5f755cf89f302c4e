"""Reward functions for other trainers over this project's verifiers: verl's `compute_score`, OpenRLHF's `reward_func`.

An export brings a `reward.py` that imports them, so the trainer's environment needs this package, but neither its torch
nor its transformers. Neither trainer lets a reward function leave a sample out of the loss: a check that could not
decide is made again with more time, and then gives 0 with `undecided` 1 beside it, which the trainer's logs show.
`step_rewards` gives a value a step, for trainers that take dense rewards.

Interfaces as of verl 0.9.1 and OpenRLHF 0.11.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from data.records import FinishReason, Kind, Problem, Status
from data.steps import split_steps
from verifiers import StepStatus, check_answer, check_steps

_PATIENCE_S = 10.0
"""Time for the second attempt of a check that could not decide."""
_CLOSING = re.compile(r"(?:<[|｜][^<>|｜]{1,40}[|｜]>|</s>|<eos>|<pad>|<end_of_turn>)\Z")
"""A control token at the end of a text that was decoded with them."""
_CLOSING_CHARS = 48
_VALUES = {StepStatus.CORRECT: 1.0, StepStatus.INCORRECT: 0.0, StepStatus.NOT_CHECKABLE: None}


@dataclass(frozen=True, slots=True)
class StepReward:
    """The value of one step."""

    end: int
    """The character of the response behind the step's last one."""
    value: float | None
    """1 if what the step states holds, 0 if not, None where it states nothing that can be checked."""


def step_rewards(problem: str, response: str) -> list[StepReward]:
    """A value for each step of a response, in order; the last one ends where the response does.

    Args:
        problem: the question.
        response: the text as it was drawn.
    """
    steps = split_steps(response)
    ends = accumulate(len(step) for step in steps)
    verdicts = check_steps(problem, steps)
    return [StepReward(end, _VALUES[verdict.status]) for end, verdict in zip(ends, verdicts, strict=True)]


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """The custom reward function of verl.

    Args:
        data_source: name of the source; not used.
        solution_str: the response.
        ground_truth: the gold answer, or the tests of a problem of kind `code`.
        extra_info: `kind` and `problem` of the export's rows; without them a mathematical answer is compared.

    Returns:
        `score` (1 right, 0 wrong), the same as `acc`, `undecided` (0 or 1), and of the steps that can be checked the
        share that holds, 1 where none can.
    """
    facts = extra_info or {}
    return _score(facts.get("kind") or Kind.MATH, facts.get("problem") or "", solution_str, ground_truth)


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """The reward function of OpenRLHF.

    Args:
        queries: prompts with their responses, control tokens included.
        prompts: the prompts.
        labels: the export's `label` column: JSON with `kind`, `ground_truth` and `problem`.

    Returns:
        `rewards` and `scores`, and each number of `compute_score` in `extra_logs`; tensors of one number a query.
    """
    import torch

    found = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        facts = json.loads(label)
        response = _without_closing(query.removeprefix(prompt))
        found.append(_score(facts["kind"], facts["problem"], response, facts["ground_truth"]))
    columns = {name: torch.tensor([one[name] for one in found]) for name in found[0]}
    return {"rewards": columns["score"], "scores": columns["score"], "extra_logs": columns}


def _without_closing(text: str) -> str:
    """A response without the control tokens that end it: `42<|im_end|>` would be no number."""
    text = text.rstrip()
    while closing := _CLOSING.search(text, max(0, len(text) - _CLOSING_CHARS)):
        text = text[: closing.start()].rstrip()
    return text


def _score(kind: str, problem: str, response: str, ground_truth: str) -> dict[str, float]:
    status = _status(Kind(kind), problem, response, ground_truth)
    values = [step.value for step in step_rewards(problem, response) if step.value is not None]
    right = float(status is Status.CORRECT)
    return {
        "score": right,
        "acc": right,
        "undecided": float(status is Status.UNDECIDED),
        "steps_right": sum(values) / len(values) if values else 1.0,
    }


def _status(kind: Kind, problem: str, response: str, ground_truth: str) -> Status:
    if kind is Kind.CODE:
        return _program_status(Problem.create(prompt=problem, answer="", kind=kind, tests=ground_truth), response)
    how = "choice" if kind is Kind.CHOICE else "text"
    verdict = check_answer(ground_truth, response, kind=how)
    if verdict.status is Status.UNDECIDED:
        verdict = check_answer(ground_truth, response, kind=how, timeout_s=_PATIENCE_S)
    return verdict.status


def _program_status(problem: Problem, response: str) -> Status:
    from pipelines.stages.verification import check_texts

    (verdict,) = check_texts([problem], [response], [FinishReason.STOP])
    return verdict.status
