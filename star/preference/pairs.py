"""Pairs of a right and a wrong solution of one problem, as the token rows that a preference loss compares.

Each wrong solution meets the right one that it shares the most steps with, so that a pair differs where it matters.
What the two share has the same log-probability in both and cancels in every loss: it becomes part of the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.prompts import PromptTemplate
from data.records import Problem
from star.encoding import encode_completion, encode_prompt
from star.ppo.placement import step_end_tokens
from star.preference.config import Loss
from star.preference.losses import discounts
from star.sft import Row

Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two solutions of one problem."""

    problem: Problem
    chosen: Steps
    """Steps of the solution with the right answer."""
    rejected: Steps
    """Steps of the one with a wrong answer."""

    @property
    def n_shared(self) -> int:
        """Steps from the first on that the two have in common."""
        return _n_shared(self.chosen, self.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a pair as tokens."""

    row: Row
    """Its prompt ends with what both sides share."""
    weights: tuple[float, ...]
    """[T], of the completion's tokens in the score."""


def _n_shared(one: Sequence[object], other: Sequence[object]) -> int:
    """Length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def solution_pairs(problem: Problem, right: Sequence[Steps], wrong: Sequence[Steps], *, limit: int) -> list[Pair]:
    """One pair for each distinct wrong solution: it, and the right solution that shares the most steps with it.

    Args:
        problem: of all of them.
        right: solutions with the right answer; the earlier of equals is chosen.
        wrong: solutions with a wrong one.
        limit: pairs at most; the first wrong solutions count.
    """
    found = []
    for rejected in list(dict.fromkeys(wrong))[:limit] if right else []:
        candidates = (Pair(problem=problem, chosen=chosen, rejected=rejected) for chosen in right)
        found.append(max(candidates, key=lambda pair: pair.n_shared))
    return found


def encode_pair(
    tokenizer: Any, template: PromptTemplate, pair: Pair, loss: Loss, *, gamma: float = 1.0
) -> tuple[Side, Side] | None:
    """Chosen and rejected side as a loss sees them; None where their tokens do not tell them apart.

    Args:
        tokenizer: the policy's.
        template: of the prompts.
        pair: two solutions.
        loss: `dpo` compares all that follows the shared tokens; `step_dpo` the first step that differs alone; `cpl` the
            steps that follow, each discounted by those before it.
        gamma: discount a step, for `cpl`.
    """
    end = pair.n_shared + 1 if loss == "step_dpo" else None
    texts = [_ids(tokenizer, steps, end) for steps in (pair.chosen, pair.rejected)]
    shared = _n_shared(*texts)
    if any(len(ids) == shared for ids in texts):
        return None
    prompt = encode_prompt(tokenizer, template.render(pair.problem))
    chosen, rejected = (
        Side(
            row=Row([*prompt, *ids[:shared]], ids[shared:], name=pair.problem.id),
            weights=_weights(tokenizer, ids, shared, steps[:end], gamma if loss == "cpl" else 1.0),
        )
        for ids, steps in zip(texts, (pair.chosen, pair.rejected), strict=True)
    )
    return chosen, rejected


def _ids(tokenizer: Any, steps: Steps, end: int | None) -> list[int]:
    """Tokens of the first steps; the end-of-sequence token belongs to the last step alone."""
    ids = encode_completion(tokenizer, "".join(steps[:end]))
    return ids if end is None or end >= len(steps) else ids[:-1]


def _weights(tokenizer: Any, ids: Sequence[int], shared: int, steps: Steps, gamma: float) -> tuple[float, ...]:
    n_tokens = len(ids) - shared
    if gamma == 1:
        return (1.0,) * n_tokens
    ends = [at - shared for at in step_end_tokens(tokenizer, ids, steps) if at >= shared]
    return tuple(discounts(n_tokens, ends, gamma))


def encode_pairs(
    tokenizer: Any, template: PromptTemplate, pairs: Sequence[Pair], loss: Loss, *, gamma: float = 1.0
) -> tuple[list[tuple[Side, Side]], Counter[str]]:
    """`encode_pair` of each; what is left out is counted: `same_tokens`, and `repeated` steps of `step_dpo`."""
    found: dict[tuple[tuple[int, ...], ...], tuple[Side, Side]] = {}
    dropped: Counter[str] = Counter()
    for pair in pairs:
        sides = encode_pair(tokenizer, template, pair, loss, gamma=gamma)
        if sides is None:
            dropped["same_tokens"] += 1
            continue
        key = tuple(tuple(ids) for side in sides for ids in (side.row.prompt, side.row.completion))
        dropped["repeated"] += key in found
        found.setdefault(key, sides)
    return list(found.values()), +dropped
