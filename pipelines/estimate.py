"""What a run will draw, train on and take, from one batch of samples and two training steps on this machine.

The pilot is the run's own engine, prompts and training on some of its problems, drawn by hash. It cannot know how much
better the rounds make the policy: failures are taken to halve from round to round. What comes after the rounds (PRM,
PPO, preference training) is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from data.errors import UserError
from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import Problem, Status
from pipelines.machine import use_threads
from pipelines.progress import say
from pipelines.recipe import Recipe
from pipelines.stages.policy import Policy
from pipelines.stages.verification import check_texts
from star.generation import Completion, Request

_STEPS = 2
"""Optimizer steps of the pilot; the first one warms up."""
_ACCEPTED = 0.5
"""Share of the rationalized rationales that are taken to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What was measured."""

    samples: int
    tokens: float
    """Generated tokens a sample."""
    draw_rate: float
    """Generated tokens a second."""
    solved: float
    """Share of the problems with a right sample."""
    right: float
    """Share of the samples that are right."""
    row_tokens: float
    """Tokens of a training row: prompt and completion."""
    train_rate: float
    """Tokens that are trained on, a second; 0 if it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the rounds of a run will cost."""

    drawn: int
    """Tokens generated."""
    trained: int
    """Tokens that go through a training."""
    seconds: float | None
    """None where drawing or training could not be measured."""


def estimate(pilot: Pilot, recipe: Recipe, n_train: int, n_heldout: int) -> Estimate:
    """Costs of the rounds.

    Args:
        pilot: what was measured.
        recipe: of the run.
        n_train: problems that are trained on.
        n_heldout: problems that each model is judged by: test and dev.
    """
    rationalizes = recipe.rationalization.enabled
    drawn, trained = float(n_heldout), 0.0
    for arm in range(1 + (rationalizes and recipe.compare_without_rationalization)):
        for number in range(1, recipe.rounds + 1):
            failed = n_train * (1 - pilot.solved) * 0.5 ** (number - 1)
            hinted = failed * recipe.rationalization.p * recipe.rationalization.n if rationalizes and not arm else 0.0
            # The arms share the first round's samples.
            sampled = n_train * recipe.sampling.n if number > 1 or not arm else 0
            drawn += sampled + hinted + n_heldout
            rows = _kept(pilot, recipe, n_train - failed) + hinted * _ACCEPTED
            steps = recipe.sft.capped(recipe.sft.steps_of_round(number), max(1, round(rows)))
            trained += steps * min(recipe.sft.batch_size, max(1, rows)) * pilot.row_tokens
    drawn *= pilot.tokens
    known = pilot.draw_rate and pilot.train_rate
    seconds = drawn / pilot.draw_rate + trained / pilot.train_rate if known else None
    return Estimate(drawn=round(drawn), trained=round(trained), seconds=seconds)


def _kept(pilot: Pilot, recipe: Recipe, solved: float) -> float:
    """Sampled rationales that a round keeps of its solved problems."""
    right = recipe.sampling.n * pilot.right / pilot.solved if pilot.solved else 0.0
    return solved * min(recipe.selection.max_per_problem, max(1.0, right))


def run_pilot(recipe: Recipe, policy: Policy, template: PromptTemplate, problems: Sequence[Problem]) -> Pilot:
    """Draw one batch and train two steps.

    Args:
        recipe: of the run.
        policy: the base; its memory is freed before the training.
        template: of the prompts.
        problems: those that are trained on.

    Raises:
        UserError: so many samples could not be drawn that the run would stop.
    """
    use_threads(recipe.threads)  # As many as the run will take.
    n = recipe.sampling.n
    wanted = ceil(min(recipe.engine.batch_size, recipe.shard_size * n) / n)
    chosen = sorted(problems, key=lambda problem: derive_seed("estimate", recipe.seed, problem.id))[:wanted]
    owners = [problem for problem in chosen for _ in range(n)]
    requests = [
        Request(id=str(place), prompt=template.render(problem), seed=place, sampling=recipe.sampling.params())
        for place, problem in enumerate(owners)
    ]
    say(f"estimate: drawing {len(requests)} samples and training {_STEPS} steps")
    list(policy.generator.generate(requests[:1]))
    started = time.monotonic()
    completions = list(policy.generator.generate(requests))
    seconds = time.monotonic() - started
    policy.release()
    failed = [row.error for row in completions if row.error]
    if len(failed) > recipe.max_undecided_share * len(completions):
        raise UserError(f"{len(failed)} of {len(completions)} samples could not be drawn; the first: {failed[0]}.",
                        "The run would stop there: mend the recipe.")  # fmt: skip
    verdicts = check_texts(owners, [row.text for row in completions], [row.finish_reason for row in completions])
    right = [place for place, verdict in enumerate(verdicts) if verdict.status is Status.CORRECT]
    rows = [(requests[place].prompt, completions[place]) for place in right or range(len(requests))]
    row_tokens, train_rate = _train(recipe, policy, rows)
    return Pilot(
        samples=len(requests),
        tokens=fmean(row.n_tokens for row in completions),
        draw_rate=sum(row.n_tokens for row in completions) / max(seconds, 1e-9),
        solved=len({owners[place].id for place in right}) / len(chosen),
        right=len(right) / len(requests),
        row_tokens=row_tokens,
        train_rate=train_rate,
    )


def _train(recipe: Recipe, policy: Policy, pairs: Sequence[tuple[str, Completion]]) -> tuple[float, float]:
    """Tokens of a training row, and tokens trained on a second (0: several processes, which cost too much to start)."""
    from star.checkpoints import load_checkpoint
    from star.encoding import encode_completion, encode_prompt, pad_id
    from star.sft import Row, fine_tune

    loaded = load_checkpoint(policy.path, revision=policy.hub_revision, dtype="float32")
    tokenizer = loaded.tokenizer
    rows = [Row(encode_prompt(tokenizer, prompt), encode_completion(tokenizer, row.text)) for prompt, row in pairs]
    mean = fmean(row.n_tokens for row in rows)
    if recipe.sft.processes > 1:
        return mean, 0.0
    # As many rows as two whole batches take, so that a step is as large as the run's.
    size = recipe.sft.batch_size
    rows = (rows * ceil(_STEPS * size / len(rows)))[: _STEPS * size]
    times: list[float] = []
    report = fine_tune(
        loaded.model, rows, recipe.sft, steps=_STEPS, pad=pad_id(tokenizer), seed=0,
        on_step=lambda *_: times.append(time.monotonic()),
    )[1]  # fmt: skip
    return mean, report.tokens / report.steps / max(times[-1] - times[0], 1e-9)
