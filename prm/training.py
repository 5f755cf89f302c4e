"""Training a PRM: full, LoRA, head only or probe; the best weights by first-error F1 on dev rows; exact resume.

Deterministic for a given (model, rows, config, seed, thread count): the order is drawn from the seed, the network stays
in evaluation mode (no dropout, so nothing random happens in a forward pass), and the loss is a mean over the whole
optimizer batch, so micro-batches change nothing but memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from data.errors import UserError
from prm.calibration import best_threshold
from prm.losses import by_row, class_weights, language_loss, log_odds, outcome_loss, ranking_loss, step_cross_entropy
from prm.model import LoadedPrm, step_probabilities
from prm.network import padded_states, token_logits
from prm.probe import fit_probe
from prm.training_config import PrmTrainingConfig
from prm.training_modes import FrozenStates, StateScale, make_trainable
from prm.training_rows import TrainingRow, batch_order, token_batches
from prm.training_state import Progress, TrainingState

OnStep = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrmTrainingReport:
    """What a training did and cost."""

    steps: int
    rows: int
    tokens: int
    """Tokens of the solutions trained on, padding not counted; with a frozen backbone each goes through it once."""
    losses: tuple[float, ...]
    """Loss of each optimizer step; of a probe the one loss on the parts left out."""
    evaluations: tuple[tuple[int, float, float], ...]
    """(steps done, first-error F1 in percent, loss) on the dev rows."""
    best_step: int
    """Steps after which the weights were best on the dev rows, and kept; all of them without dev rows."""


class _Trainer:
    """One training: the model, its rows and, for a frozen backbone, their hidden states."""

    def __init__(
        self,
        loaded: LoadedPrm,
        rows: Sequence[TrainingRow],
        config: PrmTrainingConfig,
        seed: int,
        states: FrozenStates | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.model, self.rows, self.config = loaded.model, rows, config
        self.adapted = make_trainable(loaded, config)
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        if not self.weights:
            raise UserError("nothing would learn: a frozen backbone without a head.", "Use mode 'lora' or 'full'.")
        # Biases and norms are not decayed: a head without its bias forgets the share of right steps.
        decays = {True: config.weight_decay, False: 0.0}
        groups = [
            {
                "params": [weight for weight in self.weights.values() if (weight.ndim > 1) is matrix],
                "weight_decay": decay,
            }
            for matrix, decay in decays.items()
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        self.lengths = [len(row.encoded.ids) for row in rows]
        self.balance = _balance(rows) if config.class_balance else None
        self.is_frozen = config.mode in ("frozen", "probe")
        if self.is_frozen:
            if config.language_weight:
                raise UserError("a frozen backbone learns no language.", "Set `language_weight` to 0.")
            self.frozen = states or FrozenStates(self.model.decoder, config.micro_batch_tokens)
            self.scale = StateScale(self.frozen.read([row.encoded for row in rows]))

    def forward(self, batch: Sequence[TrainingRow]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [N, C] of the steps of some rows, and hidden states.

        They are those of all tokens, [B, T, H], right-padded; for a frozen backbone those of the steps, [N, H].
        """
        encoded = [row.encoded for row in batch]
        if self.is_frozen:
            states = self.scale.apply(self.frozen.read(encoded))
            return self.model.head(states), states
        states, _ = padded_states(self.model.decoder, encoded)
        return self.model.read(states, encoded), states

    def loss(self, batch: Sequence[TrainingRow], whole: Sequence[TrainingRow]) -> torch.Tensor:
        """This batch's share of the mean loss over the whole optimizer batch."""
        (logits, states), n_outcomes = self.forward(batch), sum(row.outcome is not None for row in whole)
        if self.config.loss == "ranking":
            total = self._ranking(logits, batch) / len(whole)
        else:
            total = self._cross_entropy(logits, batch) / max(1e-9, sum(sum(row.weights) for row in whole))
        if self.config.outcome_weight and n_outcomes:
            total = total + self.config.outcome_weight * self._outcomes(logits, batch) / n_outcomes
        if self.config.language_weight and (chances := sum(chance for row in whole for _, chance in row.right_tokens)):
            total = total + self.config.language_weight * self._language(states, batch) / chances
        return total

    def _language(self, states: torch.Tensor, batch: Sequence[TrainingRow]) -> torch.Tensor:
        tokens = [(line, *token) for line, row in enumerate(batch) for token in row.right_tokens]
        lines, places = [line for line, _, _ in tokens], [at for _, at, _ in tokens]
        ids = torch.tensor([batch[line].encoded.ids[at] for line, at, _ in tokens], device=states.device)
        chances = torch.tensor([chance for _, _, chance in tokens], device=states.device)
        logits = token_logits(self.model.network, states[lines, [at - 1 for at in places]])
        return language_loss(logits, ids.long(), chances)

    def _cross_entropy(self, logits: torch.Tensor, batch: Sequence[TrainingRow]) -> torch.Tensor:
        targets = torch.tensor([target for row in batch for target in row.targets], device=logits.device)
        weights = torch.tensor([weight for row in batch for weight in row.weights], device=logits.device)
        if self.balance is not None:
            weights = weights * (targets @ self.balance.to(logits.device))
        return step_cross_entropy(logits, targets, weights)

    def _ranking(self, logits: torch.Tensor, batch: Sequence[TrainingRow]) -> torch.Tensor:
        q, mask = _by_row(log_odds(logits), batch)
        value, weight = (
            _by_row(torch.tensor(column, device=q.device), batch)[0]
            for column in (
                [1 - target[0] for row in batch for target in row.targets],
                [one for row in batch for one in row.weights],
            )
        )
        labelled = mask & (weight > 0)
        return ranking_loss(q, labelled & (value > 0.5), labelled & (value < 0.5), self.config.margin).sum()

    def _outcomes(self, logits: torch.Tensor, batch: Sequence[TrainingRow]) -> torch.Tensor:
        q, mask = _by_row(log_odds(logits), batch)
        known = torch.tensor([row.outcome is not None for row in batch], device=q.device)
        right = torch.tensor([bool(row.outcome) for row in batch], device=q.device)
        return (outcome_loss(q, mask, right) * known).sum()

    def step(self, batch: Sequence[int], learning_rate: float) -> float:
        """One optimizer step; returns its loss.

        Raises:
            UserError: the loss is no number any more; nothing was updated.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        whole, total = [self.rows[index] for index in batch], 0.0
        for part in token_batches(self.lengths, batch, self.config.micro_batch_tokens):
            loss = self.loss([self.rows[index] for index in part], whole)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        if not (math.isfinite(total) and math.isfinite(norm.item())):
            raise UserError(f"the training loss became {total}, its gradient {norm.item()}.", "Lower `learning_rate`.")
        self.optimizer.step()
        return total

    def fit(self) -> float:
        """Fit the head as a probe; returns its loss on rows that it was not fitted on.

        Raises:
            UserError: the settings, the head or the rows are not such that it can be one.
        """
        if self.config.loss != "cross_entropy" or self.config.outcome_weight:
            raise UserError("a probe learns from its step labels by cross-entropy.", "Use mode 'frozen'.")
        states = self.scale.apply(self.frozen.read([row.encoded for row in self.rows]))
        return min(fit_probe(self.model.head, states, self.rows, self.balance))

    @torch.no_grad()
    def evaluate(self, dev: Sequence[TrainingRow]) -> tuple[float, float]:
        """First-error F1 (at its best threshold) in percent and mean loss on dev rows."""
        order = sorted(range(len(dev)), key=lambda index: len(dev[index].encoded.ids))
        scores: dict[int, list[float]] = {}
        total = weight = 0.0
        for part in token_batches([len(row.encoded.ids) for row in dev], order, self.config.micro_batch_tokens):
            batch = [dev[index] for index in part]
            logits, _ = self.forward(batch)
            total += self._cross_entropy(logits, batch).item()
            weight += sum(sum(row.weights) for row in batch)
            found = torch.split(step_probabilities(logits), [len(row.weights) for row in batch])
            scores |= {index: one.tolist() for index, one in zip(part, found, strict=True)}
        _, f1 = best_threshold([scores[index] for index in range(len(dev))], [row.first_error for row in dev])
        return f1, total / max(1e-9, weight)


def train_prm(
    loaded: LoadedPrm,
    rows: Sequence[TrainingRow],
    config: PrmTrainingConfig,
    *,
    seed: int,
    dev: Sequence[TrainingRow] = (),
    state: TrainingState | None = None,
    states: FrozenStates | None = None,
    on_step: OnStep | None = None,
) -> PrmTrainingReport:
    """Train a PRM in place; it ends with its best weights, adapters merged, ready to be saved.

    Args:
        loaded: the model, e.g. from `prm.model.build_prm`.
        rows: training rows; at least one.
        config: what learns, from what, and for how long.
        seed: of the order and of new adapters.
        dev: rows of other problems (`split_by_problem`) by which the best weights are chosen: by first-error F1, then
            by loss; by loss alone for an outcome model. None of it is trained on.
        state: where the training is saved now and then, and resumed from, to the bit.
        states: hidden states of the frozen backbone, to share them between trainings.
        on_step: called with (step, steps, loss) after each optimizer step.

    Raises:
        UserError: no rows, nothing that could learn, or the loss is no number any more (stopped before the update).
    """
    if not rows:
        raise UserError("nothing to train on: no row has a label.", "Look at the counts of the rows left out.")
    trainer = _Trainer(loaded, rows, config, seed, states)
    is_probe = config.mode == "probe"
    steps = 1 if is_probe else config.steps
    order = [list(range(len(rows)))] if is_probe else batch_order(trainer.lengths, config.batch_tokens, steps, seed)
    state = None if is_probe else state  # Fitted in seconds, it has no moments to keep.
    progress = state.restore(trainer.weights, trainer.optimizer) if state else Progress()
    for step in range(len(progress.losses), steps):
        progress.losses.append(trainer.fit() if is_probe else trainer.step(order[step], config.learning_rate_at(step)))
        if dev and ((step + 1) % config.evaluate_every == 0 or step + 1 == steps):
            _evaluate(trainer, dev, progress)
        if state:
            state.save(trainer.weights, trainer.optimizer, progress)
        if on_step:
            on_step(step + 1, steps, progress.losses[-1])
    _finish(loaded, trainer, progress)
    return PrmTrainingReport(
        steps=steps,
        rows=len(rows),
        tokens=sum(trainer.lengths[index] for batch in order for index in batch),
        losses=tuple(progress.losses),
        evaluations=tuple(progress.evaluations),
        best_step=_best(progress.evaluations, config)[0] if progress.evaluations else steps,
    )


def _finish(loaded: LoadedPrm, trainer: _Trainer, progress: Progress) -> None:
    """Give the model its best weights, merge its adapters, and note what it was trained with."""
    with torch.no_grad():
        for name, weight in progress.best.items():
            trainer.weights[name].copy_(weight)
    if trainer.adapted is not None:
        loaded.model.network = trainer.adapted.merge_and_unload()
    if trainer.is_frozen:
        trainer.scale.fold_into(loaded.model.head)
    loaded.model.requires_grad_(False)
    loaded.config = loaded.config.model_copy(update={"training": trainer.config})


def _evaluate(trainer: _Trainer, dev: Sequence[TrainingRow], progress: Progress) -> None:
    found = (len(progress.losses), *trainer.evaluate(dev))
    progress.evaluations.append(found)
    if _best(progress.evaluations, trainer.config) == found:
        progress.best = {name: weight.detach().cpu().clone() for name, weight in trainer.weights.items()}


def _best(evaluations: Sequence[tuple[int, float, float]], config: PrmTrainingConfig) -> tuple[int, float, float]:
    """The best evaluation; the earliest of equals."""

    def merit(row: tuple[int, float, float]) -> tuple[float, float]:
        # An outcome model has nothing to say about single steps, and F1 is nan where all dev rows are right.
        by_f1 = config.target == "steps" and not math.isnan(row[1])
        return (row[1] if by_f1 else 0.0, -row[2])

    return max(evaluations, key=merit)


def _balance(rows: Sequence[TrainingRow]) -> torch.Tensor:
    targets = torch.tensor([target for row in rows for target in row.targets])
    return class_weights(targets, torch.tensor([weight for row in rows for weight in row.weights]))


def _by_row(values: torch.Tensor, batch: Sequence[TrainingRow]) -> tuple[torch.Tensor, torch.Tensor]:
    return by_row(values, [len(row.weights) for row in batch])
