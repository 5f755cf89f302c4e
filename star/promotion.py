"""When a round's model replaces the one before, and when the rounds end: pure decisions.

A round can make a model worse (few rows, a lucky wrong rationale), and the next round would sample from it. The gate
compares both models on the same held-out problems and keeps the better one; the plateau ends a loop that gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Literal

from pydantic import Field

from data.config import Config
from data.run_records import Promotion


class PromotionConfig(Config):
    """When a new model is promoted, and when to stop."""

    dev_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training problems, drawn by hash, that is not trained on and that gate and plateau are judged by; 0
    promotes every round."""
    gate: Literal["always", "not_worse", "not_significantly_worse"] = "not_significantly_worse"
    """`not_worse`: promoted if it solves at least as many problems; `not_significantly_worse`: unless a paired test
    shows that it is worse; `always`: whatever comes."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """Chance, one-sided, with which a model that is just as good is yet turned down."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many rounds in a row without a gain over the best before them; 0 never stops."""
    min_gain: float = Field(default=0.0, ge=0, le=1)
    """Rise of the accuracy above which it counts as a gain."""


def decide_promotion(
    before: Sequence[bool], after: Sequence[bool], config: PromotionConfig, *, arm: str, round_: int
) -> Promotion:
    """Compare two models on the same problems.

    Args:
        before: whether the present model solves each problem.
        after: whether the new one does, in the same order.
        config: which gate.
        arm: name of the arm, stored.
        round_: number of the round, stored.

    Raises:
        ValueError: the two are not of one length, or there is no problem at all.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"a gate needs both models' results on the same problems, got {len(before)} and {len(after)}")
    gained = sum(new and not old for old, new in zip(before, after, strict=True))
    lost = sum(old and not new for old, new in zip(before, after, strict=True))
    p_worse = sign_test(lost, gained + lost)
    passes = {"always": True, "not_worse": gained >= lost, "not_significantly_worse": p_worse > config.significance}
    return Promotion(
        arm=arm,
        round=round_,
        promoted=passes[config.gate],
        gained=gained,
        lost=lost,
        p_worse=p_worse,
        accuracy=sum(after) / len(after),
    )


def sign_test(losses: int, n: int) -> float:
    """Chance of `losses` or more among `n` fair coins: McNemar's exact test, one-sided."""
    return sum(comb(n, k) for k in range(losses, n + 1)) / (1 << n)


def has_plateaued(accuracies: Sequence[float], config: PromotionConfig) -> bool:
    """Whether the last `patience` rounds gained nothing.

    Args:
        accuracies: held-out accuracy of the base and then of each round's new model, promoted or not.
        config: patience and the gain that counts.
    """
    if not config.patience or len(accuracies) <= config.patience:
        return False
    last = accuracies[-config.patience :]
    return max(last) <= max(accuracies[: -config.patience]) + config.min_gain
