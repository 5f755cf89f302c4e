"""Batched decoding with a seed of its own per sample, over any transformers causal LM.

Each row draws its uniforms from a counter-based generator keyed by its own seed (Philox), so a draw depends neither on
the batch nor on the order; only floating point does, and a shard is always computed as the same batch. Prompts that
several rows share are read once and their cache repeated; rows that finished leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from data.records import FinishReason
from star.generation.base import SamplingParams
from star.generation.cache import GrowingCache


@dataclass(slots=True)
class Row:
    """One sample while it is drawn."""

    prompt_ids: Sequence[int]
    seed: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason = FinishReason.LENGTH


def sample_tokens(logits: torch.Tensor, uniforms: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Draw one token a row by inverting the cumulative distribution.

    Args:
        logits: [B, V].
        uniforms: [B] in [0, 1).
        params: temperature, top_k and top_p are used.

    Returns:
        Token ids [B].
    """
    if params.temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits.float() / params.temperature, dim=-1)
    if params.top_k or params.top_p < 1:
        probs = _truncated(probs, params)
    cumulative = probs.double().cumsum(-1)
    # Scaling by the total absorbs the rounding of the sum and the mass that truncation removed.
    targets = uniforms.unsqueeze(-1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
    return drawn.clamp_(max=logits.shape[-1] - 1)


def _truncated(probs: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Zero all but the `top_k` likeliest tokens and all outside the `top_p` nucleus; [B, V] to [B, V]."""
    ordered, index = probs.sort(dim=-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= params.top_p
    if params.top_k:
        outside[:, params.top_k :] = True
    return torch.zeros_like(probs).scatter(-1, index, ordered.masked_fill(outside, 0.0))


def _uniforms(rows: Sequence[Row], length: int) -> torch.Tensor:
    """[B, length] uniforms, each row from its own seed."""
    draws = [np.random.Generator(np.random.Philox(key=row.seed)).random(length) for row in rows]
    return torch.from_numpy(np.stack(draws))


def _prefill(
    model: Any, rows: Sequence[Row], pad_id: int
) -> tuple[torch.Tensor, GrowingCache, torch.Tensor, torch.Tensor]:
    """Read every distinct prompt once.

    Returns:
        Next-token logits [B, V], the cache, the attention mask [B, P] and the next position of each row [B].
    """
    distinct: dict[tuple[int, ...], int] = {}
    owner = [distinct.setdefault(tuple(row.prompt_ids), len(distinct)) for row in rows]
    width = max(len(prompt) for prompt in distinct)
    # Left padding: the last column is every prompt's last token.
    ids = torch.full((len(distinct), width), pad_id)
    mask = torch.zeros(len(distinct), width, dtype=torch.long)
    for prompt, line in distinct.items():
        ids[line, width - len(prompt) :] = torch.tensor(prompt)
        mask[line, width - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = GrowingCache(model.config.num_hidden_layers)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    if len(distinct) == len(rows):
        return logits, cache, mask, mask.sum(-1)
    index = torch.tensor(owner, device=model.device)
    cache.batch_select_indices(index)
    return logits[index], cache, mask[index], mask[index].sum(-1)


@torch.inference_mode()
def decode(
    model: Any,
    rows: Sequence[Row],
    params: SamplingParams,
    *,
    eos_ids: frozenset[int],
    pad_id: int,
    stopper: Any = None,
) -> None:
    """Fill `tokens`, `logprobs` and `finish_reason` of every row, in place.

    Args:
        model: a causal LM in evaluation mode.
        rows: the batch; rows with equal prompts share one prefill.
        params: one set for the whole batch.
        eos_ids: tokens that end a sample (kept in `tokens`).
        pad_id: any valid id; padding is masked.
        stopper: called as `stopper(tokens)` after each token where stop strings are wanted; true ends the sample.
    """
    logits, cache, mask, position = _prefill(model, rows, pad_id)
    uniforms = _uniforms(rows, params.max_tokens).to(model.device)
    live = list(range(len(rows)))
    for step in range(params.max_tokens):
        picked = sample_tokens(logits, uniforms[live, step], params)
        logprob = torch.log_softmax(logits.float(), -1).gather(-1, picked.unsqueeze(-1)).squeeze(-1)
        done = _record(rows, live, picked.tolist(), logprob.tolist(), eos_ids, stopper)
        going = [place for place, over in enumerate(done) if not over]
        if not going or step + 1 == params.max_tokens:
            return
        if len(going) < len(live):
            keep = torch.tensor(going, device=model.device)
            # Copying the cache costs as much as a few steps, so rows leave an eighth of the batch at a time.
            if len(live) - len(going) >= max(1, len(live) // 8):
                live = [live[place] for place in going]
                picked, position, mask = picked[keep], position[keep], mask[keep]
                cache.batch_select_indices(keep)
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=-1)
        logits = model(
            input_ids=picked.unsqueeze(-1),
            attention_mask=mask,
            position_ids=position.unsqueeze(-1),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1


def _record(
    rows: Sequence[Row],
    live: Sequence[int],
    picked: Sequence[int],
    logprobs: Sequence[float],
    eos_ids: frozenset[int],
    stopper: Any,
) -> list[bool]:
    """Append each live row's token and say which rows are over."""
    done = []
    for place, index in enumerate(live):
        row = rows[index]
        over = row.finish_reason is FinishReason.STOP
        if not over:
            row.tokens.append(picked[place])
            row.logprobs.append(logprobs[place])
            over = picked[place] in eos_ids or (stopper is not None and stopper(row.tokens))
            if over:
                row.finish_reason = FinishReason.STOP
        done.append(over)
    return done
