"""Supervised fine-tuning on rationales: loss on the completion only, always from a given base.

Deterministic for a given (base, rows, config, seed, thread count): the order is drawn from the seed, batches group rows
of like length, and the loss is the mean over the completion tokens of the whole optimizer batch, so gradient
accumulation changes nothing but memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import Field

from data.config import Config
from data.errors import UserError
from star.training_state import TrainingState


class SftConfig(Config):
    """Settings of one fine-tuning."""

    steps: int = Field(default=300, ge=1)
    """Optimizer steps of round 1."""
    growth: float = Field(default=1.2, ge=1, le=4)
    """Each round trains this many times the steps of the one before (STaR: 1.2)."""
    batch_size: int = Field(default=64, ge=1)
    """Rows of one optimizer step."""
    micro_batch_size: int = Field(default=64, ge=1)
    """Rows of one forward pass; lower it when memory is short."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises; it falls linearly to a tenth afterwards."""
    weight_decay: float = Field(default=0.01, ge=0)
    max_epochs: float = Field(default=20.0, gt=0)
    """A small round trains no more than this many passes over its rows."""
    save_every_s: float = Field(default=60, ge=0)
    """Seconds between two saves of weights, optimizer and position: the most training that a kill can cost."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA adapters on all linear layers; 0 trains every weight."""

    def steps_of_round(self, round_: int) -> int:
        """Optimizer steps of a round, counted from 1: steps * growth ** (round - 1), as in STaR section 3."""
        return int(self.steps * self.growth ** (round_ - 1))

    def capped(self, steps: int, n_rows: int) -> int:
        """Steps after the cap of `max_epochs` passes over `n_rows` rows; at least one."""
        return max(1, min(steps, round(self.max_epochs * n_rows / self.batch_size)))


@dataclass(frozen=True, slots=True)
class Row:
    """One training example as token ids."""

    prompt: list[int]
    completion: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training did and cost."""

    steps: int
    rows: int
    tokens: int
    """Tokens that went through the model, padding not counted."""
    losses: tuple[float, ...]
    """Mean loss of each tenth of the training, nats a completion token."""


def batch_order(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """Row indices of every optimizer step.

    Each pass shuffles the rows, sorts runs of 16 batches by length (little padding, still random), and shuffles the
    batches. The last, smaller batch of a pass is kept.
    """
    rng = random.Random(seed)
    order: list[list[int]] = []
    while len(order) < steps:
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        batches = []
        for start in range(0, len(rows), batch_size * 16):
            window = sorted(rows[start : start + batch_size * 16], key=lambda row: lengths[row])
            batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
        rng.shuffle(batches)
        order += batches
    return order[:steps]


def _collate(rows: Sequence[Row], pad: int, device: Any) -> tuple[Any, Any, Any]:
    """Right-padded ids, mask and labels [B, T]; labels are -100 on prompt and padding."""
    import torch

    width = max(len(row.prompt) + len(row.completion) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    for line, row in enumerate(rows):
        start, end = len(row.prompt), len(row.prompt) + len(row.completion)
        ids[line, :end] = torch.tensor(row.prompt + row.completion)
        mask[line, :end] = 1
        labels[line, start:end] = torch.tensor(row.completion)
    return ids.to(device), mask.to(device), labels.to(device)


def completion_loss(model: Any, rows: Sequence[Row], pad: int) -> Any:
    """Summed cross-entropy over the completion tokens of some rows, in nats."""
    import torch

    ids, mask, labels = _collate(rows, pad, model.device)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    targets = labels[:, 1:]
    # Only completion positions reach the softmax: prompts would cost a vocabulary-wide row each.
    wanted = targets != -100
    return torch.nn.functional.cross_entropy(logits[wanted].float(), targets[wanted], reduction="sum")


def learning_rate_at(step: int, total: int, config: SftConfig) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    warm = max(1, round(total * config.warmup))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * (1 - 0.9 * (step - warm) / max(1, total - warm))


def _with_adapters(model: Any, rank: int) -> Any:
    if not rank:
        model.requires_grad_(True)
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))


def fine_tune(
    model: Any,
    rows: Sequence[Row],
    config: SftConfig,
    *,
    steps: int,
    pad: int,
    seed: int,
    state: TrainingState | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[Any, TrainingReport]:
    """Train a model on rows and return it, in evaluation mode, adapters merged.

    Args:
        model: the base; changed in place.
        rows: training examples; at least one.
        config: batch sizes and learning rate.
        steps: optimizer steps, before the cap of `max_epochs`.
        pad: id for padding, always masked.
        seed: seed of the order.
        state: where the training is saved now and then, and resumed from, to the bit.
        on_step: called with (step, steps, loss) after each optimizer step.

    Raises:
        UserError: no rows, or the loss is no longer a number (stopped before the update).
    """
    import torch

    if not rows:
        raise UserError("nothing to train on: no rationale was kept.", "Use easier problems or more samples.")
    torch.manual_seed(seed)
    model = _with_adapters(model, config.lora_rank).train()
    steps = config.capped(steps, len(rows))
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    lengths = [len(row.prompt) + len(row.completion) for row in rows]
    order = batch_order(lengths, config.batch_size, steps, seed)
    losses = state.restore(weights, optimizer) if state else []
    for step in range(len(losses), steps):
        batch = order[step]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps, config)
        losses.append(_step(model, optimizer, [rows[index] for index in batch], config, pad, list(weights.values())))
        if state:
            state.save(weights, optimizer, losses)
        if on_step:
            on_step(step + 1, steps, losses[-1])
    if config.lora_rank:
        model = model.merge_and_unload()
    model.requires_grad_(False).eval()
    tokens = sum(lengths[index] for batch in order for index in batch)
    return model, TrainingReport(steps=steps, rows=len(rows), tokens=tokens, losses=_tenths(losses))


def _step(model: Any, optimizer: Any, batch: Sequence[Row], config: SftConfig, pad: int, trainable: Any) -> float:
    """One optimizer step; returns the mean loss over the batch's completion tokens."""
    import torch

    n_tokens = sum(len(row.completion) for row in batch)
    total = 0.0
    optimizer.zero_grad(set_to_none=True)
    for start in range(0, len(batch), config.micro_batch_size):
        loss = completion_loss(model, batch[start : start + config.micro_batch_size], pad) / n_tokens
        loss.backward()
        total += loss.item()
    if total != total or total in (float("inf"), float("-inf")):
        raise UserError(f"the training loss became {total}.", "Lower `sft.learning_rate`.")
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    return total


def _tenths(losses: Sequence[float]) -> tuple[float, ...]:
    """Mean of each tenth of a list; of each item where there are fewer than ten."""
    n_parts = min(10, len(losses))
    borders = [part * len(losses) // n_parts for part in range(n_parts + 1)]
    parts = [losses[start:end] for start, end in pairwise(borders)]
    return tuple(sum(part) / len(part) for part in parts)
