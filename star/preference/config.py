"""Settings of the preference baselines: which loss on which pairs, and the pairwise reward model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data.config import Config

Loss = Literal["dpo", "step_dpo", "cpl"]


class PreferenceConfig(Config):
    """Settings of one preference training."""

    loss: Loss = "dpo"
    """`dpo`: whole solutions; `step_dpo`: the first step that differs; `cpl`: the steps that differ, no reference."""
    beta: float = Field(default=0.1, gt=0)
    """DPO's beta and CPL's alpha."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """`cpl`: discount a step."""
    conservatism: float = Field(default=0.5, gt=0, le=1)
    """`cpl`: lambda, the weight of the rejected segment; with 1, nothing holds the likelihood of both up."""
    pairs_per_problem: int = Field(default=4, ge=1)
    steps: int = Field(default=60, ge=1)
    """Optimizer steps."""
    max_epochs: float = Field(default=4.0, gt=0)
    """Few pairs are passed over no more often than this: preference losses overfit soon."""
    batch_size: int = Field(default=32, ge=1)
    """Pairs of one optimizer step."""
    micro_batch_size: int = Field(default=32, ge=1)
    """Pairs of one forward pass; lower it when memory is short."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Falls linearly to 0."""
    save_every_s: float = Field(default=60, ge=0)
    """Seconds between two saves: the most training that a kill can cost."""

    def capped(self, n_pairs: int) -> int:
        """Optimizer steps after the cap of `max_epochs`; at least one."""
        return max(1, min(self.steps, round(self.max_epochs * n_pairs / self.batch_size)))


class RewardModelConfig(Config):
    """Settings of one reward model's training."""

    steps: int = Field(default=100, ge=1)
    batch_size: int = Field(default=16, ge=1)
    """Prompts of one optimizer step, each with all of its responses and pairs."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Falls linearly to 0."""
    max_epochs: float = Field(default=2.0, gt=0)
    samples: int = Field(default=8, ge=2)
    """Responses that are drawn to each training problem."""

    def capped(self, n_paired: int) -> int:
        """Optimizer steps after the cap of `max_epochs` over the prompts that have a pair; at least one."""
        return max(1, min(self.steps, round(self.max_epochs * n_paired / self.batch_size)))
