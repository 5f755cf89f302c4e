"""Settings of PPO, and the settings that it refuses: those that bias the importance ratio or drop the gold answer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from data.config import Config
from data.errors import UserError
from star.generation.base import SamplingParams
from star.ppo.credit import CreditConfig


class GuardConfig(Config):
    """When an alarm is raised, and when the run stops."""

    baseline: int = Field(default=3, ge=1)
    """Iterations at the start whose mean later ones are compared with."""
    drift: float = Field(default=0.25, gt=0)
    """Relative change of mean length or number of steps that is an alarm."""
    share_rise: float = Field(default=0.1, gt=0, le=1)
    """Rise of the share of repeated steps, of fillers, or of answers without separators that is an alarm."""
    divergence: float = Field(default=0.03, gt=0, le=1)
    """Fall of the gold reward below its best, while the proxy rises, that is an alarm."""
    max_kl: float = Field(default=100.0, gt=0)
    """KL to the reference, nats a response, above which the run stops."""
    gate_every: int = Field(default=5, ge=1)
    """Iterations between two measurements on held-out problems."""
    gate_drop: float = Field(default=0.05, gt=0, le=1)
    """Fall of the held-out gold accuracy below its best at which the run stops and keeps the best policy."""


class PpoConfig(Config):
    """Settings of one PPO run."""

    iterations: int = Field(default=100, ge=1)
    """Rounds of drawing and training."""
    problems_per_iteration: int = Field(default=32, ge=1)
    samples_per_problem: int = Field(default=4, ge=1)
    epochs: int = Field(default=4, ge=1)
    """Passes over the responses of one iteration."""
    minibatch_size: int = Field(default=32, ge=1)
    """Responses of one optimizer step."""
    micro_batch_size: int = Field(default=32, ge=1)
    """Responses of one forward pass; lower it when memory is short."""
    learning_rate: float = Field(default=1e-5, gt=0)
    critic_learning_rate: float = Field(default=1e-5, gt=0)
    """Actor and critic share no weights that are trained, so a coefficient of the value loss would change nothing."""
    critic_warmup: int = Field(default=2, ge=0)
    """Iterations at the start that train the critic alone. With a critic that knows nothing and lambda below 1, the
    advantage hangs on a token's place in the response, and the first updates would unlearn."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    layout: Literal["hydra", "full"] = "hydra"
    """`hydra`: one frozen backbone, adapters for actor and critic. `full`: three models, all weights trained."""
    lora_rank: int = Field(default=16, ge=1)
    trained_layers: int = Field(default=0, ge=0)
    """Upper decoder layers that have adapters; 0: all. The layers below are the same for actor, critic and reference,
    and run once a micro-batch: time is saved, and B*T*H numbers a micro-batch are kept until the iteration ends."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda; nearer to 1 for long responses."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    value_clip: float = Field(default=0.2, ge=0)
    importance_cap: float = Field(default=2.0, ge=0)
    """Largest weight pi_trainer / pi_sampler of a token; 0 leaves the weights out."""
    kl_coefficient: float = Field(default=0.05, ge=0)
    """Weight of the KL to the reference at the start."""
    kl_target: float = Field(default=6.0, ge=0)
    """KL to be held, nats a response; 0 keeps the weight as it is."""
    kl_horizon: int = Field(default=10_000, ge=1)
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the KL counts: k1 in each token's reward, whose gradient is that of KL(policy || reference), or k3 in the
    loss, whose gradient is that of KL(reference || policy)."""
    max_update_kl: float = Field(default=0.05, gt=0)
    """KL between the policies before and after the updates of an iteration, nats a token, that ends its epochs."""
    credit: CreditConfig = CreditConfig()
    process_weight: float = Field(default=1.0, ge=0)
    outcome_weight: float = Field(default=1.0, ge=0)
    prm_only: bool = False
    """Train on the PRM alone, without the gold answer: policies learn to please it. Must be said explicitly."""
    truncation: Literal["penalty", "drop"] = "penalty"
    """What a response that was cut at the token limit gets: a fixed reward on its last token, or no part in the loss.
    Its steps are never scored and its answer never checked."""
    truncation_reward: float = Field(default=-1.0, le=0)
    min_response_tokens: int = Field(default=2, ge=1)
    """A shorter response has no part in the loss."""
    max_undecided_share: float = Field(default=0.2, ge=0, le=1)
    """The run stops if more than this share of an iteration's checks could not be decided."""
    guards: GuardConfig = GuardConfig()

    @model_validator(mode="after")
    def _layers_have_adapters(self) -> Self:
        if self.trained_layers and self.layout == "full":
            raise ValueError("`trained_layers` needs `layout: hydra`: the layout `full` trains every weight")
        return self

    @model_validator(mode="after")
    def _gold_counts(self) -> Self:
        if (self.outcome_weight == 0) != self.prm_only:
            raise ValueError(
                "without the gold answer in the reward a policy learns to please the PRM: set `outcome_weight` above "
                "0, or `outcome_weight: 0` together with `prm_only: true`"
            )
        if self.prm_only and self.process_weight == 0:
            raise ValueError("`process_weight` and `outcome_weight` are both 0: there is nothing to learn from")
        return self


def check_sampling(sampling: SamplingParams, config: PpoConfig) -> None:
    """Refuse a sampler whose distribution is not the one that the trainer computes.

    Raises:
        UserError: `top_p`, `top_k` or a temperature that biases the importance ratio.
    """
    why = "tokens then come from a truncated distribution, and the importance ratio is biased by its lost mass"
    if sampling.top_p < 1 or sampling.top_k:
        setting = f"top_p={sampling.top_p}" if sampling.top_p < 1 else f"top_k={sampling.top_k}"
        raise UserError(f"PPO cannot sample with {setting}: {why}.", "Set `top_p: 1` and `top_k: 0`.")
    if sampling.temperature == 0:
        raise UserError("PPO cannot sample greedily: nothing is explored.", "Set `temperature: 1`.")
    if sampling.temperature != 1 and config.importance_cap:
        raise UserError(
            "importance weights need temperature 1: engines report log-probabilities at that temperature.",
            "Set `temperature: 1`, or `importance_cap: 0`.",
        )
