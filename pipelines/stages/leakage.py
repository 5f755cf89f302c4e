"""Leak measures of a round: every right rationalized row by every test, and what the policy does with wrong hints.

The log-probability gap is taken where the engine holds the model in this process (`transformers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from data.batching import Smallest
from data.ids import content_id, derive_seed
from data.records import Origin, Problem, Rationale, Status
from data.run_records import LeakReport, LogprobGap, WrongHint
from pipelines.recipe import Recipe
from pipelines.stages.drawing import complete
from pipelines.stages.groups import Group
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context, Draw
from star.generation import Request
from star.leaks import leak_report, quarantine
from star.rationalize import swap_outcomes, swapped_prompts, wrong_hint


def measure_leaks(
    context: Context, policy: Policy, arm: str, round_: int, place: int, groups: Sequence[Group]
) -> set[str]:
    """Test each rationalized rationale whose answer is right; the others are dropped anyway.

    Args:
        context: run, recipe, template.
        policy: what wrote them, for the log-probability gap.
        arm: name of the arm.
        round_: number of the round.
        place: of these problems among the shards of the round.
        groups: problems with the round's rationales.

    Returns:
        The ids of those in quarantine.
    """
    pairs = [
        (group.problem, row)
        for group in groups
        for row in group.rationales
        if row.origin is Origin.RATIONALIZED and group.verdicts[row.id].status is Status.CORRECT
    ]
    if not pairs:
        return set()
    key = content_id("leaks", policy.facts, str(context.recipe.sft.micro_batch_size),
                     context.recipe.leaks.model_dump_json(), context.template.hash(),
                     CODE_VERSION, *(row.id for _, row in pairs))  # fmt: skip
    compute = partial(_reports, context, policy, pairs)
    reports = context.run.unit("leak_reports", f"{arm}-r{round_}-leaks-{place:05d}", key, compute)
    return set(quarantine(reports, [row for _, row in pairs]))


def _reports(context: Context, policy: Policy, pairs: Sequence[tuple[Problem, Rationale]]) -> Iterator[LeakReport]:
    for (problem, row), gap in zip(pairs, _gaps(context, policy, pairs), strict=True):
        yield leak_report(problem, row, context.recipe.leaks, gap)


def _gaps(context: Context, policy: Policy, pairs: Sequence[tuple[Problem, Rationale]]) -> Sequence[LogprobGap | None]:
    from star.generation.transformers_engine import TransformersGenerator
    from star.likelihood import hint_gaps

    if policy.engine != "transformers":
        return [None] * len(pairs)
    generator = policy.generator
    assert isinstance(generator, TransformersGenerator)
    size = context.recipe.sft.micro_batch_size
    return hint_gaps(generator.loaded, context.template, pairs, batch_size=size)


def wrong_hint_problems(recipe: Recipe, draw: Draw) -> Smallest[Problem]:
    """Draws `rationalization.wrong_hints` problems by hash, anew each round, of those that it watches go by."""
    seed = _seed(recipe, draw)
    return Smallest(recipe.rationalization.wrong_hints, lambda problem: derive_seed(seed, problem.id),
                    wanted=lambda problem: bool(wrong_hint(problem, seed)))  # fmt: skip


def _seed(recipe: Recipe, draw: Draw) -> int:
    return derive_seed("wrong_hints", recipe.seed, draw.round)


def show_wrong_hints(context: Context, policy: Policy, draw: Draw, problems: Sequence[Problem]) -> None:
    """Show problems a wrong answer as the hint, and store what came of it.

    Args:
        context: run, recipe, template.
        policy: what answers.
        draw: the rationalization that this is the control of.
        problems: with a wrong hint each; see `wrong_hint_problems`.
    """
    if not problems:
        return
    shown = list(swapped_prompts(problems, context.template, _seed(context.recipe, draw)))
    key = content_id(
        "wrong_hints",
        policy.facts,
        context.template.hash(hinted=True),
        draw.params.to_json(),
        f"{CODE_VERSION} {context.recipe.seed}",
        *(f"{problem.id} {hint}" for problem, hint, _ in shown),
    )
    compute = partial(_answer_wrong_hints, context, policy, draw, shown)
    with context.run.stage(f"{draw.arm} · round {draw.round} · wrong hints"):
        context.run.unit("wrong_hints", f"{draw.arm}-r{draw.round}", key, compute)


def _answer_wrong_hints(
    context: Context, policy: Policy, draw: Draw, shown: Sequence[tuple[Problem, str, str]]
) -> Iterator[WrongHint]:
    requests = [
        Request(
            id=problem.id,
            prompt=prompt,
            seed=derive_seed(context.recipe.seed, "wrong hint", draw.round, problem.id),
            sampling=draw.params,
        )
        for problem, _, prompt in shown
    ]
    completions = complete(policy, requests)
    outcomes = swap_outcomes([(problem, hint) for problem, hint, _ in shown], [row.text for row in completions])
    for (problem, hint, _), completion, outcome in zip(shown, completions, outcomes, strict=True):
        yield WrongHint(
            problem_id=problem.id,
            arm=draw.arm,
            round=draw.round,
            hint=hint,
            text=completion.text,
            outcome=outcome,
            n_tokens=completion.n_tokens,
        )
