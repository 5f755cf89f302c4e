"""Outer rounds: STaR, PRM and PPO again and again, each round kept only if it answers more held-out problems.

The first round is the run itself; round k lies in `outer-k/` of its folder and is a whole run too, with records,
dataset and report of its own. It samples first from the last policy that was promoted, while its rounds train from the
same base as ever, and its PRM learns from what those samples get wrong. The dev problems are the same in all rounds and
no round trains on them. A round that is turned down is the last: the next would draw the same from the same policy.
"""

from __future__ import annotations

from pathlib import Path

from data.records import Status
from pipelines.progress import say
from pipelines.recipe import Recipe
from pipelines.report.page import write_report
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.policy import Policy, trained_policy
from pipelines.stages.ppo import PPO_POLICY
from star.promotion import PromotionConfig, decide_promotion

NOTE = "outer_rounds"
_GATE = PromotionConfig(gate="not_worse")
"""Beside it, a round must gain something: equal is not enough to go on from another policy."""


def run_outer(recipe: Recipe, root: Path, *, fresh: bool = False, update: bool = False) -> RunFolder:
    """Run a recipe with its outer rounds to the end, or from where it was stopped.

    Args:
        recipe: what to do; with `outer_rounds: 1` this is `run_recipe`.
        root: the run folder.
        fresh: delete what is there first.
        update: take a changed recipe, and keep what the change does not touch.

    Returns:
        The folder of the first round; its note `outer_rounds` says what each round bought and which policy was kept.

    Raises:
        UserError: as `run_recipe`.
        EngineError: the engine failed.
    """
    run = run_recipe(recipe, root, fresh=fresh, update=update)
    if recipe.outer_rounds == 1:
        return run
    policy, marks = _outcome(run)
    rounds = [{"round": 1, "folder": ".", "dev_accuracy": _share(marks), "promoted": True}]
    for number in range(2, recipe.outer_rounds + 1):
        say(f"outer round {number} of {recipe.outer_rounds}, from {policy.path}")
        found = run_recipe(recipe, root / f"outer-{number}", update=update, start=policy)
        candidate, new_marks = _outcome(found)
        shared = [key for key in marks if key in new_marks]
        decision = decide_promotion([marks[key] for key in shared], [new_marks[key] for key in shared], _GATE,
                                    arm=NOTE, round_=number)  # fmt: skip
        promoted = decision.promoted and decision.gained > decision.lost
        rounds.append({"round": number, "folder": f"outer-{number}", "dev_accuracy": _share(new_marks),
                       "gained": decision.gained, "lost": decision.lost, "promoted": promoted})  # fmt: skip
        if not promoted:
            say(f"outer round {number}: not promoted ({decision.gained} dev problems gained, {decision.lost} lost)")
            break
        policy, marks = candidate, new_marks
    _tell(root, recipe, {"rounds": rounds, "kept": Path(policy.path).relative_to(root).as_posix()})
    return run


def _outcome(run: RunFolder) -> tuple[Policy, dict[str, bool]]:
    """The policy that a round ends with, and whether it solves each dev problem that could be decided."""
    entry, recipe = run.manifest["checkpoints"][PPO_POLICY], run.recipe
    parent = Policy("", "", "", entry["round"] - 1, recipe.engine.type, recipe.engine.batch_size,
                    options=recipe.engine.options, executor=recipe.executor,
                    threads=run.manifest["pins"]["threads"])  # fmt: skip
    policy = trained_policy(run.root, PPO_POLICY, entry["revision"], parent)
    rows = run.table("dev_evaluations", "ppo-")
    return policy, {row.problem_id: row.status is Status.CORRECT for row in rows if row.status is not Status.UNDECIDED}


def _share(marks: dict[str, bool]) -> float:
    return sum(marks.values()) / len(marks)


def _tell(root: Path, recipe: Recipe, value: object) -> None:
    """Note what the rounds bought where the first one lies, and in its report."""
    run = RunFolder.open(root, recipe)
    try:
        run.note(NOTE, value)
        write_report(run)
    finally:
        run.close()
