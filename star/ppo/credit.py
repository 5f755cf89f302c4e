"""Credit forms: from a PRM's scores of the steps of one solution to the reward of each step; pure.

What matters is how much a policy can collect by adding steps. With scores s_1..s_K in [0, 1] the largest total is

    form         reward of step k                              largest total   a step that is merely liked pays
    sum          s_k                                           K               yes: the hack, however it is weighted
    min-form     w_k c_k, c = 2s - 1, w = softmax(-c / T)      1               yes, it dilutes the bad ones
    clip         min(s_k - eta, 0)                             0               no, but stopping at once pays
    delta        s_k - s_k+1, the last s_K                     1               yes: a step returns its own score
    clip+delta   delta of clip                                 0               no
    implicit     beta * s_k, a log-ratio of two models         none            yes, unless its models know the step
    progress     s_k - s_k-1, the first s_1 - start            1               no, for true success rates
    gated        s_k if the answer is right, else 0            K               yes, in right answers

`delta` and `clip+delta` are potential-based: the return from step k on is the (clipped) score of step k itself, so that
steps that follow change nothing. Sources: min-form PURE (arXiv 2504.15275); clip and delta Gao et al. (arXiv
2410.15115), whose last step, the one that states the answer, has no process reward, while here it keeps its own;
implicit PRIME (arXiv 2502.01456); sum Math-Shepherd (arXiv 2312.08935).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from data.config import Config

Form = Literal["sum", "min-form", "clip", "delta", "clip+delta", "implicit", "progress", "gated"]
Scores = Sequence[float]


class CreditConfig(Config):
    """Which form, and its constants."""

    form: Form = "clip+delta"
    """See the table of `star.ppo.credit`; `sum` and `gated` let a policy collect reward by adding steps."""
    eta: float = Field(default=0.5, ge=0, le=1)
    """`clip`: a score of this or more costs nothing."""
    temperature: float = Field(default=0.1, gt=0)
    """`min-form`: the lower, the closer to the minimum."""
    beta: float = Field(default=0.05, gt=0)
    """`implicit`: scale of the log-ratios."""


def summed(scores: Scores) -> list[float]:
    """The scores themselves; the return of a step is the sum of what follows."""
    return list(scores)


def min_form(scores: Scores, temperature: float) -> list[float]:
    """softmax(-c / T)_k * c_k with c = 2s - 1: nearly all reward lies on the worst step."""
    centred = [2 * score - 1 for score in scores]
    lowest = min(centred, default=0.0)
    weights = [math.exp((lowest - score) / temperature) for score in centred]
    total = sum(weights)
    return [weight * score / total for weight, score in zip(weights, centred, strict=True)]


def clip(scores: Scores, eta: float) -> list[float]:
    """min(s - eta, 0): a step can cost, never pay."""
    return [min(score - eta, 0.0) for score in scores]


def delta(scores: Scores) -> list[float]:
    """s_k - s_k+1, the last s_K: telescopes, so that the rewards from step k on add up to s_k."""
    return [score - following for score, following in pairwise([*scores, 0.0])]


def implicit(log_ratios: Scores, beta: float) -> list[float]:
    """Log-ratios pi_prm / pi_reference times beta, of each step, summed over the step's tokens by the scorer."""
    return [beta * ratio for ratio in log_ratios]


def progress(scores: Scores, start: float) -> list[float]:
    """What each step added to the rate of success: s_k - s_k-1, with `start` before the first."""
    return [score - before for before, score in pairwise([start, *scores])]


def gated(scores: Scores, *, solved: bool) -> list[float]:
    """The scores where the answer is right, nothing otherwise."""
    return list(scores) if solved else [0.0] * len(scores)


_Rule = Callable[[Scores, CreditConfig, bool, float], list[float]]
FORMS: dict[Form, _Rule] = {
    "sum": lambda scores, _, __, ___: summed(scores),
    "min-form": lambda scores, config, _, __: min_form(scores, config.temperature),
    "clip": lambda scores, config, _, __: clip(scores, config.eta),
    "delta": lambda scores, _, __, ___: delta(scores),
    "clip+delta": lambda scores, config, _, __: delta(clip(scores, config.eta)),
    "implicit": lambda scores, config, _, __: implicit(scores, config.beta),
    "progress": lambda scores, _, __, start: progress(scores, start),
    "gated": lambda scores, _, solved, __: gated(scores, solved=solved),
}


def step_rewards(scores: Scores, config: CreditConfig, *, solved: bool, start: float = 0.0) -> list[float]:
    """Rewards of the steps of one solution, as many as scores.

    Args:
        scores: of each step: probabilities; log-ratios for `implicit`; rates of success after the step for `progress`.
        config: the form.
        solved: whether the answer is right; only `gated` asks.
        start: rate of success before the first step; only `progress` asks.
    """
    return FORMS[config.form](scores, config, solved, start)
