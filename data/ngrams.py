"""Runs of n tokens: hashes of all of a text's, and an index that finds those of some texts in any number of others.

Memory is that of the indexed texts and one chunk of rows: tokens that no indexed text has are all one to the index.
Candidates are found by 64-bit hashes and then compared token by token, so a run that is found is one. What ten or more
places share (an instruction, a table's header) tells them from nothing and is left out, as in Brown et al., arXiv
2005.14165, appendix C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int64]

SHARED = 10
"""Places that share what is left out."""
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in small letters."""
    return _WORD.findall(text.lower())


def mixed(values: npt.NDArray[Any]) -> Hashes:
    """Well-spread 64-bit hashes of whole numbers (splitmix64)."""
    with np.errstate(over="ignore"):
        found = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(found ^ (found >> np.uint64(31)))


def window_hashes(hashes: Hashes, n: int) -> Hashes:
    """Hash of each run of n hashes, [T] to [T - n + 1]; empty if there are fewer."""
    if len(hashes) < n:
        return np.empty(0, dtype=np.uint64)
    size = len(hashes) - n + 1
    found = np.zeros(size, dtype=np.uint64)
    # Odd multipliers, one a place: the same words in another order hash differently.
    for place, factor in enumerate(mixed(np.arange(n)) | np.uint64(1)):
        found += hashes[place : place + size] * factor
    return mixed(found)


class NgramIndex:
    """Runs of n tokens of some texts, each with the place that it was taken from.

    Args:
        texts: place (say, a row of a benchmark) and tokens of each text.
        n: length of the runs.
    """

    def __init__(self, texts: Iterable[tuple[int, Sequence[str]]], n: int) -> None:
        self.n = n
        self._known: dict[str, int] = {}
        ids, places = [0], [0]
        for place, tokens in texts:
            if len(tokens) >= n:
                # 0 stands between two texts and for every unknown token: no run that holds it counts.
                ids += [*(self._known.setdefault(token, len(self._known) + 1) for token in tokens), 0]
                places += [place] * (len(tokens) + 1)
        self._ids, self._places = np.array(ids, dtype=np.int64), np.array(places, dtype=np.int64)
        starts, hashes = self._runs(self._ids)
        starts, hashes = self._telling(starts, hashes)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._starts = hashes[order], starts[order]
        self._seen = np.zeros(1 << 22, dtype=np.bool_)
        self._seen[self._hashes >> np.uint64(42)] = True

    def find(self, texts: Sequence[Sequence[str]]) -> dict[int, tuple[int, int]]:
        """The first run of each text that is in the index: text to the place there and its token here."""
        known, ids, starts_of = self._known, [0], []
        for tokens in texts:
            starts_of.append(len(ids))
            ids += map(known.get, tokens, repeat(0))
            ids.append(0)
        rows = np.array(ids, dtype=np.int64)
        starts, hashes = self._runs(rows)
        likely = self._seen[hashes >> np.uint64(42)]
        starts, hashes = starts[likely], hashes[likely]
        if not len(self._hashes):
            return {}
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found: dict[int, tuple[int, int]] = {}
        for hit in np.flatnonzero(self._hashes[at] == hashes):
            start, there = int(starts[hit]), int(self._starts[at[hit]])
            text = int(np.searchsorted(starts_of, start, side="right")) - 1
            if text not in found and np.array_equal(rows[start : start + self.n], self._ids[there : there + self.n]):
                found[text] = int(self._places[there]), start - starts_of[text]
        return found

    def _runs(self, ids: Ids) -> tuple[Ids, Hashes]:
        """Where runs without a 0 start, and their hashes."""
        hashes = window_hashes(mixed(ids), self.n)
        breaks = np.concatenate([[0], np.cumsum(ids == 0)])
        starts = np.flatnonzero(breaks[self.n :] == breaks[: -self.n]) if len(hashes) else np.empty(0, dtype=np.int64)
        return starts, hashes[starts]

    def _telling(self, starts: Ids, hashes: Hashes) -> tuple[Ids, Hashes]:
        """Those of the runs that fewer than `SHARED` places have."""
        pairs = np.unique(np.stack([hashes, self._places[starts].astype(np.uint64)], axis=1), axis=0)
        values, counts = np.unique(pairs[:, 0], return_counts=True)
        kept = ~np.isin(hashes, values[counts >= SHARED])
        return starts[kept], hashes[kept]
