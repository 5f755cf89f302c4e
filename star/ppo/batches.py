"""From judged responses to tensors: padded micro-batches with everything the losses need, computed before any update.

A micro-batch is padded once and passes through the models in the same shape every time, so the ratio of new to old
policy is 1 to the last bit before the first update. Per-token tensors are [B, T] and aligned with the token they speak
of: the log-probability *of* the token at t, the value of the state *before* it. Prompts and padding are masked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from data.batching import batched
from data.ids import derive_seed
from star.ppo.advantages import gae, whiten
from star.ppo.config import PpoConfig
from star.ppo.judging import Judged
from star.ppo.kl import kl_k1
from star.ppo.layouts import Layout
from star.ppo.losses import importance_weights
from star.ranks import ALONE, Ranks


@dataclass(slots=True)
class MicroBatch:
    """Responses that pass through the models together; every tensor is [B, T]."""

    rows: Sequence[Judged]
    ids: torch.Tensor
    attention: torch.Tensor
    """1 at prompts and responses, 0 at padding."""
    positions: torch.Tensor
    """Position of each token in its own row, whatever the padding."""
    chosen: torch.Tensor
    """True at the tokens of the responses."""
    rewards: torch.Tensor
    sampler: torch.Tensor
    """The engine's log-probabilities, at temperature 1."""
    old: torch.Tensor = field(init=False)
    """Log-probabilities of the policy before this iteration's updates."""
    untempered: torch.Tensor = field(init=False)
    """The same at temperature 1, to be compared with the sampler's."""
    reference: torch.Tensor = field(init=False)
    values: torch.Tensor = field(init=False)
    entropy: torch.Tensor = field(init=False)
    advantages: torch.Tensor = field(init=False)
    returns: torch.Tensor = field(init=False)
    weights: torch.Tensor | None = field(init=False, default=None)
    """Importance weights, where they are wanted."""

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the models take."""
        return self.ids, self.attention, self.positions

    @property
    def keep(self) -> int:
        """Positions at the end, of which the first is the earliest whose logits a response token was drawn from."""
        return self.ids.shape[1] + 1 - int(self.chosen.any(0).int().argmax())

    @property
    def n_tokens(self) -> int:
        """Tokens of the responses."""
        return sum(len(row.rewards) for row in self.rows)


def collate(
    rows: Sequence[Judged], *, pad: int, device: torch.device | str = "cpu", pad_left: bool = False
) -> MicroBatch:
    """Pad responses to one width; side and content of the padding change no result.

    Args:
        rows: at least one; each prompt has at least one token.
        pad: any id.
        device: where the tensors go.
        pad_left: pad before the prompt, as engines do, instead of behind the response.
    """
    spans = [(len(row.rollout.prompt_ids), len(row.rollout.prompt_ids) + len(row.rewards)) for row in rows]
    width = max(end for _, end in spans)
    ids = torch.full((len(rows), width), pad)
    attention = torch.zeros_like(ids)
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    rewards, sampler = torch.zeros(ids.shape), torch.zeros(ids.shape)
    for line, (row, (start, end)) in enumerate(zip(rows, spans, strict=True)):
        shift = width - end if pad_left else 0
        ids[line, shift : shift + end] = torch.tensor(row.rollout.prompt_ids + row.rollout.token_ids)
        attention[line, shift : shift + end] = 1
        response = slice(shift + start, shift + end)
        chosen[line, response] = True
        rewards[line, response] = torch.tensor(row.rewards)
        sampler[line, response] = torch.tensor(row.rollout.sampler_logprobs)
    positions = (attention.cumsum(-1) - 1).clamp(min=0)
    parts = (ids, attention, positions, chosen, rewards, sampler)
    return MicroBatch(rows, *(part.to(device) for part in parts))


def minibatches(
    rows: Sequence[Judged],
    config: PpoConfig,
    *,
    pad: int,
    seed: int,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
) -> list[list[MicroBatch]]:
    """Cut an iteration into optimizer steps, and those into forward passes; which row is where hangs on the seed alone.

    Args:
        rows: of one iteration.
        config: the two sizes.
        pad: id for padding.
        seed: of this iteration.
        device: where the tensors go.
        ranks: the processes that each batch is dealt out to; this one's part is returned, which may be empty.
    """
    order = list(rows)
    random.Random(derive_seed("ppo minibatches", seed)).shuffle(order)
    found = []
    for batch in batched(order, config.minibatch_size):
        # Rows of like length share a forward pass, and each process has some of each; the loss does not notice.
        by_length = sorted(batch, key=lambda row: len(row.rollout.prompt_ids) + len(row.rewards))[
            ranks.rank :: ranks.size
        ]
        found.append([collate(part, pad=pad, device=device) for part in batched(by_length, config.micro_batch_size)])
    return found


def chosen_logits(logits: torch.Tensor, batch: MicroBatch, temperature: float) -> torch.Tensor:
    """Logits at temperature that the response tokens were drawn from, [N, V]: those one position earlier.

    Args:
        logits: [B, keep, V], at the last positions of the batch.
        batch: whose responses lie in those positions.
        temperature: of the sampler.
    """
    return logits[:, :-1][batch.chosen[:, 1 - logits.shape[1] :]].float() / temperature


def chosen_logprobs(logits: torch.Tensor, batch: MicroBatch, temperature: float) -> torch.Tensor:
    """Log-probability of each response token, [B, T]; 0 elsewhere."""
    return _picked(chosen_logits(logits, batch, temperature).log_softmax(-1), batch)


def _picked(scores: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """[N, V] to [B, T]: of each response token's scores its own."""
    own = scores.gather(-1, batch.ids[batch.chosen].unsqueeze(-1)).squeeze(-1)
    return torch.zeros_like(batch.rewards).masked_scatter(batch.chosen, own)


