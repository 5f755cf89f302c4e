"""Near duplicates among many texts by MinHash: groups of texts that share most of their runs of five words.

A text's signature is the least of 64 hash functions over its runs; two texts agree in a share of them that estimates
the Jaccard similarity J of their sets of runs (standard error at most 0.06). Candidates are texts that agree in one of
16 bands of 4: of pairs with J = 0.8 all but 0.02 % are. Broder, SEQUENCES 1997; Leskovec et al., Mining of Massive
Datasets, chapter 3. Memory is 256 bytes a text. datasketch 2.0 makes one Python object a text, and took ten times as
long for the same (`tests/benchmarks/decontamination.py` has this one's figures).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from data.batching import batched
from data.ngrams import Hashes, mixed, window_hashes

Signatures = npt.NDArray[np.uint32]
"""[texts, functions]."""
Groups = npt.NDArray[np.int64]
"""[texts]: the first text of the group that each belongs to; itself if it has no near duplicate before it."""

RUN = 5
N_FUNCTIONS = 64
_BANDS = 16
_CHUNK = 1024
_CACHED = 1 << 20


class _Numbers(dict[str, int]):
    """Words to numbers, worked out at first sight."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _CACHED:
            self.clear()
        # Not `hash`, which differs from process to process.
        found = self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return found


def signatures(texts: Iterable[Sequence[str]]) -> Signatures:
    """MinHash signatures of texts, in order; texts of less than `RUN` words count as one run.

    Args:
        texts: the words of each (`data.ngrams.words_of`).
    """
    numbers = _Numbers()
    parts = [_signatures_of(chunk, numbers) for chunk in batched(texts, _CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, N_FUNCTIONS), dtype=np.uint32)


def _signatures_of(texts: Sequence[Sequence[str]], numbers: _Numbers) -> Signatures:
    values: list[int] = []
    starts: list[int] = []
    for words in texts:
        starts.append(len(values))
        values += map(numbers.__getitem__, words)
        # Short texts are filled up to one run; the last run of a text must not reach into the next one.
        values += [0] * max(0, RUN - len(words))
    hashes = window_hashes(mixed(np.array(values)), RUN)
    begins = np.array(starts)
    ends = np.append(begins[1:], len(values)) - RUN + 1
    within = np.concatenate([np.arange(begin, end) for begin, end in zip(begins, ends, strict=True)])
    lengths = ends - begins
    return _least(hashes[within], np.append(0, np.cumsum(lengths)[:-1]))


def _least(hashes: Hashes, starts: npt.NDArray[np.int64]) -> Signatures:
    """The least value of each function over the hashes from each start to the next."""
    found = np.empty((len(starts), N_FUNCTIONS), dtype=np.uint32)
    factors = mixed(np.arange(N_FUNCTIONS)) | np.uint64(1)
    for place, factor in enumerate(factors):
        # Multiply-shift: the upper half of a product by an odd number.
        values = ((hashes * factor) >> np.uint64(32)).astype(np.uint32)
        found[:, place] = np.minimum.reduceat(values, starts)
    return found


def near_duplicates(found: Signatures, threshold: float = 0.8) -> Groups:
    """Group texts whose estimated similarity reaches a threshold, directly or through others.

    Args:
        found: their signatures.
        threshold: on the Jaccard similarity; below 0.5 many pairs are missed.
    """
    groups = np.arange(len(found))
    for first, second in _candidates(found):
        alike = _similarity(found, first, second) >= threshold
        groups = _merged(groups, first[alike], second[alike])
    return groups


def _candidates(found: Signatures) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs that agree in a band: each text with the first of its bucket and with the one before it."""
    for band in np.split(found, _BANDS, axis=1):
        keys = np.zeros(len(found), dtype=np.uint64)
        for column in band.T:
            keys = mixed(keys ^ column)
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        heads = np.maximum.accumulate(np.where(np.append(False, same), 0, np.arange(len(order))))
        later = np.flatnonzero(np.append(False, same))
        yield order[heads[later]], order[later]
        yield order[later - 1], order[later]


def _similarity(
    found: Signatures, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    parts = [
        (found[first[at : at + _CHUNK]] == found[second[at : at + _CHUNK]]).mean(axis=1)
        for at in range(0, len(first), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _merged(groups: Groups, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Groups:
    """Groups in which the texts of each pair are together; a group is called by its first text."""
    while True:
        low = np.minimum(groups[first], groups[second])
        fresh = groups.copy()
        # The texts themselves, and what their groups are called by.
        for place in (first, second, groups[first], groups[second]):
            np.minimum.at(fresh, place, low)
        fresh = fresh[fresh]
        if np.array_equal(fresh, groups):
            return groups
        groups = fresh
