"""Streams: fixed-size batches (what `itertools.batched` does from Python 3.12 on), and a sample of what goes by."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` consecutive items; the last may be shorter."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


class Smallest(Generic[Item]):
    """Keeps the items with the smallest keys of a stream that goes by.

    Args:
        n: how many.
        key: different for different items, say a hash.
        wanted: which items to consider; all, if it is none.
    """

    def __init__(self, n: int, key: Callable[[Item], int], wanted: Callable[[Item], bool] | None = None) -> None:
        self._n, self._key, self._wanted = n, key, wanted
        self._heap: list[tuple[int, int, Item]] = []
        self._seen = 0

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, each considered as it is asked for."""
        for item in items:
            key = -self._key(item)
            is_among = len(self._heap) < self._n or (self._n and key > self._heap[0][0])
            if is_among and (self._wanted is None or self._wanted(item)):
                self._seen += 1
                heapq.heappush(self._heap, (key, self._seen, item))
                if len(self._heap) > self._n:
                    heapq.heappop(self._heap)
            yield item

    def found(self) -> list[Item]:
        """Those kept so far, by key."""
        return [item for _, _, item in sorted(self._heap, reverse=True)]
