"""PPO's clipped losses and truncated importance weights, as pure functions.

Each loss is a sum over the true positions divided by `n_tokens`, the number of those in the *whole* optimizer batch. So
how a batch is cut into micro-batches changes nothing; a mean of means would weight short micro-batches more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The clipped policy loss of some tokens, and what to watch; all scalars, all but `loss` without a gradient."""

    loss: torch.Tensor
    """Sum over the tokens, divided by the tokens of the optimizer batch."""
    clipped: torch.Tensor
    """Number of tokens whose ratio was clipped."""
    ratio: torch.Tensor
    """Sum of the ratios new / old."""
    kl: torch.Tensor
    """Sum of k3 between old and new policy, nats."""


def policy_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    clip_low: float,
    clip_high: float,
    n_tokens: int,
) -> PolicyLoss:
    """-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A), Schulman et al. 2017, equation 7.

    Args:
        logprobs: [B, T], of the policy that is trained; the only input that has a gradient.
        old: [B, T], of the policy before this batch.
        advantages: [B, T].
        mask: [B, T] of bool.
        weights: [B, T], importance weights of `importance_weights`; none means 1.
        clip_low: how far below 1 a ratio counts.
        clip_high: how far above 1.
        n_tokens: true positions of the whole optimizer batch.
    """
    chosen, before, advantage = logprobs[mask], old[mask], advantages[mask]
    ratio = (chosen - before).exp()
    plain, bounded = ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    losses = -torch.minimum(plain, bounded)
    if weights is not None:
        losses = losses * weights[mask]
    difference = (chosen - before).detach()
    return PolicyLoss(
        loss=losses.sum() / n_tokens,
        clipped=(bounded < plain).sum(),
        ratio=ratio.detach().sum(),
        kl=(difference.expm1() - difference).sum(),
    )


def value_loss(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, *, clip: float, n_tokens: int
) -> torch.Tensor:
    """½ max((V - R)², (clip(V, V_old ± clip) - R)²), summed and divided by `n_tokens`; a scalar.

    Args:
        values: [B, T], of the critic that is trained.
        old: [B, T], of the critic before this batch.
        returns: [B, T].
        mask: [B, T] of bool.
        clip: how far a value may move in one batch; 0 does not clip.
        n_tokens: true positions of the whole optimizer batch.
    """
    value, before, target = values[mask], old[mask], returns[mask]
    errors = (value - target).square()
    if clip:
        errors = torch.maximum(errors, (value.clamp(before - clip, before + clip) - target).square())
    return 0.5 * errors.sum() / n_tokens


def importance_weights(trainer: torch.Tensor, sampler: torch.Tensor, *, cap: float) -> torch.Tensor:
    """min(pi_trainer / pi_sampler, cap) of each token, without a gradient (truncation as in IMPALA, 2018).

    The two differ where the engine that drew the tokens rounds otherwise or holds older weights.

    Args:
        trainer: [...], log-probabilities recomputed before the update.
        sampler: [...], log-probabilities as the engine gave them.
        cap: largest weight; bounds the variance.
    """
    return (trainer - sampler).detach().exp().clamp(max=cap)
