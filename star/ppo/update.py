"""The updates of one iteration: epochs over fixed minibatches, stopped when the policy has moved far enough.

A minibatch whose loss or gradient is NaN or infinite changes nothing: neither weights nor moments; it is counted, and
three faults in a row stop the run with the batch saved.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data.errors import UserError
from data.ids import derive_seed
from star.ppo.batches import MicroBatch, chosen_logprobs, chosen_values, culprits
from star.ppo.config import PpoConfig
from star.ppo.judging import Judged
from star.ppo.kl import kl_k3
from star.ppo.layouts import Layout
from star.ppo.losses import policy_loss, value_loss
from star.ppo.rollouts import Rollout
from star.ranks import ALONE, Ranks

LIMIT = 3
"""Faults in a row that stop a run."""


class Faults:
    """Counts steps that were skipped, and ends the run when too many follow each other.

    Args:
        file: where the responses of the last of them are written, one JSON object a line.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.counts: Counter[str] = Counter()
        self.in_a_row = 0

    def add(self, reason: str, rows: Sequence[Rollout | Judged], detail: str) -> None:
        """Count a skipped step.

        Raises:
            UserError: it is the third in a row.
        """
        self.counts[reason] += 1
        self.in_a_row += 1
        if self.in_a_row < LIMIT:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("".join(json.dumps(_as_json(row)) + "\n" for row in rows), encoding="utf-8")
        raise UserError(
            f"{LIMIT} PPO steps in a row had to be skipped; the last: {detail}.",
            f"Its responses are in '{self.file}'. Weights are those before it.",
        )

    def clear(self) -> None:
        """A step went well."""
        self.in_a_row = 0


def _as_json(row: Rollout | Judged) -> dict[str, object]:
    rollout = row.rollout if isinstance(row, Judged) else row
    return {
        "problem_id": rollout.problem.id,
        "problem": rollout.problem.prompt,
        "text": rollout.text,
        "token_ids": rollout.token_ids,
        "rewards": row.rewards if isinstance(row, Judged) else [],
    }


@dataclass(slots=True)
class UpdateStats:
    """What the updates of one iteration did."""

    steps: int = 0
    policy_loss: list[float] = field(default_factory=list)
    value_loss: list[float] = field(default_factory=list)
    clip_share: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    """Mean ratio of new to old policy in each step; the first is 1."""
    kl: list[float] = field(default_factory=list)
    """k3 between old and new policy, nats a token, at each step; the first is 0."""
    stopped_early: bool = False


def make_optimizer(layout: Layout, config: PpoConfig) -> torch.optim.AdamW:
    """One optimizer for both; eps 1e-5 as in the first RLHF code, which the default of 1e-8 does not reproduce."""
    groups = [
        {"params": list(layout.actor_weights.values()), "lr": config.learning_rate},
        {"params": list(layout.critic_weights.values()), "lr": config.critic_learning_rate},
    ]
    return torch.optim.AdamW(groups, eps=1e-5, weight_decay=0.0)


def update(
    layout: Layout,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Sequence[MicroBatch]],
    config: PpoConfig,
    faults: Faults,
    *,
    temperature: float,
    kl_coefficient: float,
    seed: int,
    critic_only: bool = False,
    ranks: Ranks = ALONE,
) -> UpdateStats:
    """Train on one iteration.

    The minibatches stay as they were cut, their order changes with each epoch.

    Args:
        layout: the models.
        optimizer: of both.
        batches: prepared minibatches.
        config: epochs, clips, limits.
        faults: where skipped steps are counted.
        temperature: of the sampler.
        kl_coefficient: weight of the KL, where it is in the loss.
        seed: of this iteration.
        critic_only: leave the policy as it is.
        ranks: the processes among which each minibatch was dealt out; their gradients are summed.

    Raises:
        UserError: three steps in a row had to be skipped.
    """
    stats = UpdateStats()
    for epoch in range(config.epochs):
        order = list(range(len(batches)))
        random.Random(derive_seed("ppo order", seed, epoch)).shuffle(order)
        for place in order:
            batch = batches[place]
            kl = _step(layout, optimizer, batch, config, stats, temperature, kl_coefficient, critic_only, ranks)
            if kl is None:
                rows = [row for part in batch for row in part.rows]
                faults.add("non_finite", rows, f"loss or gradient is no number{_named(culprits(batch))}")
            else:
                faults.clear()
                if kl > config.max_update_kl:
                    stats.stopped_early = True
                    return stats
    return stats


def _step(
    layout: Layout,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[MicroBatch],
    config: PpoConfig,
    stats: UpdateStats,
    temperature: float,
    kl_coefficient: float,
    critic_only: bool,
    ranks: Ranks,
) -> float | None:
    """One optimizer step; returns the KL a token between the policy that it met and the old one.

    No step is taken where that KL is above the limit, or where a number is not finite (then None is returned).
    """
    n_tokens = sum(ranks.joint([part.n_tokens for part in batch]))
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(4, dtype=torch.float64)
    for part in () if critic_only else batch:
        sums += _policy_backward(layout, part, config, temperature, kl_coefficient, n_tokens)
    sums = torch.stack(ranks.joint([sums])).sum(0)
    loss_sum, clipped, ratio, kl = (float(value) for value in sums)
    if kl / n_tokens > config.max_update_kl and math.isfinite(kl):
        optimizer.zero_grad(set_to_none=True)
        return kl / n_tokens
    loss_of_values = 0.0
    for part in batch:
        values = chosen_values(layout.critic(*part.inputs), part)
        loss = value_loss(values, part.values, part.returns, part.chosen, clip=config.value_clip, n_tokens=n_tokens)
        loss.backward()  # type: ignore[no-untyped-call]
        loss_of_values += loss.item()
    loss_of_values = sum(ranks.joint([loss_of_values]))
    ranks.add_up((layout.critic_weights if critic_only else layout.actor_weights | layout.critic_weights).values())
    norms = [
        torch.nn.utils.clip_grad_norm_(list(weights.values()), config.max_grad_norm).item()
        for weights in (layout.actor_weights, layout.critic_weights)
    ]
    if not all(map(math.isfinite, [loss_sum, ratio, kl, loss_of_values, *norms])):
        optimizer.zero_grad(set_to_none=True)
        return None
    optimizer.step()
    stats.steps += 1
    stats.value_loss.append(loss_of_values)
    if critic_only:
        return 0.0
    stats.policy_loss.append(loss_sum)
    stats.clip_share.append(clipped / n_tokens)
    stats.ratio.append(ratio / n_tokens)
    stats.kl.append(kl / n_tokens)
    return kl / n_tokens


def _policy_backward(
    layout: Layout, part: MicroBatch, config: PpoConfig, temperature: float, kl_coefficient: float, n_tokens: int
) -> torch.Tensor:
    """Add a micro-batch's policy gradient; returns its loss and the sums of clips, ratios and KL, [4]."""
    logprobs = chosen_logprobs(layout.actor(*part.inputs, part.keep), part, temperature)
    result = policy_loss(
        logprobs,
        part.old,
        part.advantages,
        part.chosen,
        weights=part.weights,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        n_tokens=n_tokens,
    )
    loss = result.loss
    if config.kl_in == "loss":
        loss = loss + kl_coefficient * kl_k3(logprobs, part.reference)[part.chosen].sum() / n_tokens
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.tensor([loss.item(), result.clipped.item(), result.ratio.item(), result.kl.item()]).double()


def _named(problems: Sequence[str]) -> str:
    return f" (problems {', '.join(problems[:5])})" if problems else ""
