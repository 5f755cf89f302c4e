"""A key-value cache that grows by doubling.

transformers' `DynamicCache` concatenates at every token, which copies the whole cache each time: at a batch of 512 that
copy costs more than a small model's arithmetic. Here room is doubled, and each step writes in place.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """`keys` and `values` [B, H, T, D] are views of the first T places of a larger buffer."""

    def __init__(self) -> None:
        super().__init__()
        self._room: list[torch.Tensor] = []
        self.keys: Any
        self.values: Any

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        needed = used + key_states.shape[-2]
        if not self._room or self._room[0].shape[-2] < needed:
            old = (self.keys, self.values)
            self._room = [_enlarged(new, needed) for new in (key_states, value_states)]
            if used:
                for room, kept in zip(self._room, old, strict=True):
                    room[..., :used, :] = kept
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[..., used:needed, :] = new
        self.keys, self.values = (room[..., :needed, :] for room in self._room)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._room = []

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._room = []


def _enlarged(like: torch.Tensor, needed: int) -> torch.Tensor:
    room = 64
    while room < needed + 1:
        room *= 2
    return like.new_empty(*like.shape[:-2], room, like.shape[-1])


class GrowingCache(DynamicCache):  # type: ignore[misc]
    """A `DynamicCache` whose layers write in place."""

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.layers = [_GrowingLayer() for _ in range(n_layers)]
