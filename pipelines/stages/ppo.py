"""PPO after the STaR rounds: the promoted policy improved against step rewards, the best one by held-out answers kept.

Trains on the run's training problems, is gated by its dev problems, and is measured on its test problems like a round.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.ids import content_id, derive_seed
from data.records import FinishReason, Problem, Status
from data.run_records import PpoIteration
from pipelines.progress import say, track
from pipelines.report.summary import PPO
from pipelines.stages.policy import Policy, trained_policy
from pipelines.stages.sampling import CODE_VERSION, Context, evaluate
from pipelines.stages.verification import check_texts
from prm.scoring.base import ScoreItem, Scorer
from star.checkpoints import LoadedModel, load_checkpoint, save_checkpoint
from star.ppo.judging import Solutions, StepScorer
from verifiers import StepStatus, check_steps

if TYPE_CHECKING:
    from star.ppo.guards import Alarm
    from star.ppo.task import Task
    from star.ppo.trainer import PpoReport

PPO_POLICY = "policy-ppo"
"""Name of the checkpoint."""
_TOLD = (
    "iterations",
    "stopped",
    "first_accuracy",
    "dev_accuracy",
    "best_iteration",
    "left_out",
    "alarms",
    "rewards",
    "parent_name",
)
"""What of the checkpoint's facts goes into the run's notes, for the report."""
_SYMBOLIC = {StepStatus.CORRECT: 1.0, StepStatus.INCORRECT: 0.0, StepStatus.NOT_CHECKABLE: 0.5}


def target_problems(context: Context, problems: Sequence[Problem]) -> list[Problem]:
    """Those of the levels that the run is about; all of them where it names none, or others than the source."""
    levels = set(context.recipe.target_difficulties)
    return [problem for problem in problems if problem.difficulty in levels] or list(problems)


def symbolic_scores(solutions: Solutions) -> list[list[float]]:
    """What the step checker says: 1 for a right step, 0 for a wrong one, ½ where it cannot tell."""
    return [[_SYMBOLIC[verdict.status] for verdict in check_steps(*solution)] for solution in solutions]


def prm_scores(scorer: Scorer) -> StepScorer:
    """A PRM's scores of all solutions at once; a solution that it cannot score is neither good nor bad."""

    def score(solutions: Solutions) -> list[Sequence[float]]:
        items = [ScoreItem(problem, tuple(steps)) for problem, steps in solutions]
        found = scorer.score_batch(items)
        return [one.scores or [0.5] * len(item.steps) for one, item in zip(found, items, strict=True)]

    return score


def verify_solutions(pairs: Sequence[tuple[Problem, str]]) -> list[Status]:
    """Gold verdicts of whole solutions, programs included."""
    problems, texts = [problem for problem, _ in pairs], [text for _, text in pairs]
    return [verdict.status for verdict in check_texts(problems, texts, [FinishReason.STOP] * len(pairs))]


