"""The main job: problems to verified rationales, a trained generator, a dataset and a report, in STaR rounds.

    problems ── rounds (`pipelines.stages.arm`) ── step labels and near-misses ── dataset ── report

Every round trains from the base again (asserted). A second arm without rationalization shares the first round's
samples, which come from the same base with the same seeds.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.prompts import PromptTemplate
from data.records import Problem
from pipelines.machine import computing_pins
from pipelines.progress import AttemptLog, say
from pipelines.recipe import Recipe
from pipelines.report.page import write_report
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR, WITHOUT, Arm
from pipelines.stages.dataset import write_dataset
from pipelines.stages.labels import write_labels
from pipelines.stages.policy import Policy, base_policy
from pipelines.stages.ppo import PpoStage, prm_scores
from pipelines.stages.preference import PreferenceStage, RewardModelStage
from pipelines.stages.prm import PrmStage
from pipelines.stages.problems import load_problems, split_dev
from pipelines.stages.sampling import Context, Problems, evaluate
from pipelines.stages.training import Training
from pipelines.validate import check_inputs

_COLLECT_AFTER = 20_000
"""New objects after which Python looks for cycles among them."""


def run_recipe(
    recipe: Recipe, root: Path, *, fresh: bool = False, update: bool = False, start: Policy | None = None
) -> RunFolder:
    """Run a recipe to its end, or from where it was stopped.

    Args:
        recipe: what to do.
        root: the run folder.
        fresh: delete what is there first, unless problems, template or model are not to be had.
        update: take a changed recipe, and keep what the change does not touch.
        start: the policy that the first samples are drawn from; the base, if none is given.

    Raises:
        UserError: bad input, a folder that cannot be used, too many undecided checks.
        EngineError: the engine failed.
    """
    if fresh:
        check_inputs([recipe.evaluation, recipe.problems], recipe.prompt, recipe.model, recipe.engine)
    run = RunFolder.open(root, recipe, fresh=fresh, update=update)
    log = AttemptLog(root)
    before = gc.get_threshold()
    # Records hold no cycles, which Python would look for at every 700th of millions.
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        for name in run.set_aside:
            say(f"set aside {name}: no manifest entry names it")
        run_stages(run, recipe, PromptTemplate(recipe.prompt), start)
        write_report(run)
    finally:
        gc.set_threshold(*before)
        log.end()
        run.close()
    return run


def run_stages(run: RunFolder, recipe: Recipe, template: PromptTemplate, start: Policy | None = None) -> None:
    """All stages of a run but its report; see `run_recipe`."""
    run.pin(template=template.hash(), **_environment(run, recipe))
    train, test = load_problems(run, recipe)
    say(f"{len(train)} training problems, {len(test)} held-out ones")
    _run_arms(Context(run, recipe, template), train, test, start)


def _environment(run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """What floating point depends on. Also sets the number of CPU threads, since sums depend on how they are split."""
    return computing_pins(recipe.engine.type, run.manifest["pins"].get("threads") or recipe.threads)


def _improve(context: Context, best: Policy, train: Problems, dev: Sequence[Problem], test: Sequence[Problem]) -> None:
    """PRM, preference baseline and PPO, where the recipe asks for them; the dataset gets the PRM's scores."""
    run, recipe = context.run, context.recipe
    train = list(train) if recipe.preference.enabled or recipe.ppo.enabled else []
    ppo = PpoStage(context, best, train, dev, test)
    if recipe.prm.enabled:
        scorer = PrmStage(context, best, dev, test).run()
        if recipe.ppo.rewards == "prm":
            ppo = replace(ppo, scorer=prm_scores(scorer), scorer_revision=scorer.revision)
        with run.stage("dataset"):
            write_dataset(run, STAR)
    if recipe.preference.enabled:
        PreferenceStage(context, best, train, test).run()
    if recipe.ppo.enabled:
        if recipe.ppo.rewards == "pairwise":
            reward, revision = RewardModelStage(context, best, train).run()
            ppo = replace(ppo, scorer=reward, scorer_revision=revision)
        ppo.run()


def _run_arms(context: Context, train: Problems, test: Problems, start: Policy | None) -> None:
    """The main arm and its dataset, then the comparison, whose failure must not cost the dataset."""
    run, recipe = context.run, context.recipe
    # A hub branch moves; a run stays with the commit that it began with. A server has no commit.
    is_trained = recipe.engine.type in ("transformers", "vllm")
    base = base_policy(
        recipe.model.name,
        hub_revision=(run.manifest["pins"].get("base") if is_trained else None) or recipe.model.revision,
        engine=recipe.engine.type,
        batch_size=recipe.engine.batch_size,
        options=recipe.engine.options,
        executor=recipe.executor,
        threads=run.manifest["pins"].get("threads", 0),
    )
    run.pin(base=base.revision)
    # To the run, what it begins with is its base (round 0), whatever it was trained from.
    first = replace(start, round=0) if start else base
    run.pin(start=first.revision)
    evaluate(context, first, test, "base")
    rationalizes = recipe.rationalization.enabled
    train, dev = split_dev(train, recipe)

    def learn(training: Training) -> Policy:
        return replace(training, base=base).run()

    best = Arm(context, first, STAR, rationalizes, train, dev, test, learn).run()
    run.note("promoted", best.name)
    # Rounds and scores of an earlier recipe would else be in the dataset.
    run.drop_stale(prefix=f"{STAR}-")
    if not recipe.prm.enabled:
        run.drop_stale("step_scores")
    write_labels(context, STAR)
    with run.stage("dataset"):
        write_dataset(run, STAR)
    _improve(context, best, train, dev, list(test))
    if recipe.compare_without_rationalization and rationalizes:
        Arm(context, first, WITHOUT, False, train, dev, test, learn).run()
    run.drop_stale()
