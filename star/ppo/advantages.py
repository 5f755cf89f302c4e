"""Masked statistics, whitening and generalized advantage estimation, as pure functions.

A mask is true at the tokens that the policy chose. Padding, prompts and holes (a tool's output inside a response) are
false: advantages and values are carried over them, never set to zero on the way.
"""

from __future__ import annotations

import torch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the true positions, a scalar.

    Args:
        values: [...].
        mask: [...] of bool, at least one true.
    """
    return values[mask].mean()


def whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    """Scale to variance 1 over the true positions; positions that are false come back as 0.

    Args:
        values: [...].
        mask: [...] of bool, at least one true.
        shift_mean: also move the mean to 0. Rewards are whitened without it, since their sign has a meaning.

    Returns:
        [...].
    """
    kept = values[mask]
    # The variance of a single value is 0, not undefined.
    scale = torch.rsqrt(kept.var(correction=0) + 1e-8)
    whitened = (values - kept.mean() if shift_mean else values) * scale
    return torch.where(mask, whitened, torch.zeros_like(whitened))


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16) over the true positions of each row.

        delta_t = r_t + gamma * V_t+1 - V_t        A_t = delta_t + gamma * lam * A_t+1

    where t+1 is the next *true* position, and V and A are 0 behind the last one.

    Args:
        rewards: [B, T], given for the token at t; what lies at a false position is ignored.
        values: [B, T], of the state before the token at t.
        mask: [B, T] of bool.
        gamma: discount a token.
        lam: 1 is Monte Carlo, 0 the one-step temporal difference.

    Returns:
        Advantages and returns (advantage + value), both [B, T] and 0 at false positions.
    """
    advantages = torch.zeros_like(rewards)
    carried = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(carried)
    for at in range(rewards.shape[1] - 1, -1, -1):
        here = mask[:, at]
        delta = rewards[:, at] + gamma * next_value - values[:, at]
        carried = torch.where(here, delta + gamma * lam * carried, carried)
        next_value = torch.where(here, values[:, at], next_value)
        advantages[:, at] = torch.where(here, carried, torch.zeros_like(carried))
    returns = torch.where(mask, advantages + values, torch.zeros_like(values))
    return advantages, returns
