"""`stepstar validate`: what can be known before anything is spent.

Reads the problems, checks that gold answers pass their own verifier, looks at the model folder, and shows the first
rendered prompts, plain and hinted. One batch of samples and two training steps say what the run will cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import FinishReason, Kind, Problem, Status
from pipelines.estimate import estimate, run_pilot
from pipelines.recipe import EngineConfig, ModelConfig, Recipe, SourceConfig
from pipelines.stages.policy import Policy, base_policy
from pipelines.stages.problems import Reading, check_reading, read_both, split_dev
from pipelines.stages.verification import check_texts
from star.rationalize import hint_of
from verifiers import check_gold

_SHOWN = 5
"""How many offenders are printed."""


def _check_golds(problems: Sequence[Problem], what: str) -> None:
    """Every gold answer against itself.

    Raises:
        UserError: some gold answers fail their own check.
    """
    golds = [(problem, check_gold(problem.answer)) for problem in problems if problem.kind is not Kind.CODE]
    bad = [(problem, verdict) for problem, verdict in golds if verdict.status is not Status.CORRECT]
    literal = [problem for problem, verdict in golds if verdict.detail == "unparsed"]
    for problem, verdict in bad[:_SHOWN]:
        print(f"  gold answer {problem.answer!r} of problem {problem.id}: {verdict.status} ({verdict.detail})")
    if literal:
        shown = ", ".join(repr(problem.answer) for problem in literal[:_SHOWN])
        print(f"  {len(literal)} gold answers cannot be parsed and will match the very same text only: {shown}")
    if bad:
        raise UserError(
            f"{what}: {len(bad)} of {len(problems)} gold answers do not pass their own check.",
            "Mend or drop those problems.",
        )


def _check_references(problems: Sequence[Problem], what: str, most: float) -> None:
    """Every reference program against its problem's tests.

    Raises:
        UserError: a larger share than `most` does not pass.
    """
    known = [problem for problem in problems if problem.kind is Kind.CODE and problem.solution]
    verdicts = check_texts(known, [problem.solution for problem in known], [FinishReason.STOP] * len(known))
    bad = [(problem, verdict) for problem, verdict in zip(known, verdicts, strict=True)
           if verdict.status is not Status.CORRECT]  # fmt: skip
    for problem, verdict in bad[:_SHOWN]:
        print(f"  reference solution of problem {problem.id}: {verdict.detail}")
    if len(bad) > most * len(known):
        raise UserError(
            f"{what}: {len(bad)} of {len(known)} reference solutions fail their own tests (limit {most:.0%}).",
            "Mend or drop those problems, or raise `max_reject_share`.",
        )


def _show(reading: Reading, recipe: Recipe, what: str) -> None:
    reasons = ", ".join(f"{reason} {count}" for reason, count in reading.rejected.items())
    print(
        f"{what}: {len(reading.problems)} problems from {reading.config.source}, "
        f"{reading.rejected.total()} rows rejected {reasons}".rstrip()
    )
    for reject in reading.rejects:
        print(f"  {reject.where}: {reject.reason} {reject.detail}".rstrip())
    check_reading(reading, recipe)
    _check_golds(reading.problems, what)
    _check_references(reading.problems, what, recipe.max_reject_share)


def check_inputs(sources: Sequence[SourceConfig], template: str, model: ModelConfig, engine: EngineConfig) -> None:
    """Look whether what a run begins with can be had, without going through it: before `--fresh` deletes anything.

    Args:
        sources: what the problems are read from; the first usable one of each is read.
        template: name or path of the prompt template; empty if it is chosen later.
        model: the model that the first samples come from.
        engine: what draws them.

    Raises:
        UserError: a file, column, template or model is not to be had.
    """
    if template:
        PromptTemplate(template)
    for source in sources:
        next(Reading(source.model_copy(update={"limit": None})).stream(seed=0), None)
    base_policy(model.name, hub_revision=model.revision, engine=engine.type, batch_size=engine.batch_size,
                options=engine.options)  # fmt: skip


def validate_recipe(recipe: Recipe, *, estimates: bool = True) -> None:
    """Check a recipe and print what was found.

    Args:
        recipe: what to check.
        estimates: draw a few samples and train two steps, to say what the run will cost.

    Raises:
        UserError: something would stop the run.
    """
    template = PromptTemplate(recipe.prompt)
    train, test = read_both(recipe)
    _show(train, recipe, "training")
    _show(test, recipe, "evaluation")
    policy = base_policy(
        recipe.model.name,
        hub_revision=recipe.model.revision,
        engine=recipe.engine.type,
        batch_size=recipe.engine.batch_size,
        options=recipe.engine.options,
    )
    first = train.problems[0]
    print(f"--- first prompt (template {recipe.prompt}, {template.hash()})\n{template.render(first)}")
    if recipe.rationalization.enabled:
        print(f"--- hinted ({template.hash(hinted=True)})\n{template.render(first, hint=hint_of(first))}")
    samples = recipe.rounds * len(train.problems) * recipe.sampling.n
    print(
        f"--- {samples} samples in {recipe.rounds} rounds, at most {recipe.sampling.max_tokens} tokens each, "
        "before rationalization"
    )
    if estimates:
        _show_estimate(recipe, policy, template, train.problems, len(test.problems))


def _show_estimate(
    recipe: Recipe, policy: Policy, template: PromptTemplate, problems: Sequence[Problem], n_test: int
) -> None:
    train, dev = split_dev(list(problems), recipe)
    pilot = run_pilot(recipe, policy, template, list(train))
    found = estimate(pilot, recipe, len(train), n_test + len(dev))
    time_ = f"about {found.seconds / 60:.1f} minutes on this machine as it is now" if found.seconds else "time unknown"
    print(
        f"--- estimate of the rounds: {found.drawn:,} tokens drawn, {found.trained:,} trained on, {time_}\n"
        f"    from {pilot.samples} samples ({pilot.right:.0%} right, {pilot.tokens:.0f} tokens each, "
        f"{pilot.draw_rate:,.0f} tokens a second) and two training steps ({pilot.train_rate:,.0f} tokens a second)"
    )
    if recipe.prm.enabled or recipe.ppo.enabled or recipe.preference.enabled:
        print("    PRM, PPO and preference training come on top")