def chosen_values(values: torch.Tensor, batch: MicroBatch) -> torch.Tensor:
    """Value of the state before each response token, [B, T], from values after each token; 0 elsewhere."""
    return torch.zeros_like(batch.rewards).masked_scatter(batch.chosen, values[:, :-1][batch.chosen[:, 1:]])


@torch.no_grad()
def prepare(
    batches: Sequence[Sequence[MicroBatch]],
    layout: Layout,
    config: PpoConfig,
    *,
    temperature: float,
    kl_coefficient: float,
    ranks: Ranks = ALONE,
) -> None:
    """Fill in what is known before the first update: both log-probabilities, values, advantages, returns, weights.

    The KL penalty and the rewards are put together first and whitened never; advantages are whitened over the whole
    iteration.
    """
    parts = [part for batch in batches for part in batch]
    # One model after the other: changing adapters takes as long as a small model's forward pass.
    for part in parts:
        _read_policy(layout.actor(*part.inputs, part.keep), part, temperature)
    for part in parts:
        part.values = chosen_values(layout.critic(*part.inputs), part)
    for part in parts:
        part.reference = chosen_logprobs(layout.reference(*part.inputs, part.keep), part, temperature)
        penalty = kl_coefficient * kl_k1(part.old, part.reference) if config.kl_in == "reward" else 0.0
        part.advantages, part.returns = gae(
            part.rewards - penalty, part.values, part.chosen, gamma=config.gamma, lam=config.lam
        )
        if config.importance_cap:
            part.weights = importance_weights(part.untempered, part.sampler, cap=config.importance_cap)
    _whiten_all(parts, ranks)


def _read_policy(logits: torch.Tensor, part: MicroBatch, temperature: float) -> None:
    scores = chosen_logits(logits, part, temperature).log_softmax(-1)
    part.old = _picked(scores, part)
    part.untempered = part.old if temperature == 1 else chosen_logprobs(logits, part, 1.0)
    part.entropy = torch.zeros_like(part.rewards).masked_scatter(part.chosen, -(scores.exp() * scores).sum(-1))


def _whiten_all(parts: Sequence[MicroBatch], ranks: Ranks) -> None:
    """Whiten the advantages of an iteration with its one mean and variance."""
    flat = torch.cat([part.advantages[part.chosen] for part in parts]) if parts else torch.zeros(0)
    # On a device they would arrive on that of the process that they are from.
    flats = ranks.joint([flat if ranks.size == 1 else flat.cpu()])
    joined = torch.cat(flats)
    whitened = whiten(joined, torch.ones_like(joined, dtype=torch.bool))
    mine = torch.split(whitened, [len(flat) for flat in flats])[ranks.rank].to(flat.device)
    for part, values in zip(parts, torch.split(mine, [part.n_tokens for part in parts]), strict=True):
        part.advantages = torch.zeros_like(part.advantages).masked_scatter(part.chosen, values)


def culprits(parts: Sequence[MicroBatch]) -> list[str]:
    """Ids of the problems whose responses have a number that is NaN or infinite, sorted; one spoils all advantages."""
    found = set()
    for part in parts:
        finite = (part.rewards + part.returns + part.old + part.reference).isfinite().all(-1).tolist()
        found |= {row.rollout.problem.id for row, fine in zip(part.rows, finite, strict=True) if not fine}
    return sorted(found)


def mean_kl(parts: Sequence[MicroBatch], ranks: Ranks = ALONE) -> float:
    """KL of the policy to the reference before the updates, nats a response."""
    total = sum(float(kl_k1(part.old, part.reference)[part.chosen].sum()) for part in parts)
    totals = ranks.joint([(total, sum(len(part.rows) for part in parts))])
    return sum(total for total, _ in totals) / sum(n for _, n in totals)
