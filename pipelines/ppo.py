"""PPO after the STaR rounds: the promoted policy improved against step rewards, the best one by held-out answers kept.

Trains on the run's training problems, is gated by its dev problems, and is measured on its test problems like a round.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.ids import content_id, derive_seed
from data.records import FinishReason, Problem, Status
from data.run_records import PpoIteration
from pipelines.policy import Policy
from pipelines.progress import say, track
from pipelines.stages import CODE_VERSION, Context, evaluate
from pipelines.summary import PPO
from pipelines.verification import check_texts
from star.checkpoints import LoadedModel, load_checkpoint, save_checkpoint
from star.ppo.judging import StepScorer
from verifiers import StepStatus, check_steps

if TYPE_CHECKING:
    from star.ppo.task import Task
    from star.ppo.trainer import PpoReport

_NAME = "policy-ppo"
_SYMBOLIC = {StepStatus.CORRECT: 1.0, StepStatus.INCORRECT: 0.0, StepStatus.NOT_CHECKABLE: 0.5}


def symbolic_scores(problem: str, steps: Sequence[str]) -> list[float]:
    """What the step checker says: 1 for a right step, 0 for a wrong one, ½ where it cannot tell."""
    return [_SYMBOLIC[verdict.status] for verdict in check_steps(problem, steps)]


def _verify(pairs: Sequence[tuple[Problem, str]]) -> list[Status]:
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
        run, folder = self.context.run, self.context.run.root / "checkpoints"
        with run.stage("ppo · train"):
            entry = run.checkpoint(_NAME, self._key(), self._make)
            run.unit(
                "ppo_iterations", PPO, entry["revision"], lambda: [PpoIteration(**row) for row in entry["history"]]
            )
        shutil.rmtree(self._work, ignore_errors=True)
        start = self.start
        policy = Policy(_NAME, str(folder / _NAME), entry["revision"], start.round + 1, start.engine, start.batch_size,
                        options=start.options)  # fmt: skip
        evaluate(self.context, policy, self.test, PPO)
        policy.release()
        return policy

    @property
    def _work(self) -> Path:
        """Where the state of the training lies; outlives a kill, not the training."""
        return self.context.run.root / "checkpoints" / f"{_NAME}.training"

    def _task(self) -> Task:
        from star.ppo.task import Task

        recipe = self.context.recipe
        levels = set(recipe.target_difficulties)
        # The levels that the run is about; all of them where it names none, or others than the source.
        train, dev = ([problem for problem in problems if problem.difficulty in levels] or list(problems)
                      for problems in (self.train, self.dev))  # fmt: skip
        return Task(
            problems=train,
            heldout=dev,
            template=self.context.template,
            sampling=replace(recipe.sampling.params(), temperature=1.0),
            scorer=self.scorer,
            verify=_verify,
            seed=derive_seed(recipe.seed, PPO),
        )

    def _key(self) -> str:
        config = self.context.recipe.ppo.model_dump_json()
        task = self._task()
        return content_id("ppo", self.start.revision, config, self.scorer_revision, task.sampling.to_json(),
                          self.context.template.hash(), CODE_VERSION, str(task.seed),
                          *(problem.id for problem in [*task.problems, *task.heldout]))  # fmt: skip

    def _make(self, folder: Path) -> dict[str, Any]:
        from star.ppo.trainer import PpoTrainer

        config, start = self.context.recipe.ppo, self.start
        loaded = load_checkpoint(start.path, revision=start.hub_revision, dtype="float32")
        trainer = PpoTrainer(loaded, self._task(), config, folder=self._work)
        with track("ppo · train", config.iterations) as bar:
            report = trainer.run(lambda done, numbers, _: bar.reach(done, _note(numbers)))
        _tell(report)
        # Some problems may repeat within an iteration and are drawn once, so this is an upper bound.
        drawn = config.problems_per_iteration * config.samples_per_problem
        facts = {
            "parent": start.revision,
            "parent_name": start.name,
            "arm": PPO,
            "round": start.round + 1,
            "iterations": report.iterations,
            "stopped": report.stopped,
            "dev_accuracy": report.best_accuracy,
            "best_iteration": report.best_iteration,
            "left_out": report.counts,
            "alarms": sorted({alarm.name for _, alarm in report.alarms}),
            "tokens": round(sum(row.tokens for row in report.history) * drawn),
        }
        merged = trainer.layout.merged()
        revision = save_checkpoint(LoadedModel(merged.model, merged.tokenizer, _NAME, ""), folder, provenance=facts)
        history = [{"iteration": place, **asdict(row)} for place, row in enumerate(report.history, 1)]
        return {**facts, "revision": revision, "history": history}


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
