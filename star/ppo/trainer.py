"""The PPO loop: draw, judge, prepare, update, measure, save; exact resume; the gate keeps the best policy.

trainer = PpoTrainer(load_checkpoint("embedded"), task, config, folder=Path("runs/x/ppo"))
report = trainer.run()
save_checkpoint(trainer.layout.merged(), folder, provenance={...})
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.errors import UserError
from data.ids import derive_seed
from data.run_records import PpoIteration
from star.checkpoints import LoadedModel
from star.encoding import pad_id
from star.generation.base import Generator
from star.ppo.batches import culprits, mean_kl, minibatches, prepare
from star.ppo.config import PpoConfig
from star.ppo.guards import Alarm, Gate, Watch, as_numbers, signals
from star.ppo.judging import Judged, NonFiniteError, judge
from star.ppo.kl import AdaptiveKl
from star.ppo.layouts import build_layout
from star.ppo.rollouts import Rollout, draw
from star.ppo.state import PpoState, Progress
from star.ppo.task import Task
from star.ppo.tracking import TensorBoard, scalars
from star.ppo.update import Faults, make_optimizer, update
from star.ranks import ALONE, Ranks

Listener = Callable[[int, dict[str, float], Sequence[Alarm]], None]
"""Called after each iteration with its number from 1, its scalars (none where it was skipped) and its alarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoReport:
    """What a run did."""

    iterations: int
    stopped: str
    """Why before the last iteration; empty if it was not."""
    first_accuracy: float
    """Held-out gold accuracy of the policy that training began with."""
    best_accuracy: float
    """Held-out gold accuracy of the policy that was kept."""
    best_iteration: int
    """After how many iterations it was measured; 0 is the policy that training began with."""
    counts: dict[str, int]
    """Responses and steps that were left out, by reason."""
    alarms: tuple[tuple[int, Alarm], ...]
    """With the iteration of each, from 1."""
    curve: tuple[tuple[float, float, float], ...]
    """KL, proxy and gold of each iteration, in the order of KL."""
    history: tuple[PpoIteration, ...]
    """What the guards saw of each iteration that was not skipped."""


