"""One optimizer step of a fine-tuning: forward passes that fit into memory, on this process's rows of the batch.

The loss of every pass is divided by the completion tokens of the whole batch, on all processes, so neither the cut into
passes nor the split over processes changes anything but speed, memory and the last bits of a sum. Where memory runs
out, the rows are done again in passes of half the size, and nothing of the failed attempt is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.ids import derive_seed
from star.packing import Layout, completion_loss, forward_passes
from star.ranks import Ranks

if TYPE_CHECKING:
    from star.sft import Row, SftConfig


@dataclass(slots=True)
class Stepper:
    """Takes the optimizer steps of one training."""

    model: Any
    optimizer: Any
    config: SftConfig
    layout: Layout
    pad: int
    seed: int
    ranks: Ranks
    micro_batch_size: int
    """Rows of a forward pass; halved whenever memory runs out."""

    @property
    def weights(self) -> list[Any]:
        """What is trained."""
        return list(self.optimizer.param_groups[0]["params"])

    def step(self, batch: Sequence[Row], number: int, learning_rate: float) -> float:
        """Take a step.

        Args:
            batch: rows of the whole optimizer batch; every process is given all of them, and trains on its own.
            number: of the step, from 0; decides what is dropped out.
            learning_rate: of this step.

        Returns:
            The mean loss over the batch's completion tokens, in nats.

        Raises:
            UserError: the loss or the gradient is no number (nothing was updated), or one row does not fit into memory.
        """
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        total = self._accumulate(batch, number)
        self.ranks.add_up(self.weights, total)
        norm: Any = torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        norm = norm.full_tensor() if self.ranks.sharded else norm
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise self._no_number(batch, number, total.item())
        try:
            self.optimizer.step()
        except torch.OutOfMemoryError as error:
            raise self._no_memory("the optimizer's moments") from error
        return float(total)

    def _accumulate(self, batch: Sequence[Row], number: int) -> Any:
        """This process's part of the loss, its gradients left in the weights; in smaller passes if memory runs out."""
        import torch

        shares = self.ranks.shares(batch)
        n_targets = sum(row.n_targets for row in batch)
        while (total := self._attempt(shares, n_targets, number)) is None:
            # Processes that share their weights must run out of memory together, or wait for each other for ever.
            if self.micro_batch_size == 1 or self.ranks.sharded:
                raise self._no_memory(f"a forward pass with `sft.micro_batch_size` {self.micro_batch_size}")
            self.micro_batch_size //= 2
            torch.cuda.empty_cache()
        if not self.ranks.sharded:
            self.micro_batch_size = self.ranks.smallest(self.micro_batch_size, self.model.device)
        return total

    def _attempt(self, shares: Sequence[Sequence[Row]], n_targets: int, number: int) -> Any:
        """The same in passes of the present size; None if memory ran out."""
        import torch

        # A step's dropout depends on the step alone, so a training that goes on draws what it would have drawn.
        rank = (self.ranks.rank,) if self.ranks.size > 1 else ()
        torch.manual_seed(derive_seed("sft step", self.seed, number, *rank))
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.model.device)
        try:
            for lines, factor in self._passes(shares):
                with autocast(self.model, self.config):
                    loss = completion_loss(self.model, lines, self.pad, self.layout) / n_targets * factor
                (loss * self.ranks.loss_scale).backward()
                total += loss.detach()
        except torch.OutOfMemoryError:
            # Only when this block is left is the traceback gone, and with it the activations that it holds.
            return None
        return total

    def _passes(self, shares: Sequence[Sequence[Row]]) -> list[tuple[list[list[Row]], int]]:
        """This process's forward passes, and the factor of each one's loss.

        Sharded weights come together in every pass, so all processes make as many: who has fewer repeats a short row,
        whose loss counts nothing.
        """
        passes = [forward_passes(share, self.layout, self.micro_batch_size) if share else [] for share in shares]
        mine = [(lines, 1) for lines in passes[self.ranks.rank]]
        if self.ranks.sharded:
            shortest = min((row for share in shares for row in share), key=lambda row: row.n_tokens)
            mine += [([[shortest]], 0)] * (max(map(len, passes)) - len(mine))
        return mine

    def _no_memory(self, what: str) -> UserError:
        cure = "Set `sft.gradient_checkpointing`, `sft.lora_rank`, or `sft.strategy: fsdp` on several GPUs"
        smaller = "; or lower `sft.micro_batch_size`." if self.ranks.sharded and self.micro_batch_size > 1 else "."
        return UserError(f"not enough memory for {what}.", cure + smaller)

    def _no_number(self, batch: Sequence[Row], number: int, total: float) -> UserError:
        """The error of a step whose loss or gradient is no number; names the rows to blame, or else the batch."""
        import torch

        with torch.no_grad(), autocast(self.model, self.config):
            losses = [completion_loss(self.model, [[row]], self.pad, self.layout).item() for row in batch]
        bad = [row for row, loss in zip(batch, losses, strict=True) if not math.isfinite(loss)] or batch
        names = ", ".join(row.name or str(row.completion[:8]) for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
        what = "gradient is no longer finite" if math.isfinite(total) else f"loss became {total}"
        return UserError(
            f"the training {what} at step {number + 1}, on {len(bad)} of its {len(batch)} rows: {names}.",
            "Look at these rows, or lower `sft.learning_rate`.",
        )


def autocast(model: Any, config: SftConfig) -> Any:
    """Where matrix products are computed in bfloat16, if they are to be."""
    import torch

    low = config.precision == "bfloat16" or (config.precision == "auto" and model.device.type == "cuda")
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=low)
