"""A map from 64-bit hashes to 64-bit values that costs some 16 bytes an entry, where a dict costs hundreds.

New entries wait in a dict; when there are enough of them they are merged into sorted arrays, in which a key is found by
bisection.
"""

from __future__ import annotations

from typing import Any

_RECENT = 1 << 16
"""Entries that wait in the dict."""


class HashIndex:
    """Maps a key to as many values as `width` says; all are integers from 0 to 2**64 - 1."""

    def __init__(self, width: int = 1) -> None:
        import numpy as np

        self._recent: dict[int, tuple[int, ...]] = {}
        self._keys: Any = np.empty(0, np.uint64)
        self._values: Any = np.empty((0, width), np.uint64)

    def __len__(self) -> int:
        return len(self._recent) + len(self._keys)

    def get(self, key: int) -> tuple[int, ...] | None:
        """The values of a key, or None."""
        if key in self._recent:
            return self._recent[key]
        place = int(self._keys.searchsorted(self._keys.dtype.type(key)))
        if place < len(self._keys) and int(self._keys[place]) == key:
            return tuple(int(value) for value in self._values[place])
        return None

    def add(self, key: int, *values: int) -> None:
        """Add a key that is not there yet."""
        self._recent[key] = values
        if len(self._recent) >= _RECENT:
            self._merge()

    def _merge(self) -> None:
        import numpy as np

        keys = np.concatenate([self._keys, np.fromiter(self._recent, np.uint64, len(self._recent))])
        values = np.concatenate([self._values, np.array(list(self._recent.values()), np.uint64)])
        order = np.argsort(keys)
        self._keys, self._values = keys[order], values[order]
        self._recent.clear()
