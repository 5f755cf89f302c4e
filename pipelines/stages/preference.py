"""Preference baselines of a run: a policy trained on pairs of right and wrong samples, and a pairwise reward model.

Both begin with the promoted policy, like PPO, and draw samples of their own from it, of the training problems at the
target difficulties. The trained policy is measured on the test problems and feeds nothing: it is what PPO against step
rewards is compared with. The reward model scores PPO's responses where `ppo.rewards` is `pairwise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.ids import content_id, derive_seed
from data.records import Problem, Rationale, Status
from pipelines.progress import say, track
from pipelines.report.summary import PREFERENCE
from pipelines.stages.policy import Policy, trained_policy
from pipelines.stages.ppo import target_problems
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, evaluate, sample
from prm.training_state import TrainingState
from star.checkpoints import LoadedModel, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from star.ppo.judging import StepScorer

REWARD = "reward"

Judgement = tuple[Rationale, bool]
"""A sample and whether its answer is right."""


def judged_samples(
    context: Context, policy: Policy, arm: str, n: int, problems: Sequence[Problem]
) -> list[tuple[Problem, list[Judgement]]]:
    """`n` samples of each problem, verified; what could not be decided is neither right nor wrong and left out."""
    # Untempered: the losses take the samples for draws from the policy itself.
    params = context.recipe.sampling.params(temperature=1.0, top_p=1.0, top_k=0)
    rows = sample(context, policy, Draw(arm, policy.round + 1, "pilot", n, params), problems, len(problems))
    return [
        (problem, [(row, verdict.status is Status.CORRECT) for row, verdict in group
                   if verdict.status is not Status.UNDECIDED])
        for problem, group in zip(problems, batched(rows, n), strict=True)
    ]  # fmt: skip


def _key(
    context: Context, stage: str, settings: str, start: Policy, groups: Sequence[tuple[Problem, list[Judgement]]]
) -> str:
    marks = (f"{row.id} {right}" for _, group in groups for row, right in group)
    seed = str(context.recipe.seed)
    return content_id(stage, start.revision, settings, CODE_VERSION, context.template.hash(), seed, *marks)


@dataclass(frozen=True, slots=True)
class PreferenceStage:
    """DPO, step-DPO or CPL of one run."""

    context: Context
    start: Policy
    """The policy to improve; also the reference."""
    train: Sequence[Problem]
    test: Sequence[Problem]

    def run(self) -> Policy:
        """Train, or read what was trained; returns the new policy, measured on the test problems.

        Raises:
            UserError: no problem has both a right and a wrong sample, or the training cannot go on.
        """
        context, config = self.context, self.context.recipe.preference
        run, name = context.run, f"policy-{config.loss}"
        problems = target_problems(context, self.train)
        groups = judged_samples(context, self.start, PREFERENCE, config.samples, problems)
        self.start.release()
        key = _key(context, PREFERENCE, config.model_dump_json(), self.start, groups)
        file = run.root / "checkpoints" / f"{name}.training.safetensors"
        state = TrainingState(file, key=key, every_s=config.save_every_s)
        with run.stage(f"{PREFERENCE} · train"):
            entry = run.checkpoint(name, key, lambda folder: self._make(folder, name, groups, state))
        state.clear()
        policy = trained_policy(run.root, name, entry["revision"], self.start)
        evaluate(context, policy, self.test, PREFERENCE)
        policy.release()
        shown = ("loss", "pairs", "left_out", "steps", "losses", "parent_name")
        run.note(PREFERENCE, {"policy": name, **{fact: entry[fact] for fact in shown}})
        return policy

    def _make(
        self, folder: Path, name: str, groups: Sequence[tuple[Problem, list[Judgement]]], state: TrainingState
    ) -> dict[str, Any]:
        from star.preference.pairs import encode_pairs, solution_pairs
        from star.preference.training import train_preferences

        config, start = self.context.recipe.preference, self.start
        loaded = load_checkpoint(start.path, revision=start.hub_revision, dtype="float32")
        found = [
            solution_pairs(problem, [row.steps for row, right in group if right],
                           [row.steps for row, right in group if not right], limit=config.pairs_per_problem)
            for problem, group in groups
        ]  # fmt: skip
        pairs, dropped = encode_pairs(
            loaded.tokenizer, self.context.template, list(chain(*found)), config.loss, gamma=config.gamma
        )
        say(f"{config.loss}: {len(pairs)} pairs; left out: {dict(dropped)}")
        seed = derive_seed(self.context.recipe.seed, PREFERENCE)
        with track(f"{PREFERENCE} · train", config.capped(len(pairs))) as bar:
            report = train_preferences(loaded, pairs, config, seed=seed, state=state,
                                       on_step=lambda step, _, loss: bar.reach(step, f"loss {loss:.3f}"))  # fmt: skip
        facts = {
            "parent": start.revision,
            "parent_name": start.name,
            "arm": PREFERENCE,
            "round": start.round + 1,
            "loss": config.loss,
            "pairs": report.pairs,
            "rows": 2 * report.pairs,
            "left_out": dict(dropped),
            "steps": report.steps,
            "losses": [report.losses[0], report.losses[-1]],
            "tokens": sum(side.row.n_tokens for pair in pairs for side in pair),
        }
        trained = LoadedModel(loaded.model, loaded.tokenizer, name, "")
        return {**facts, "revision": save_checkpoint(trained, folder, provenance=facts)}


@dataclass(frozen=True, slots=True)
class RewardModelStage:
    """A reward model from comparisons of the promoted policy's own samples."""

    context: Context
    start: Policy
    """The policy that PPO begins with: its samples are compared, and their mean reward is 0."""
    train: Sequence[Problem]

    def run(self) -> tuple[StepScorer, str]:
        """Train, or read what was trained; returns the scorer for PPO and the model's revision.

        Raises:
            UserError: no problem has both a right and a wrong sample.
        """
        from star.preference.reward_model import load_reward_model

        context, config, name = self.context, self.context.recipe.reward_model, "reward-model"
        problems = target_problems(context, self.train)
        groups = judged_samples(context, self.start, REWARD, config.samples, problems)
        self.start.release()
        key = _key(context, REWARD, config.model_dump_json(), self.start, groups)
        with context.run.stage(f"{REWARD} · train"):
            entry = context.run.checkpoint(name, key, lambda folder: self._make(folder, groups))
        model = load_reward_model(context.run.root / "checkpoints" / name)
        scorer = model.step_scorer(context.template, {problem.prompt: problem for problem in self.train})
        return scorer, entry["revision"]

    def _make(self, folder: Path, groups: Sequence[tuple[Problem, list[Judgement]]]) -> dict[str, Any]:
        from star.preference.reward_model import Group, build_reward_model, response_row, train_reward_model

        config, start, seed = (
            self.context.recipe.reward_model,
            self.start,
            derive_seed(self.context.recipe.seed, REWARD),
        )
        model = build_reward_model(start.path, revision=start.hub_revision, seed=seed)
        found = [
            Group([response_row(model.tokenizer, self.context.template, problem, row.text) for row, _ in group],
                  [right for _, right in group])
            for problem, group in groups if group
        ]  # fmt: skip
        with track(f"{REWARD} · train", config.capped(sum(bool(group.better) for group in found))) as bar:
            losses = train_reward_model(model, found, config, seed=seed,
                                        on_step=lambda step, _, loss: bar.reach(step, f"loss {loss:.3f}"))  # fmt: skip
        facts = {
            "parent": start.revision,
            "parent_name": start.name,
            "arm": REWARD,
            "round": start.round + 1,
            "pairs": sum(len(group.better) for group in found),
            "rows": sum(len(group.rows) for group in found),
            "steps": len(losses),
            "losses": [losses[0], losses[-1]],
            "tokens": sum(row.n_tokens for group in found for row in group.rows),
            **model.facts(),
        }
        stored = LoadedModel(model.model, model.tokenizer, "reward-model", "")
        return {**facts, "revision": save_checkpoint(stored, folder, provenance=facts)}