@dataclass(frozen=True, slots=True)
class PpoStage:
    """One PPO training of a run."""

    context: Context
    start: Policy
    """The policy to improve."""
    train: Sequence[Problem]
    dev: Sequence[Problem]
    test: Sequence[Problem]
    scorer: StepScorer = symbolic_scores
    scorer_revision: str = "check_steps"
    """Hash of what the scorer's opinions depend on."""

    def run(self) -> Policy:
        """Train, or read what was trained; returns the new policy, measured on the test problems.

        Raises:
            UserError: there are no dev problems, the sampling biases the importance ratio, or the training cannot go
                on; see `star.ppo`.
        """
        run = self.context.run
        with run.stage("ppo · train"):
            entry = run.checkpoint(PPO_POLICY, self._key(), self._make)
            run.unit(
                "ppo_iterations", PPO, entry["revision"], lambda: [PpoIteration(**row) for row in entry["history"]]
            )
        if not run.dry:
            shutil.rmtree(self._work, ignore_errors=True)
        run.note(PPO, {fact: entry[fact] for fact in _TOLD if fact in entry})
        policy = trained_policy(run.root, PPO_POLICY, entry["revision"], self.start)
        evaluate(self.context, policy, self.test, PPO)
        evaluate(self.context, policy, self.dev, PPO, table="dev_evaluations")
        policy.release()
        return policy

    @property
    def _work(self) -> Path:
        """Where the state of the training lies; outlives a kill, not the training."""
        return self.context.run.root / "checkpoints" / f"{PPO_POLICY}.training"

    def _task(self) -> Task:
        from star.ppo.task import Task

        recipe = self.context.recipe
        return Task(
            problems=target_problems(self.context, self.train),
            heldout=target_problems(self.context, self.dev),
            template=self.context.template,
            sampling=replace(recipe.sampling.params(), temperature=1.0),
            scorer=self.scorer,
            scorer_revision=self.scorer_revision,
            verify=verify_solutions,
            seed=derive_seed(recipe.seed, PPO),
        )

    def _key(self) -> str:
        config = self.context.recipe.ppo.model_dump_json()
        task = self._task()
        return content_id("ppo", self.start.revision, config, self.scorer_revision, task.sampling.to_json(),
                          self.context.template.hash(), CODE_VERSION, str(task.seed),
                          *(problem.id for problem in [*task.problems, *task.heldout]))  # fmt: skip

    def _make(self, folder: Path) -> dict[str, Any]:
        from star.ppo.engines import rollout_engine
        from star.ppo.trainer import PpoTrainer

        config, start = self.context.recipe.ppo, self.start
        # Its own engine, which may hold the very memory that the one of PPO needs.
        start.release()
        loaded = load_checkpoint(start.path, revision=start.hub_revision, dtype="float32")
        drawing = rollout_engine(start.engine, batch_size=start.batch_size, options=start.options,
                                 folder=self._work / "policy")  # fmt: skip
        with drawing as engine, track("ppo · train", config.iterations) as bar:
            trainer = PpoTrainer(loaded, replace(self._task(), engine=engine), config, folder=self._work)
            report = trainer.run(lambda done, numbers, _: bar.reach(done, _note(numbers)))
        _tell(report)
        # Some problems may repeat within an iteration and are drawn once, so this is an upper bound.
        drawn = config.problems_per_iteration * config.samples_per_problem
        facts = {
            "parent": start.revision,
            "parent_name": start.name,
            "arm": PPO,
            "round": start.round + 1,
            "rewards": config.rewards,
            "scorer": self.scorer_revision,
            "iterations": report.iterations,
            "stopped": report.stopped,
            "first_accuracy": report.first_accuracy,
            "dev_accuracy": report.best_accuracy,
            "best_iteration": report.best_iteration,
            "left_out": report.counts,
            "alarms": alarm_rows(report),
            "tokens": round(sum(row.tokens for row in report.history) * drawn),
        }
        merged = trainer.layout.merged()
        revision = save_checkpoint(
            LoadedModel(merged.model, merged.tokenizer, PPO_POLICY, ""), folder, provenance=facts
        )
        history = [asdict(row) for row in report.history]
        return {**facts, "revision": revision, "history": history}


def alarm_rows(report: PpoReport) -> list[dict[str, Any]]:
    """Each kind of alarm with how often it was raised, and when and at what value it was first."""
    first: dict[str, tuple[int, Alarm]] = {}
    for iteration, alarm in report.alarms:
        first.setdefault(alarm.name, (iteration, alarm))
    count = Counter(alarm.name for _, alarm in report.alarms)
    return [
        {"name": name, "count": count[name], "iteration": at, "now": alarm.now, "before": alarm.before}
        for name, (at, alarm) in sorted(first.items())
    ]


def _note(numbers: dict[str, float]) -> str:
    if not numbers.get("objective/gold"):
        return ""
    return f"gold {numbers['objective/gold']:.2f}, KL {numbers['objective/kl']:.1f}"


def _tell(report: PpoReport) -> None:
    if report.stopped:
        say(f"ppo: ended after {report.iterations} iterations: {report.stopped}")
    say(f"ppo: kept the policy of iteration {report.best_iteration}, {report.best_accuracy:.1%} of the dev problems")
    names = sorted({alarm.name for _, alarm in report.alarms})
    if names:
        say(f"ppo: alarms {', '.join(names)}")
