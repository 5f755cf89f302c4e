"""Preference training of a policy on pairs: DPO, step-DPO and CPL; exact resume.

The reference is the policy that training begins with. Its scores are computed once, before the first update, so no
second model is ever in memory. Dropout stays off: at the first step policy and reference agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.errors import UserError
from prm.training_state import Progress, TrainingState
from star.encoding import pad_id
from star.packing import Layout, collate, target_logits
from star.preference.config import PreferenceConfig
from star.preference.losses import cpl_loss, dpo_loss
from star.preference.pairs import Side
from star.sft import batch_order

if TYPE_CHECKING:
    import torch

    from star.checkpoints import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceReport:
    """What a training did."""

    pairs: int
    steps: int
    losses: tuple[float, ...]
    """Mean loss of each optimizer step, nats a pair."""


def pair_scores(model: Any, pairs: Sequence[tuple[Side, Side]], *, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums of the log-probabilities of the chosen and the rejected completions, [B] each, in nats.

    Args:
        model: a causal LM.
        pairs: B of them.
        pad: any id; it lies behind the completions, where no token sees it.
    """
    import torch

    sides = [side for column in zip(*pairs, strict=True) for side in column]
    batch = collate([[side.row] for side in sides], pad, model.device)
    logprobs = target_logits(model, batch, Layout.PADDED).float().log_softmax(-1)
    picked = logprobs.gather(1, batch.targets[:, None])[:, 0]
    weights = torch.tensor([weight for side in sides for weight in side.weights], device=picked.device)
    parts = (picked * weights).split([len(side.weights) for side in sides])
    scores = torch.stack([part.sum() for part in parts])
    return scores[: len(pairs)], scores[len(pairs) :]


def train_preferences(
    loaded: LoadedModel,
    pairs: Sequence[tuple[Side, Side]],
    config: PreferenceConfig,
    *,
    seed: int,
    state: TrainingState | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> PreferenceReport:
    """Train a policy on pairs, in place.

    Args:
        loaded: the policy, in float32, which is also the reference.
        pairs: chosen and rejected sides; at least one.
        config: loss and settings.
        seed: of the order of the pairs.
        state: where the training is saved now and then, and resumed from, to the bit.
        on_step: called with (step, steps, loss) after each optimizer step.

    Raises:
        UserError: no pairs, or a loss or gradient that is no number (stopped before the update).
    """
    import torch

    if not pairs:
        raise UserError(
            "there are no pairs of a right and a wrong solution of one problem.",
            "Draw more samples of each problem, at a higher temperature, or use problems that are solved now and then.",
        )
    model = loaded.model.eval()
    trainer = _Trainer(model, pairs, config, pad_id(loaded.tokenizer), _reference(loaded, pairs, config))
    model.requires_grad_(True)
    weights = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate, weight_decay=0.0)
    progress = state.restore(weights, optimizer) if state else Progress()
    steps = config.capped(len(pairs))
    order = batch_order(len(pairs), config.batch_size, steps, seed)
    for step in range(len(progress.losses), steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss = trainer.backward(order[step])
        guarded_step(optimizer, loss, step)
        progress.losses.append(loss)
        if state:
            state.save(weights, optimizer, progress)
        if on_step:
            on_step(step + 1, steps, loss)
    model.requires_grad_(False)
    return PreferenceReport(pairs=len(pairs), steps=steps, losses=tuple(progress.losses))


def guarded_step(optimizer: torch.optim.Optimizer, loss: float, step: int) -> None:
    """Clip the gradient to norm 1 and update.

    Raises:
        UserError: the loss or the gradient is no number; nothing was updated.
    """
    import torch

    norm = torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0).item()
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(f"the loss or its gradient is no number at step {step + 1}.", "Lower the learning rate.")
    optimizer.step()


def _reference(
    loaded: LoadedModel, pairs: Sequence[tuple[Side, Side]], config: PreferenceConfig
) -> list[tuple[float, float]]:
    """Scores of both sides of each pair before any update; CPL asks for none."""
    import torch

    if config.loss == "cpl":
        return [(0.0, 0.0)] * len(pairs)
    found: list[tuple[float, float]] = []
    with torch.no_grad():
        for part in batched(pairs, config.micro_batch_size):
            chosen, rejected = pair_scores(loaded.model, part, pad=pad_id(loaded.tokenizer))
            found += zip(chosen.tolist(), rejected.tolist(), strict=True)
    return found


@dataclass(frozen=True, slots=True)
class _Trainer:
    """Losses of pairs by their place."""

    model: Any
    pairs: Sequence[tuple[Side, Side]]
    config: PreferenceConfig
    pad: int
    reference: Sequence[tuple[float, float]]

    def backward(self, places: Sequence[int]) -> float:
        """Add the gradient of an optimizer batch; returns its mean loss."""
        total = 0.0
        for part in batched(places, self.config.micro_batch_size):
            loss = self._losses(part).sum() / len(places)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def _losses(self, places: Sequence[int]) -> torch.Tensor:
        """[B]."""
        import torch

        config = self.config
        chosen, rejected = pair_scores(self.model, [self.pairs[place] for place in places], pad=self.pad)
        if config.loss == "cpl":
            return cpl_loss(chosen, rejected, alpha=config.beta, conservatism=config.conservatism)
        before = torch.tensor([self.reference[place] for place in places], device=chosen.device)
        return dpo_loss(chosen, rejected, before[:, 0], before[:, 1], beta=config.beta)
