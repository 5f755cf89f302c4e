"""Leak measures of a round: every right rationalized row by every test, and what the policy does with wrong hints.

The log-probability gap is taken where the engine holds the model in this process (`transformers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from data.ids import content_id, derive_seed
from data.records import Origin, Problem, Rationale, Status, Verdict
from data.run_records import LeakReport, LogprobGap, WrongHint
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, complete
from star.generation import Request
from star.leaks import leak_report
from star.rationalize import swap_outcomes, swapped_prompts


def measure_leaks(
    context: Context,
    policy: Policy,
    arm: str,
    round_: int,
    problems: Mapping[str, Problem],
    rationales: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
) -> list[LeakReport]:
    """A report of each rationalized rationale whose answer is right; the others are dropped anyway.

    Args:
        context: run, recipe, template.
        policy: what wrote them, for the log-probability gap.
        arm: name of the arm.
        round_: number of the round.
        problems: by id.
        rationales: of the round.
        verdicts: by rationale id.
    """
    rows = [
        row for row in rationales if row.origin is Origin.RATIONALIZED and verdicts[row.id].status is Status.CORRECT
    ]
    if not rows:
        return []
    pairs = [(problems[row.problem_id], row) for row in rows]
    config = context.recipe.leaks
    key = content_id("leaks", policy.revision, config.model_dump_json(), context.template.hash(), CODE_VERSION,
                     *(row.id for row in rows))  # fmt: skip

    def compute() -> Iterator[LeakReport]:
        for (problem, row), gap in zip(pairs, _gaps(context, policy, pairs), strict=True):
            yield leak_report(problem, row, config, gap)

    with context.run.stage(f"{arm} · round {round_} · leak tests"):
        return context.run.unit("leak_reports", f"{arm}-r{round_}-leaks", key, compute)


def _gaps(context: Context, policy: Policy, pairs: Sequence[tuple[Problem, Rationale]]) -> Sequence[LogprobGap | None]:
    from star.generation.transformers_engine import TransformersGenerator
    from star.likelihood import hint_gaps

    if policy.engine != "transformers":
        return [None] * len(pairs)
    generator = policy.generator
    assert isinstance(generator, TransformersGenerator)
    size = context.recipe.sft.micro_batch_size
    return hint_gaps(generator.loaded, context.template, pairs, batch_size=size)


def show_wrong_hints(context: Context, policy: Policy, draw: Draw, problems: Sequence[Problem]) -> None:
    """Show some of the problems a wrong answer as the hint, and store what came of it.

    Args:
        context: run, recipe, template.
        policy: what answers.
        draw: the rationalization that this is the control of.
        problems: of which `rationalization.wrong_hints` are drawn by hash, anew each round.
    """
    seed = derive_seed("wrong_hints", context.recipe.seed, draw.round)
    order = sorted(problems, key=lambda problem: derive_seed(seed, problem.id))
    wanted = context.recipe.rationalization.wrong_hints
    shown = list(islice(swapped_prompts(order, context.template, seed), wanted))
    if not shown:
        return
    key = content_id("wrong_hints", policy.revision, context.template.hash(hinted=True), draw.params.to_json(),
                     CODE_VERSION, *(f"{problem.id} {hint}" for problem, hint, _ in shown))  # fmt: skip
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
