"""The main job: problems to verified rationales, a trained generator, a dataset and a report, in STaR rounds.

    base ── sample ── verify ── rationalize the failures ── select ── fine-tune from the base ── evaluate ── next round

Every round trains from the base again (asserted). A second arm without rationalization shares the first round's
samples, which come from the same base with the same seeds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.ids import content_id
from data.prompts import PromptTemplate
from data.records import Problem, Rationale, Selection, Verdict
from pipelines.dataset import write_dataset
from pipelines.policy import Policy, base_policy
from pipelines.problems import load_problems
from pipelines.progress import say
from pipelines.recipe import Recipe
from pipelines.report import write_report
from pipelines.run_dir import RunFolder
from pipelines.stages import CODE_VERSION, Context, Draw, evaluate, sample, statuses_by_problem
from pipelines.training import Training
from star.rationalize import failed_problems, hint_of, is_drawn
from star.selection import select

STAR = "star"
WITHOUT = "no_rationalization"


def run_recipe(recipe: Recipe, root: Path, *, fresh: bool = False) -> RunFolder:
    """Run a recipe to its end, or from where it was stopped.

    Args:
        recipe: what to do.
        root: the run folder.
        fresh: delete what is there first.

    Raises:
        UserError: bad input, a folder that cannot be used, too many undecided checks.
        EngineError: the engine failed.
    """
    run = RunFolder.open(root, recipe, fresh=fresh)
    try:
        for name in run.set_aside:
            say(f"set aside {name}: no manifest entry names it")
        template = PromptTemplate(recipe.prompt)
        run.pin(template=template.hash(), **_environment(run, recipe))
        train, test = load_problems(run, recipe)
        say(f"{len(train)} training problems, {len(test)} held-out ones")
        _run_arms(Context(run, recipe, template), train, test)
        write_report(run)
    finally:
        run.close()
    return run


def _environment(run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """What floating point depends on. Also sets the number of CPU threads, since sums depend on how they are split."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = run.manifest["pins"].get("threads") or recipe.threads or cores
    torch.set_num_threads(threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = {name: version(name) for name in ("stepstar", "torch", "transformers")}
    return {"threads": threads, "device": device, **versions}


def _run_arms(context: Context, train: Sequence[Problem], test: Sequence[Problem]) -> None:
    """The main arm and its dataset, then the comparison, whose failure must not cost the dataset."""
    run, recipe = context.run, context.recipe
    # A hub branch moves; a run stays with the commit that it began with.
    base = base_policy(
        recipe.model.name,
        hub_revision=run.manifest["pins"].get("base") or recipe.model.revision,
        engine=recipe.engine.type,
        batch_size=recipe.engine.batch_size,
        options=recipe.engine.options,
    )
    run.pin(base=base.revision)
    evaluate(context, base, test, "base")
    rationalizes = recipe.rationalization.enabled
    run_arm(context, base, STAR, train, test, rationalize=rationalizes)
    with run.stage("dataset"):
        write_dataset(run, STAR)
    if recipe.compare_without_rationalization and rationalizes:
        run_arm(context, base, WITHOUT, train, test, rationalize=False)
    run.drop_stale()


def run_arm(
    context: Context, base: Policy, arm: str, train: Sequence[Problem], test: Sequence[Problem], *, rationalize: bool
) -> Policy:
    """All rounds of one arm; returns the last policy."""
    policy = base
    for round_ in range(1, context.recipe.rounds + 1):
        rationales, verdicts = _collect(context, policy, arm, round_, train, rationalize=rationalize)
        selections = _select(context, arm, round_, rationales, verdicts, train)
        policy.release()
        policy = _train(context, base, arm, round_, train, rationales, selections)
        evaluate(context, policy, test, arm)
    policy.release()
    return policy


def _collect(
    context: Context, policy: Policy, arm: str, round_: int, train: Sequence[Problem], *, rationalize: bool
) -> tuple[list[Rationale], dict[str, Verdict]]:
    """Sample, verify, and rationalize the failures of one round."""
    recipe, verdicts = context.recipe, dict[str, Verdict]()
    # The base samples are the same in every arm: drawn once, stored once.
    owner = STAR if round_ == 1 else arm
    draw = Draw(
        f"{owner}-r{round_}-sample", f"{owner} · round {round_} · sample", recipe.sampling.n, recipe.sampling.params()
    )
    rationales = sample(context, policy, draw, train, verdicts)
    if rationalize:
        config = recipe.rationalization
        failed = [
            problem
            for problem in failed_problems(train, statuses_by_problem(rationales, verdicts))
            if hint_of(problem) and is_drawn(problem, config, recipe.seed, round_)
        ]
        draw = Draw(
            f"{arm}-r{round_}-rationalize",
            f"{arm} · round {round_} · rationalize",
            config.n,
            recipe.sampling.params(temperature=config.temperature),
            hinted=True,
        )
        rationales += sample(context, policy, draw, failed, verdicts)
    return rationales, verdicts


def _select(
    context: Context,
    arm: str,
    round_: int,
    rationales: Sequence[Rationale],
    verdicts: dict[str, Verdict],
    train: Sequence[Problem],
) -> list[Selection]:
    recipe = context.recipe
    key = content_id(
        "select",
        arm,
        str(round_),
        recipe.selection.model_dump_json(),
        CODE_VERSION,
        *(f"{row.id}:{verdicts[row.id].status}" for row in rationales),
    )
    problems = {problem.id: problem for problem in train}
    return context.run.unit(
        "selections",
        f"{arm}-r{round_}",
        key,
        lambda: select(rationales, verdicts, problems, recipe.selection, arm=arm, round_=round_, seed=recipe.seed),
    )


def _train(
    context: Context,
    base: Policy,
    arm: str,
    round_: int,
    train: Sequence[Problem],
    rationales: Sequence[Rationale],
    selections: Sequence[Selection],
) -> Policy:
    """Fine-tune from the base on what was kept, and return the new policy."""
    kept = {selection.rationale_id for selection in selections if selection.kept}
    if not kept and arm == WITHOUT:
        say(f"{arm} · round {round_}: nothing was kept, so the base stays")
        return replace(base, round=round_)
    problems = {problem.id: problem for problem in train}
    chosen = sorted((row for row in rationales if row.id in kept), key=lambda row: row.id)
    return Training(context, base, arm, round_, [(problems[row.problem_id], row) for row in chosen]).run()
