"""Hidden states at the ends of steps for many solutions at once, each problem's prompt computed once.

Solutions of one problem begin with the same tokens. Those are run through the model once, and their keys and values
repeated for the solutions. The prompts of several problems are computed together, so that solutions of like length, of
whichever problem, share a batch: little padding. All of it is exact: a causal model's states at the prompt do not
depend on what follows, and padding is masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from prm.encode import EncodedSteps
from prm.model import step_states
from prm.training_rows import token_batches

States = Iterator[tuple[list[int], torch.Tensor]]
_CACHED = {"full_attention", "sliding_attention"}


@dataclass(slots=True)
class _Prompts:
    """Prompts that were run through the model together."""

    cache: Any
    """Keys and values of G prompts, left-padded to P tokens."""
    mask: torch.Tensor
    """[G, P], 1 on tokens."""
    rows: list[int]
    """Solutions of these prompts."""
    owner: dict[int, int]
    """Line of the prompt, by solution."""


def batch_states(decoder: Any, rows: Sequence[EncodedSteps], batch_tokens: int, *, share: bool = True) -> States:
    """Hidden states of all rows, in batches of like length.

    Args:
        decoder: a causal backbone.
        rows: encoded solutions.
        batch_tokens: tokens of one forward pass, padding and shared prompts included.
        share: whether the solutions of one problem share their prompt.

    Yields:
        Indices of some rows, and the states [N, H] of their steps, row by row.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(tuple(row.ids[: row.prompt_length]), []).append(index)
    shared = {prompt: group for prompt, group in groups.items() if share and len(group) > 1 and prompt}
    if not _can_share(decoder):
        shared = {}
    taken = {index for group in shared.values() for index in group}
    alone = sorted(set(range(len(rows))) - taken, key=lambda index: (len(rows[index].ids), index))
    for batch in token_batches([len(row.ids) for row in rows], alone, batch_tokens):
        yield batch, step_states(decoder, [rows[index] for index in batch])
    prompts = sorted(shared, key=len)
    for window in token_batches([len(prompt) for prompt in prompts], range(len(prompts)), batch_tokens):
        yield from _window_states(decoder, rows, [(prompts[at], shared[prompts[at]]) for at in window], batch_tokens)


def _can_share(decoder: Any) -> bool:
    """Whether all layers keep plain keys and values: a recurrent layer's state cannot be cut at the prompt."""
    kinds = getattr(decoder.config.get_text_config(), "layer_types", None)
    return not kinds or set(kinds) <= _CACHED


def _window_states(
    decoder: Any, rows: Sequence[EncodedSteps], window: list[tuple[tuple[int, ...], list[int]]], batch_tokens: int
) -> States:
    prompts = _read_prompts(decoder, window)
    lengths = [len(row.ids) - row.prompt_length + prompts.mask.shape[1] for row in rows]
    order = sorted(prompts.rows, key=lambda index: (lengths[index], index))
    for batch in token_batches(lengths, order, batch_tokens):
        yield batch, _continue(decoder, prompts, rows, batch)


def _read_prompts(decoder: Any, window: list[tuple[tuple[int, ...], list[int]]]) -> _Prompts:
    width = max(len(prompt) for prompt, _ in window)
    ids = torch.zeros(len(window), width, dtype=torch.long)
    mask = torch.zeros(len(window), width, dtype=torch.long)
    for line, (prompt, _) in enumerate(window):
        # Left padding: what follows then stands right behind every prompt.
        ids[line, width - len(prompt) :] = torch.tensor(prompt)
        mask[line, width - len(prompt) :] = 1
    ids, mask = ids.to(decoder.device), mask.to(decoder.device)
    cache = DynamicCache()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    decoder(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    owner = {index: line for line, (_, group) in enumerate(window) for index in group}
    return _Prompts(cache, mask, list(owner), owner)


def _continue(decoder: Any, prompts: _Prompts, rows: Sequence[EncodedSteps], batch: list[int]) -> torch.Tensor:
    """States [N, H] of the steps of some solutions, behind their prompts' keys and values."""
    width = max(len(rows[index].ids) - rows[index].prompt_length for index in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    lines: list[int] = []
    places: list[int] = []
    for line, index in enumerate(batch):
        row = rows[index]
        ids[line, : len(row.ids) - row.prompt_length] = torch.tensor(row.ids[row.prompt_length :])
        lines += [line] * len(row.step_ends)
        places += [end - row.prompt_length for end in row.step_ends]
    ids = ids.to(decoder.device)
    chosen = torch.tensor([prompts.owner[index] for index in batch], device=decoder.device)
    before = prompts.mask[chosen]
    # Right padding comes after every step's end, where nothing is read and, in a causal model, nothing is changed.
    mask = torch.cat([before, torch.ones_like(ids)], dim=1)
    positions = before.sum(1, keepdim=True) + torch.arange(width, device=decoder.device)
    states = decoder(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=_selected(prompts.cache, chosen),
        use_cache=True,
    ).last_hidden_state
    found: torch.Tensor = states[lines, places]
    return found


def _selected(cache: Any, lines: torch.Tensor) -> Any:
    """A cache of its own for each of some lines: a forward pass adds to the cache that it is given."""
    chosen = DynamicCache()
    for number, layer in enumerate(cache.layers):
        chosen.update(layer.keys[lines], layer.values[lines], number)
    return chosen
