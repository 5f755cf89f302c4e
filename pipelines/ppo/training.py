"""PPO as a job of its own: from a model, problems with gold answers and a step scorer to the best policy found.

The policy is an ordinary checkpoint with `ppo.json` beside it: what was done, alarms and the numbers of each iteration.
A job that was killed goes on from `OUT.training/` when it is started again; one that is finished is not done again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data.errors import UserError
from data.ids import content_id, derive_seed
from data.prompts import PromptTemplate
from data.records import Problem
from data.sources import Reject, deduplicate, read_problems
from data.store import write_atomic
from pipelines.evaluation.settings import EVALUATION_PROMPTS, PROMPTS
from pipelines.progress import say, track
from pipelines.recipe import EngineConfig, SamplingConfig, SourceConfig
from pipelines.run_guard import as_json
from pipelines.stages.ppo import alarm_rows, prm_scores, symbolic_scores, verify_solutions
from star.checkpoints import PROVENANCE, LoadedModel, check_target, load_checkpoint, save_checkpoint
from star.ppo.config import PpoConfig
from star.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from prm.scoring.base import Scorer
    from star.ppo.task import Task
    from star.ppo.trainer import PpoReport

RECORD = "ppo.json"


class PpoSettings(PpoConfig):
    """Settings of `stepstar ppo`: those of PPO, and how problems are drawn, asked and held out."""

    prompt: str = ""
    """Prompt template by name or path; empty means that of the problems' kind."""
    sampling: SamplingConfig = SamplingConfig()
    """`n` is not used: see `samples_per_problem`."""
    engine: EngineConfig = EngineConfig()
    """What draws: the policy itself, or `vllm`, which gets its weights after every update."""
    heldout_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the problems, drawn by hash, that is not trained on and that the policy is chosen by."""
    seed: int = 0
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads for the models; 0 leaves torch's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoJob:
    """What is to be trained, on what, judged by whom, to where."""

    model: str
    problems: SourceConfig
    scorer: str
    """`symbolic`, or a PRM: a folder or hub id."""
    out: Path
    settings: PpoSettings
    tensorboard: bool = False
    fresh: bool = False

    @property
    def work(self) -> Path:
        """The folder of an unfinished training, and of its events."""
        return self.out.with_name(f"{self.out.name}.training")


def train_ppo_folder(job: PpoJob, ranks: Ranks = ALONE) -> PpoReport | None:
    """Train a policy and save it, alone or with other processes; None if it is there already.

    Raises:
        UserError: problems, model, scorer, folder or settings are not usable, or the training cannot go on.
    """
    import torch

    from star.ppo.engines import rollout_engine
    from star.ppo.trainer import PpoTrainer

    drawn_by = job.settings.engine
    if ranks.size > 1 and drawn_by.type != "transformers":
        raise UserError("in several processes each draws from its own copy of the policy.",
                        "Set `engine.type=transformers`.")  # fmt: skip
    if job.settings.threads:
        torch.set_num_threads(job.settings.threads)
    if job.fresh:
        ranks.decided(lambda: check_target(job.out))
    task = _task(job, ranks)
    loaded = load_checkpoint(job.model, dtype="float32")
    if job.fresh:
        ranks.decided(lambda: shutil.rmtree(job.work, ignore_errors=True))
    key = content_id(task.key(loaded, job.settings), str(job.settings.iterations))
    if ranks.decided(lambda: not job.fresh and _key_of(job.out) == key):
        return None
    if ranks.decided(lambda: not job.fresh and job.out.exists()):
        raise UserError(f"'{job.out}' is there already and is of another training.", "Give another --out, or --fresh.")
    say(f"{len(task.problems)} problems to train on, {len(task.heldout)} held out")
    drawing = rollout_engine(drawn_by.type, batch_size=drawn_by.batch_size, options=drawn_by.options,
                             folder=job.work / "policy")  # fmt: skip
    with drawing as engine, track("ppo", job.settings.iterations) as bar:
        trainer = PpoTrainer(loaded, replace(task, engine=engine), job.settings, folder=job.work,
                             tensorboard=job.tensorboard, ranks=ranks)  # fmt: skip
        report = trainer.run(lambda done, numbers, _: bar.reach(done, _note(numbers)))
    facts = {"key": key, "parent": loaded.revision, "parent_name": job.model}
    ranks.decided(lambda: _save(job, trainer.layout.merged(), report, facts))
    return report


def _task(job: PpoJob, ranks: Ranks) -> Task:
    from star.ppo.task import Task

    settings, problems = job.settings, _problems(job.problems)
    drawn = {problem.id: derive_seed("ppo heldout", settings.seed, problem.id) for problem in problems}
    # The same share of any set, and at least one problem: who adds problems keeps the held-out ones apart.
    n_heldout = max(1, round(settings.heldout_share * len(problems)))
    heldout = sorted(problems, key=lambda problem: drawn[problem.id])[:n_heldout]
    apart = {problem.id for problem in heldout}
    prompt = settings.prompt or EVALUATION_PROMPTS.get(job.problems.source) or PROMPTS[problems[0].kind]
    task = Task(
        problems=[problem for problem in problems if problem.id not in apart],
        heldout=heldout,
        template=PromptTemplate(prompt),
        sampling=settings.sampling.params(),
        scorer=symbolic_scores,
        scorer_revision="check_steps",
        verify=verify_solutions,
        seed=settings.seed,
    )
    # Before a scorer of some size is loaded.
    task.check(settings)
    return task if job.scorer == "symbolic" else _with_prm(task, job.scorer, ranks)


def _with_prm(task: Task, name: str, ranks: Ranks) -> Task:
    from prm import load_scorer

    scorers: list[Scorer] = []

    def load() -> str:
        scorers.append(load_scorer(name))
        return scorers[0].revision

    # The first process judges for all: the others need no PRM in memory.
    revision = ranks.decided(load)
    return replace(task, scorer=prm_scores(scorers[0]) if scorers else task.scorer, scorer_revision=revision)


def _problems(config: SourceConfig) -> list[Problem]:
    """Problems of a source; duplicates and unusable rows are left out and counted.

    Raises:
        UserError: fewer than two problems are left.
    """
    columns, options = config.columns or None, config.options or None
    rows = read_problems(config.source, path=config.path, split=config.split, columns=columns, options=options)
    items = list(deduplicate(rows))
    rejects = [item for item in items if isinstance(item, Reject)]
    problems = [item for item in items if not isinstance(item, Reject)]
    if rejects:
        say(f"{len(rejects)} of {len(items)} rows left out; the first: {rejects[0].where}: {rejects[0].reason}")
    if config.limit:
        problems = sorted(problems, key=lambda problem: derive_seed("limit", problem.id))[: config.limit]
    if len(problems) < 2:
        raise UserError(f"{len(problems)} problems can be used; PPO needs some to train on and to be judged by.",
                        "Give more.")  # fmt: skip
    return problems


def _key_of(folder: Path) -> str:
    file = folder / PROVENANCE
    return str(json.loads(file.read_text()).get("key", "")) if file.is_file() else ""


def _save(job: PpoJob, policy: LoadedModel, report: PpoReport, facts: dict[str, Any]) -> None:
    facts |= {
        "scorer": job.scorer,
        "iterations": report.iterations,
        "stopped": report.stopped,
        "first_accuracy": report.first_accuracy,
        "best_accuracy": report.best_accuracy,
        "best_iteration": report.best_iteration,
        "left_out": report.counts,
        "alarms": alarm_rows(report),
    }
    save_checkpoint(LoadedModel(policy.model, policy.tokenizer, job.out.name, ""), job.out, provenance=facts)
    history = {"settings": job.settings.model_dump(mode="json"), "history": [asdict(row) for row in report.history]}
    write_atomic(job.out / RECORD, as_json({**facts, **history}))
    (job.work / "state.safetensors").unlink(missing_ok=True)
    if not job.tensorboard:
        shutil.rmtree(job.work, ignore_errors=True)


def _note(numbers: dict[str, float]) -> str:
    if "objective/gold" not in numbers:
        return "skipped"
    return f"gold {numbers['objective/gold']:.2f}, KL {numbers['objective/kl']:.1f}"


def report_lines(report: PpoReport) -> list[str]:
    """What a training came to, for people."""
    lines = [f"held-out accuracy {report.first_accuracy:.1%} -> {report.best_accuracy:.1%}, kept the policy of "
             f"iteration {report.best_iteration} of {report.iterations}"]  # fmt: skip
    if report.stopped:
        lines.append(f"ended early: {report.stopped}")
    lines += [f"  alarm {row['name']}: {row['count']} times, first in iteration {row['iteration']} "
              f"({row['before']:.3g} -> {row['now']:.3g})" for row in alarm_rows(report)]  # fmt: skip
    lines += [f"  {count} left out: {reason}" for reason, count in sorted(report.counts.items())]
    return lines
