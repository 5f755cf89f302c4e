"""KL between the policy and its reference from log-probabilities of drawn tokens, and the controller of its weight.

Both estimators are per token and unbiased for KL(policy || reference) when the tokens were drawn from the policy (John
Schulman, "Approximating KL divergence", 2020). k1 goes into the reward; k3 is never negative and of lower variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


def kl_k1(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The plain log-ratio, in nats; its mean is the KL, single values may be negative.

    Args:
        logprobs: [...], of the policy.
        reference: [...], of the reference, for the same tokens.
    """
    return logprobs - reference


def kl_k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """exp(d) - 1 - d with d = reference - logprobs, in nats; at least 0.

    Args:
        logprobs: [...], of the policy.
        reference: [...], of the reference, for the same tokens.
    """
    difference = reference - logprobs
    return difference.expm1() - difference


@dataclass(slots=True)
class AdaptiveKl:
    """Weight of the KL penalty, moved towards a target (Ziegler et al. 2019, section 2.2)."""

    coefficient: float
    """The weight now."""
    target: float
    """KL to be held, nats a response; 0 keeps the weight as it is."""
    horizon: int
    """Responses over which an error of 20 % or more changes the weight by about a fifth."""

    def update(self, kl: float, n_responses: int) -> None:
        """Move the weight by the error, which is clipped to ±0.2: coefficient *= 1 + error * n_responses / horizon.

        Args:
            kl: mean KL of the batch, nats a response.
            n_responses: responses of the batch.
        """
        if self.target:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            # A batch larger than the horizon would otherwise turn the sign of the weight.
            self.coefficient *= max(0.0, 1 + error * n_responses / self.horizon)
