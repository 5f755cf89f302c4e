"""Settings of a PRM's training. Imports no torch: recipes and the command line read them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data.config import Config


class PrmTrainingConfig(Config):
    """Settings of one training."""

    mode: Literal["full", "lora", "frozen", "probe"] = "full"
    """What learns beside the head: every weight, LoRA adapters, or nothing. With a frozen backbone (`frozen`, `probe`)
    the hidden states are computed once and kept in memory. `probe` fits a linear head exactly (`prm.probe`): steps,
    batches, learning rate and weight decay mean nothing to it, and few labels suffice."""
    lora_rank: int = Field(default=16, ge=1)
    loss: Literal["cross_entropy", "ranking"] = "cross_entropy"
    """`cross_entropy` takes soft labels; `ranking` (PQM) takes labels above and below 0.5 as right and wrong."""
    margin: float = Field(default=4.0, ge=0)
    """Zeta of the ranking loss."""
    target: Literal["steps", "outcome"] = "steps"
    """`outcome` makes an outcome reward model (ORM): the last step alone is labelled, by the final answer."""
    outcome_weight: float = Field(default=0.0, ge=0)
    """Weight of the outcome term beside the step loss."""
    language_weight: float = Field(default=0.0, ge=0)
    """Weight of the language-modelling loss on the tokens of right steps beside the step loss (Cobbe et al., arXiv
    2110.14168). A step's label is one bit; its tokens say much more of what a right step looks like."""
    after_error: Literal["mask", "keep", "wrong"] = "mask"
    """Steps after the first wrong one: no label, their own label, or wrong."""
    class_balance: bool = False
    """Weigh the classes so that each has the same share of the training set."""
    steps: int = Field(default=1000, ge=1)
    """Optimizer steps."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Tokens of one optimizer step, padding included. A longer solution is a batch of its own."""
    micro_batch_tokens: int = Field(default=8192, ge=1)
    """Tokens of one forward pass; lower it when memory is short, nothing else changes."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises; it falls linearly to a tenth afterwards."""
    weight_decay: float = Field(default=0.01, ge=0)
    evaluate_every: int = Field(default=200, ge=1)
    """Steps between two evaluations on the dev rows; the best weights are the result."""
    save_every_s: float = Field(default=60, ge=0)
    """Seconds between two saves of the training's state: the most training that a kill can cost."""

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = max(1, round(self.steps * self.warmup))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (1 - 0.9 * (step - warm) / max(1, self.steps - warm))
