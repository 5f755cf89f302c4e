"""Supervised fine-tuning on rationales: loss on the completion only, always from a given base.

Deterministic for a given (base, rows, config, seed, thread count): the order is drawn from the seed, and so is whatever
a model drops out in a step. `star.sft_step` says why gradient accumulation, packing and the number of processes change
nothing but speed and memory; `star.distributed` starts the processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from data.config import Config
from data.errors import UserError
from prm.training_state import Progress, TrainingState, state_tensors
from star.lora import plain, trainable
from star.packing import attention_for, choose_layout
from star.ranks import Ranks
from star.sft_step import Stepper


class SftConfig(Config):
    """Settings of one fine-tuning."""

    steps: int = Field(default=300, ge=1)
    """Optimizer steps of round 1."""
    growth: float = Field(default=1.2, ge=1, le=4)
    """Each round trains this many times the steps of the one before (STaR: 1.2)."""
    batch_size: int = Field(default=64, ge=1)
    """Rows of one optimizer step."""
    micro_batch_size: int = Field(default=64, ge=1)
    """Rows of one forward pass of a process, or as many tokens packed; halved by itself when memory runs out."""
    processes: int = Field(default=1, ge=1)
    """Processes that share each optimizer batch: one a GPU, or several on the cores of a CPU."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes: `ddp` holds the whole model in each, `fsdp` a part of weights, gradients and moments."""
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

    @model_validator(mode="after")
    def _sharded_over_several(self) -> SftConfig:
        if self.strategy == "fsdp" and self.processes == 1:
            raise ValueError("strategy `fsdp` needs several processes; raise `sft.processes`, or leave it out")
        return self

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
    def n_tokens(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt) + len(self.completion)

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
    """What was not as configured, and why: rows padded although packing was wished, smaller forward passes."""


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
    ranks: Ranks | None = None,
) -> tuple[Any, TrainingReport]:
    """Train a model on rows in this process and return it, in evaluation mode, adapters merged.

    Args:
        model: the base, in float32; changed in place.
        rows: training examples; at least one.
        config: batch sizes and learning rate.
        steps: optimizer steps, before the cap of `max_epochs`.
        pad: id for padding; never seen by a real token.
        seed: seed of the order, of new adapters and of dropout.
        state: where the training is saved now and then, and resumed from, to the bit.
        on_step: called with (step, steps, loss) after each optimizer step.
        ranks: this process among several that call this function alike; by default it is alone, whatever
            `config.processes` says. Of sharded weights the first process alone gets the model, on the CPU.

    Raises:
        UserError: no rows, adapters on layers that the model lacks, not enough memory for one row, or a loss or
            gradient that is no longer a number (stopped before the update).
    """
    import torch

    if not rows:
        raise UserError("nothing to train on: no rationale was kept.", "Use easier problems or more samples.")
    ranks = ranks or Ranks()
    steps = config.capped(steps, len(rows))
    order = batch_order(len(rows), config.batch_size, steps, seed)
    torch.manual_seed(seed)
    model = trainable(model, config)
    ranks.spread(model)
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    progress = state.restore(weights, optimizer) if state else Progress()
    layout, note = choose_layout(model, packing=config.packing)
    micro_batch_size = progress.micro_batch_size or config.micro_batch_size
    stepper = Stepper(model, optimizer, config, layout, pad, seed, ranks, micro_batch_size)
    with attention_for(model, layout):
        _run(stepper, [[rows[index] for index in batch] for batch in order], progress, state, weights, on_step)
    trained = plain(ranks.gather(model, weights), config)
    tokens = sum(rows[index].n_tokens for batch in order for index in batch)
    note = "; ".join(filter(None, (note, _smaller(progress, config))))
    return trained, TrainingReport(
        steps=steps, rows=len(rows), tokens=tokens, losses=_tenths(progress.losses), note=note
    )


def _run(
    stepper: Stepper,
    batches: Sequence[Sequence[Row]],
    progress: Progress,
    state: TrainingState | None,
    weights: dict[str, Any],
    on_step: Callable[[int, int, float], None] | None,
) -> None:
    """All steps that are left; `progress` follows them."""
    for step in range(len(progress.losses), len(batches)):
        progress.losses.append(_step(stepper, batches[step], step, len(batches)))
        if stepper.micro_batch_size < stepper.config.micro_batch_size:
            progress.micro_batch_size = stepper.micro_batch_size
        if state:
            _save(state, stepper, weights, progress)
        if on_step:
            on_step(step + 1, len(batches), progress.losses[-1])


def _step(stepper: Stepper, batch: Sequence[Row], step: int, steps: int) -> float:
    """One optimizer step of the schedule; returns its loss."""
    return stepper.step(batch, step, learning_rate_at(step, steps, stepper.config))


def _save(state: TrainingState, stepper: Stepper, weights: dict[str, Any], progress: Progress) -> None:
    """Save the state if it is time to; parts are put together by all processes at the same step."""
    ranks, due = stepper.ranks, state.due()
    if ranks.sharded:
        due = bool(ranks.smallest(due, stepper.model.device))
    if due and (ranks.sharded or ranks.first):
        tensors = ranks.whole(state_tensors(weights, stepper.optimizer))
        if ranks.first:
            state.write(tensors, progress)


def _smaller(progress: Progress, config: SftConfig) -> str:
    """What to say of forward passes that had to become smaller; empty if none had."""
    size = progress.micro_batch_size
    if not size:
        return ""
    return f"memory ran out: forward passes of {size} rows instead of {config.micro_batch_size}; the loss is the same"


def _tenths(losses: Sequence[float]) -> tuple[float, ...]:
    """Mean of each tenth of a list; of each item where there are fewer than ten."""
    n_parts = min(10, len(losses))
    borders = [part * len(losses) // n_parts for part in range(n_parts + 1)]
    parts = [losses[start:end] for start, end in pairwise(borders)]
    return tuple(sum(part) / len(part) for part in parts)