class PpoTrainer:
    """One PPO run.

    Args:
        loaded: the policy to begin with; its model is changed in place.
        task: problems and judges.
        config: settings.
        folder: state, bad batches and events go there.
        tensorboard: whether to write TensorBoard events.
        ranks: the processes that train together, each with the whole model. Each draws and learns from its part; the
            first judges for all and writes. One and several differ in the last bits of sums.

    Raises:
        UserError: a setting that biases the ratio, no held-out problems, or some that are trained on.
        RunFolderError: the folder holds the state of another run.
        DependencyError: TensorBoard is wanted and not installed.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        task: Task,
        config: PpoConfig,
        *,
        folder: Path,
        tensorboard: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        task.check(config)
        self._ranks = ranks
        self.task, self.config = task, config
        self._tokenizer = loaded.tokenizer
        self.layout = build_layout(loaded, config, seed=derive_seed("ppo adapters", task.seed))
        self._optimizer = make_optimizer(self.layout, config)
        self._weights = {**self.layout.actor_weights, **self.layout.critic_weights}
        self._state = PpoState(folder / "state.safetensors", key=task.key(loaded, config))
        self._watch, self._gate = Watch(config.guards), Gate(config.guards)
        self._kl = AdaptiveKl(config.kl_coefficient, config.kl_target, config.kl_horizon)
        self._faults = Faults(folder / ("skipped.jsonl" if ranks.first else f"skipped-{ranks.rank}.jsonl"))
        self._alarms: list[tuple[int, Alarm]] = []
        self._best: dict[str, torch.Tensor] = {}
        self._done, self._stopped = 0, ""
        self._restore()
        if len(set(ranks.joint([self._done]))) > 1:
            raise UserError(
                "the processes do not see the same state.", "Give an --out on a disk that all of them share."
            )
        self._board = TensorBoard(folder / "events", first_step=self._done + 1) if tensorboard and ranks.first else None

    def run(self, listener: Listener | None = None) -> PpoReport:
        """Train to the end, or until a guard stops it; the layout then holds the best policy.

        Raises:
            UserError: verdicts cannot be decided, a scorer misbehaves, or three steps in a row had to be skipped.
        """
        if not self._done and self._gate.best < 0:
            self._measure(0)
            self._save()
        while self._done < self.config.iterations and not self._stopped:
            started = time.perf_counter()
            numbers, alarms = self._iterate(self._done)
            self._done += 1
            self._alarms += [(self._done, alarm) for alarm in alarms]
            self._stopped = next((f"{alarm.name} above its limit" for alarm in alarms if alarm.name == "kl"), "")
            if self._gate.due(self._done) or self._done == self.config.iterations or self._stopped:
                self._measure(self._done)
            self._save()
            numbers |= {"heldout/accuracy": self._gate.last, "perf/seconds": time.perf_counter() - started}
            if self._board:
                self._board.write(self._done, numbers)
            if listener and self._ranks.first:
                listener(self._done, numbers, alarms)
        self._keep_best()
        return self._report()

    def _iterate(self, iteration: int) -> tuple[dict[str, float], list[Alarm]]:
        """One iteration; its scalars and alarms, or nothing where it had to be skipped."""
        started = time.perf_counter()
        rows = self._judged(iteration)
        if not rows:
            return {}, []
        task, config = self.task, self.config
        seed = derive_seed("ppo iteration", task.seed, iteration)
        ranks, pad = self._ranks, pad_id(self._tokenizer)
        batches = minibatches(rows, config, pad=pad, seed=seed, device=self.layout.device, ranks=ranks)
        temperature, weight = task.sampling.temperature, self._kl.coefficient
        prepare(batches, self.layout, config, temperature=temperature, kl_coefficient=weight, ranks=ranks)
        parts = [part for batch in batches for part in batch]
        if spoiled := ranks.joint(culprits(parts)):
            self._faults.add("non_finite", rows, f"numbers of problems {', '.join(spoiled[:5])} are not finite")
            return {}, []
        stats = update(
            self.layout,
            self._optimizer,
            batches,
            config,
            self._faults,
            temperature=temperature,
            kl_coefficient=weight,
            seed=seed,
            critic_only=iteration < config.critic_warmup,
            ranks=ranks,
        )
        now = signals(rows, iteration=iteration + 1, kl=mean_kl(parts, ranks))
        self._kl.update(now.kl, len(rows))
        seconds = time.perf_counter() - started
        alarms = self._watch.update(now)
        if not ranks.first:
            return {}, alarms
        return scalars(parts, now, stats, kl_coefficient=weight, seconds=seconds), alarms

    def _judged(self, iteration: int) -> list[Judged]:
        """The responses of an iteration that have a part in the loss; none where it is skipped."""
        rollouts: list[Rollout] = []
        try:
            rollouts, dropped = self._draw(iteration)
            self._faults.counts.update(dropped)
            if not rollouts:
                self._faults.add("no_response", [], f"no response could be used {dict(dropped)}")
                return []
            rows, dropped = self._ranks.decided(
                lambda: judge(rollouts, self.config, verify=self.task.verify, scorer=self.task.scorer)
            )
        except NonFiniteError as error:
            self._faults.add("non_finite_reward", rollouts, str(error))
            return []
        self._faults.counts.update(dropped)
        if not rows:
            self._faults.add("no_part", rollouts, f"no response has a part in the loss {dict(dropped)}")
        return rows

    def _draw(self, iteration: int) -> tuple[list[Rollout], Counter[str]]:
        problems = self._ranks.span(self.task.problems_of(iteration, self.config.problems_per_iteration))
        drawing = self.task.drawing(self.config)
        rollouts, dropped = draw(self._engine(iteration), self._tokenizer, problems, drawing, version=iteration)
        return self._ranks.joint(rollouts), sum(self._ranks.joint([dropped]), Counter())

    def _engine(self, iteration: int) -> Generator:
        from star.generation.transformers_engine import TransformersGenerator

        if self.task.engine:
            return self.task.engine(self.layout, iteration)
        return TransformersGenerator(self.layout.sampler())

    def _measure(self, iteration: int) -> None:
        """Greedy answers to the held-out problems; keeps the weights if they are the best so far."""
        accuracy = self.task.heldout_accuracy(self._engine(iteration), self.config, self._ranks)
        if self._gate.update(iteration, accuracy):
            self._best = {name: weight.detach().clone() for name, weight in self.layout.actor_weights.items()}
        if self._gate.closed:
            self._stopped = self._stopped or f"held-out accuracy fell from {self._gate.best:.3f} to {accuracy:.3f}"

    def _keep_best(self) -> None:
        with torch.no_grad():
            for name, weight in self.layout.actor_weights.items():
                weight.copy_(self._best[name])

    def _save(self) -> None:
        if not self._ranks.first:
            return
        progress = Progress(
            iteration=self._done,
            kl_coefficient=self._kl.coefficient,
            gate=self._gate.numbers(),
            history=as_numbers(self._watch.history),
            counts=dict(self._faults.counts),
            skipped_in_a_row=self._faults.in_a_row,
            stopped=self._stopped,
        )
        self._state.save(progress, self._weights, self._optimizer, self._best)

    def _restore(self) -> None:
        found = self._state.restore(self._weights, self._optimizer)
        if found is None:
            return
        progress, self._best = found
        self._best = {name: tensor.to(self.layout.device) for name, tensor in self._best.items()}
        self._done, self._stopped = progress.iteration, progress.stopped
        self._kl.coefficient = progress.kl_coefficient
        self._faults.counts, self._faults.in_a_row = Counter(progress.counts), progress.skipped_in_a_row
        for name, value in progress.gate.items():
            setattr(self._gate, name, value)
        for row in (PpoIteration(**numbers) for numbers in progress.history):
            self._alarms += [(row.iteration, alarm) for alarm in self._watch.update(row)]

    def _report(self) -> PpoReport:
        return PpoReport(
            iterations=self._done,
            stopped=self._stopped,
            first_accuracy=self._gate.first,
            best_accuracy=self._gate.best,
            best_iteration=self._gate.best_iteration,
            counts=dict(self._faults.counts),
            alarms=tuple(self._alarms),
            curve=tuple(self._watch.proxy_against_gold()),
            history=tuple(self._watch.history),
        )
