"""Supervised fine-tuning on rationales: loss on the completion only, always from a given base.

Deterministic for a given (base, rows, config, seed, thread count): the order is drawn from the seed, and so is whatever
a model drops out in a step. The loss is the mean over the completion tokens of the whole optimizer batch, so neither
gradient accumulation nor packing changes anything but speed and memory.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from data.config import Config
from data.errors import UserError
from data.ids import derive_seed
from star.lora import with_adapters
from star.packing import Layout, attention_for, choose_layout, completion_loss, forward_passes
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
    """Rows of one forward pass, or as many tokens packed; lower it when memory is short."""
    packing: bool = True
    """Lay several rows on one line without their seeing each other; a model that cannot is trained with padding."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; `auto` is bfloat16 on a GPU. Weights, optimizer and loss are float32 at all times."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: a third slower, much less memory."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises; it falls linearly to a tenth afterwards."""
    weight_decay: float = Field(default=0.01, ge=0)
    max_epochs: float = Field(default=20.0, gt=0)
    """A small round trains no more than this many passes over its rows."""
    save_every_s: float = Field(default=60, ge=0)
    """Seconds between two saves of weights, optimizer and position: the most training that a kill can cost."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA adapters, merged into the base when the training is over; 0 trains every weight."""
    lora_alpha: float = Field(default=0, ge=0)
    """The adapters' product is scaled by alpha / rank; 0 means twice the rank."""
    lora_targets: list[str] = Field(default_factory=list)
    """Names of the layers that get adapters, e.g. [q_proj, v_proj]; empty means all linear ones but the head."""

    def steps_of_round(self, round_: int) -> int:
        """Optimizer steps of a round, counted from 1: steps * growth ** (round - 1), as in STaR section 3."""
        # In floating point, 100 steps that grow by 15 % would be 114.
        return int(self.steps * Fraction(str(self.growth)) ** (round_ - 1))

    def capped(self, steps: int, n_rows: int) -> int:
        """Steps after the cap of `max_epochs` passes over `n_rows` rows; at least one."""
        return max(1, min(steps, round(self.max_epochs * n_rows / self.batch_size)))


