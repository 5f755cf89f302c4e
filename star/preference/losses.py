"""Losses of preference learning, as pure functions of log-probabilities: DPO, CPL and Bradley-Terry.

A score is a sum of token log-probabilities, in nats; one a pair and side. All losses are one number a pair, so that the
caller's mean over the *whole* optimizer batch is the same however the batch is cut into forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import logsigmoid


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float,
) -> torch.Tensor:
    """-log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)), Rafailov et al. 2023, equation 7.

    Before the first update policy and reference agree, and every loss is log 2. On a step after a shared prefix this is
    step-DPO (Lai et al., arXiv 2406.18629).

    Args:
        chosen: [B], scores under the policy; these two have the gradient.
        rejected: [B].
        reference_chosen: [B], scores under the policy that training began with.
        reference_rejected: [B].
        beta: how dear it is to leave the reference.

    Returns:
        [B].
    """
    return -logsigmoid(beta * ((chosen - reference_chosen) - (rejected - reference_rejected)))


def cpl_loss(chosen: torch.Tensor, rejected: torch.Tensor, *, alpha: float, conservatism: float) -> torch.Tensor:
    """-log(exp(a s+) / (exp(a s+) + exp(lambda a s-))), Hejna et al. 2024 (CPL), equation 5.

    With `conservatism` and the discount of the scores at 1 this is DPO without a reference.

    Args:
        chosen: [B], discounted scores of the preferred segments under the policy.
        rejected: [B], of the others.
        alpha: temperature.
        conservatism: lambda in (0, 1]; below 1 a segment wins by being likely, not by the other's being unlikely.

    Returns:
        [B].
    """
    return -logsigmoid(alpha * (chosen - conservatism * rejected))


def bradley_terry_loss(rewards: torch.Tensor, better: Sequence[tuple[int, int]]) -> torch.Tensor:
    """-log sigmoid(r_better - r_worse) of each pair (Bradley and Terry 1952; Ouyang et al. 2022, equation 1).

    Args:
        rewards: [N], of the responses to one prompt, each computed once whatever the number of its pairs.
        better: indices (better, worse).

    Returns:
        [len(better)].
    """
    places = torch.tensor(better, device=rewards.device).reshape(-1, 2)
    return -logsigmoid(rewards[places[:, 0]] - rewards[places[:, 1]])


def discounts(n_tokens: int, step_ends: Sequence[int], gamma: float) -> list[float]:
    """Weight of each token of a segment: gamma to the number of steps that ended before it.

    Args:
        n_tokens: T, tokens of the segment; what follows the last step (the end-of-sequence token) belongs to it.
        step_ends: index of the last token of each step.
        gamma: discount a step.

    Returns:
        [T]; the weighted sum of the tokens' log-probabilities is the discounted sum over steps.
    """
    weights, step = list[float](), 0
    for at in range(n_tokens):
        weights.append(gamma**step)
        step += at in step_ends[:-1]
    return weights
