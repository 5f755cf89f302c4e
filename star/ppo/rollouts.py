"""Responses drawn from an engine, as the tokens that were drawn: their steps, where those end, the sampler's opinion.

Any engine will do that returns token ids with log-probabilities. Each sample's seed derives from (run seed, iteration,
problem, number), so that a resumed run draws what the killed one drew. A response that cannot be used is left out and
counted by reason: `engine_error`, `too_short`, `bad_logprobs`, `misplaced`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import FinishReason, Problem
from data.steps import split_steps
from star.encoding import encode_prompt
from star.generation.base import Completion, Generator, Request, SamplingParams
from star.ppo.placement import MisplacedError, step_end_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One response to one problem."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """[T], the end-of-sequence token included when it was drawn."""
    sampler_logprobs: tuple[float, ...]
    """[T], at temperature 1, as the engine gave them."""
    text: str
    steps: tuple[str, ...]
    """The text, cut where the splitter says: the policy has no say in it."""
    step_ends: tuple[int, ...]
    """Index into `token_ids` of the last token of each step."""
    truncated: bool
    """Cut at the token limit."""
    version: int
    """Iteration whose policy drew it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How responses are drawn."""

    template: PromptTemplate
    sampling: SamplingParams
    n: int
    """Samples of each problem."""
    seed: int
    min_tokens: int = 1
    """A shorter response is left out."""

    def requests(self, problems: Sequence[Problem], version: int) -> Iterator[Request]:
        """One request a sample, those of one problem together so that engines read its prompt once."""
        for problem in problems:
            prompt = self.template.render(problem)
            for number in range(self.n):
                seed = derive_seed("ppo", self.seed, version, problem.id, number)
                yield Request(id=f"{version}-{problem.id}-{number}", prompt=prompt, seed=seed, sampling=self.sampling)


def draw(
    engine: Generator, tokenizer: Any, problems: Sequence[Problem], drawing: Drawing, *, version: int
) -> tuple[list[Rollout], Counter[str]]:
    """Draw `n` responses to each problem.

    Args:
        engine: what draws; it must hold the policy of this version.
        tokenizer: the policy's.
        problems: in order.
        drawing: how.
        version: iteration; part of each seed.

    Returns:
        The usable responses, in order, and how many were left out by reason.

    Raises:
        UserError: the engine gives no token ids or no log-probabilities.
    """
    found, dropped = list[Rollout](), Counter[str]()
    requests = list(drawing.requests(problems, version))
    owners = [problem for problem in problems for _ in range(drawing.n)]
    prompts = {request.prompt: tuple(encode_prompt(tokenizer, request.prompt)) for request in requests}
    for problem, request, completion in zip(owners, requests, engine.generate(requests), strict=True):
        reason = _fault(completion, engine, drawing)
        if reason:
            dropped[reason] += 1
            continue
        steps = split_steps(completion.text)
        try:
            ends = step_end_tokens(tokenizer, completion.token_ids, steps)
        except MisplacedError:
            dropped["misplaced"] += 1
            continue
        found.append(
            Rollout(
                problem=problem,
                prompt_ids=prompts[request.prompt],
                token_ids=completion.token_ids,
                sampler_logprobs=completion.logprobs,
                text=completion.text,
                steps=steps,
                step_ends=tuple(ends),
                truncated=completion.finish_reason is FinishReason.LENGTH,
                version=version,
            )
        )
    return found, dropped


def _fault(completion: Completion, engine: Generator, drawing: Drawing) -> str:
    """Why a completion cannot be used, or nothing."""
    if completion.error or completion.finish_reason is FinishReason.ERROR:
        return "engine_error"
    if len(completion.logprobs) != len(completion.token_ids) or (completion.text and not completion.token_ids):
        raise UserError(
            f"the engine '{engine.engine}' gives no log-probability for each token.",
            "Use `transformers` or `vllm`, or a server that returns token ids and log-probabilities.",
        )
    if len(completion.token_ids) < drawing.min_tokens:
        return "too_short"
    return "" if all(map(math.isfinite, completion.logprobs)) else "bad_logprobs"
