"""Losses at step positions, as pure functions of logits: soft cross-entropy, PQM's ranking, the outcome term.

All are sums, so that the caller divides by what the whole optimizer batch holds and gradient accumulation changes
nothing. `log_odds` is the one place that says which classes count as right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds that a step is not wrong: class 0 is wrong, every other one (right; neutral, right) is not.

    Args:
        logits: [N, C], C at least 2.

    Returns:
        [N]; its sigmoid is 1 - softmax(logits)[:, 0].
    """
    return logits[:, 1:].logsumexp(-1) - logits[:, 0]


def by_row(values: torch.Tensor, sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Values [N] of the steps of all rows as a padded [B, K], and the mask of what is a step.

    Args:
        values: [N].
        sizes: steps of each of the B rows.
    """
    parts = list(torch.split(values, list(sizes)))
    mask = [torch.ones(len(part), dtype=torch.bool, device=values.device) for part in parts]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(parts, batch_first=True), pad(mask, batch_first=True)


def step_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the cross-entropies with soft targets, in nats.

    With two classes it is the binary cross-entropy of the log-odds. A step without a label has weight 0 and any target.

    Args:
        logits: [N, C].
        targets: [N, C], each row a distribution.
        weights: [N], at least 0.
    """
    return (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


def language_loss(logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the negative log-likelihoods of tokens, in nats.

    Args:
        logits: [N, V], of what comes at each token's place.
        ids: [N], the tokens.
        weights: [N], at least 0.
    """
    return (functional.cross_entropy(logits.float(), ids, reduction="none") * weights).sum()


def class_weights(targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weights of the classes, [C], under which each that occurs has the same share and the total stays what it was.

    Args:
        targets: [N, C], each row a distribution.
        weights: [N], at least 0.
    """
    mass = (targets * weights.unsqueeze(-1)).sum(0)
    occurs = mass > 0
    return torch.where(occurs, mass.sum() / (occurs.sum() * mass.clamp(min=1e-12)), torch.zeros_like(mass))


def ranking_loss(q: torch.Tensor, right: torch.Tensor, wrong: torch.Tensor, margin: float = 4.0) -> torch.Tensor:
    """PQM's comparative loss of each solution (Li and Li, arXiv 2410.11287, equation 10).

    With the right steps c_1, c_2, ... in order, the wrong ones W, and Q = 0 for the problem itself as c_0:

        L = - mean over t >= 0 of log( exp Q(c_t) / (sum of exp Q(c_i), i <= t, + sum of exp(Q(w) + margin), w in W) )

    so values rise along right steps and every wrong step lies below all of them by the margin.

    Args:
        q: [B, K], the log-odds of each step.
        right: [B, K], true at steps labelled right.
        wrong: [B, K], true at steps labelled wrong; steps that are neither do not count.
        margin: zeta of the paper.

    Returns:
        [B].
    """
    start = q.new_zeros(q.shape[0], 1)
    values = torch.cat([start, q.masked_fill(~right, -torch.inf)], dim=1)
    counted = torch.cat([torch.ones_like(start, dtype=torch.bool), right], dim=1)
    below = (q + margin).masked_fill(~wrong, -torch.inf).logsumexp(1, keepdim=True)
    # The first column is finite, so no sum is empty; masked terms are cut before the difference of infinities.
    total = torch.logaddexp(values.logcumsumexp(1), below)
    terms = torch.where(counted, total - torch.where(counted, values, 0.0), 0.0)
    return terms.sum(1) / counted.sum(1)


def outcome_loss(log_odds_: torch.Tensor, step_mask: torch.Tensor, outcomes: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each solution's outcome, if it is right just when all steps are.

    P(right) = product of the step probabilities. It ties step scores to outcomes and learns from solutions without step
    labels; which step is to blame it leaves to the model.

    Args:
        log_odds_: [B, K].
        step_mask: [B, K], true at steps.
        outcomes: [B], true where the final answer is right.

    Returns:
        [B], in nats.
    """
    log_right = (functional.logsigmoid(log_odds_) * step_mask).sum(1)
    # log(1 - exp(x)) near x = 0 needs expm1, and a floor: certainty in a wrong solution must cost a finite amount.
    log_wrong = torch.log((-torch.expm1(log_right)).clamp(min=1e-6))
    return -torch.where(outcomes, log_right, log_wrong)