@dataclass(frozen=True, slots=True)
class Row:
    """One training example as token ids."""

    prompt: list[int]
    completion: list[int]
    name: str = ""
    """What an error calls the row, e.g. the rationale's id."""

    @property
    def n_targets(self) -> int:
        """Tokens that are predicted: those of the completion that have one before them."""
        return len(self.completion) - (not self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training did and cost."""

    steps: int
    rows: int
    tokens: int
    """Tokens that went through the model, padding not counted."""
    losses: tuple[float, ...]
    """Mean loss of each tenth of the training, nats a completion token."""
    note: str = ""
    """Why rows were padded although packing was wished; empty if they were not."""


def batch_order(n_rows: int, batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """Row indices of every optimizer step: each pass shuffles the rows, and its last, smaller batch is kept."""
    rng = random.Random(seed)
    order: list[list[int]] = []
    while len(order) < steps:
        rows = list(range(n_rows))
        rng.shuffle(rows)
        order += [rows[start : start + batch_size] for start in range(0, n_rows, batch_size)]
    return order[:steps]


def learning_rate_at(step: int, total: int, config: SftConfig) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    warm = max(1, round(total * config.warmup))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * (1 - 0.9 * (step - warm) / max(1, total - warm))


@dataclass(frozen=True, slots=True)
class _Setting:
    """What the steps of one training share."""

    config: SftConfig
    layout: Layout
    pad: int
    seed: int
    steps: int


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
        model: the base, in float32; changed in place.
        rows: training examples; at least one.
        config: batch sizes and learning rate.
        steps: optimizer steps, before the cap of `max_epochs`.
        pad: id for padding; never seen by a real token.
        seed: seed of the order, of new adapters and of dropout.
        state: where the training is saved now and then, and resumed from, to the bit.
        on_step: called with (step, steps, loss) after each optimizer step.

    Raises:
        UserError: no rows, adapters on layers that the model lacks, or a loss or gradient that is no longer a number
            (stopped before the update).
    """
    if not rows:
        raise UserError("nothing to train on: no rationale was kept.", "Use easier problems or more samples.")
    layout, note = choose_layout(model, packing=config.packing)
    steps = config.capped(steps, len(rows))
    order = batch_order(len(rows), config.batch_size, steps, seed)
    with attention_for(model, layout):
        trained, losses = _train(model, rows, order, _Setting(config, layout, pad, seed, steps), state, on_step)
    trained.requires_grad_(False).eval()
    tokens = sum(len(rows[index].prompt) + len(rows[index].completion) for batch in order for index in batch)
    return trained, TrainingReport(steps=steps, rows=len(rows), tokens=tokens, losses=_tenths(losses), note=note)


def _train(
    model: Any,
    rows: Sequence[Row],
    order: Sequence[Sequence[int]],
    setting: _Setting,
    state: TrainingState | None,
    on_step: Callable[[int, int, float], None] | None,
) -> tuple[Any, list[float]]:
    """All steps, or those that are left; returns the model with its adapters merged, and the loss of each step."""
    import torch

    config = setting.config
    torch.manual_seed(setting.seed)
    if config.lora_rank:
        model = with_adapters(model, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets)
    else:
        model.requires_grad_(True)
    model.train()
    if config.gradient_checkpointing:
        _checkpointing(model, "enable")({"use_reentrant": False})
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    losses = state.restore(weights, optimizer) if state else []
    for step in range(len(losses), setting.steps):
        losses.append(_step(model, optimizer, [rows[index] for index in order[step]], setting, step))
        if state:
            state.save(weights, optimizer, losses)
        if on_step:
            on_step(step + 1, setting.steps, losses[-1])
    if config.gradient_checkpointing:
        _checkpointing(model, "disable")()
    return model.merge_and_unload() if config.lora_rank else model, losses


def _step(model: Any, optimizer: Any, batch: Sequence[Row], setting: _Setting, step: int) -> float:
    """One optimizer step; returns the mean loss over the batch's completion tokens, in nats."""
    import torch

    # A step's dropout depends on the step alone, so a training that goes on draws what it would have drawn.
    torch.manual_seed(derive_seed("sft step", setting.seed, step))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, setting.steps, setting.config)
    n_targets = sum(row.n_targets for row in batch)
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=model.device)
    for lines in forward_passes(batch, setting.layout, setting.config.micro_batch_size):
        with _autocast(model, setting.config):
            loss = completion_loss(model, lines, setting.pad, setting.layout) / n_targets
        loss.backward()
        total += loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise _no_number(model, batch, setting, step, total.item())
    optimizer.step()
    return float(total)


def _checkpointing(model: Any, what: str) -> Any:
    """The model's method that enables or disables recomputation; transformers renamed it in the course of version 5."""
    return getattr(model, f"activation_checkpointing_{what}", None) or getattr(model, f"gradient_checkpointing_{what}")


def _autocast(model: Any, config: SftConfig) -> Any:
    """Where matrix products are computed in bfloat16, if they are to be."""
    import torch

    low = config.precision == "bfloat16" or (config.precision == "auto" and model.device.type == "cuda")
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=low)


def _no_number(model: Any, batch: Sequence[Row], setting: _Setting, step: int, total: float) -> UserError:
    """The error of a step whose loss or gradient is no number; names the rows to blame, or else the batch."""
    import torch

    with torch.no_grad(), _autocast(model, setting.config):
        losses = [completion_loss(model, [[row]], setting.pad, setting.layout).item() for row in batch]
    bad = [row for row, loss in zip(batch, losses, strict=True) if not math.isfinite(loss)] or batch
    names = ", ".join(row.name or str(row.completion[:8]) for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
    what = "gradient is no longer finite" if math.isfinite(total) else f"loss became {total}"
    return UserError(
        f"the training {what} at step {step + 1}, on {len(bad)} of its {len(batch)} rows: {names}.",
        "Look at these rows, or lower `sft.learning_rate`.",
    )


def _tenths(losses: Sequence[float]) -> tuple[float, ...]:
    """Mean of each tenth of a list; of each item where there are fewer than ten."""
    n_parts = min(10, len(losses))
    borders = [part * len(losses) // n_parts for part in range(n_parts + 1)]
    parts = [losses[start:end] for start, end in pairwise(borders)]
    return tuple(sum(part) / len(part) for part in parts)
