"""The compact map against a dict."""

from __future__ import annotations

import random

import pytest

from data import hash_index
from data.hash_index import HashIndex


def test_it_is_a_dict_of_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_index, "_RECENT", 7)
    rng, known, index = random.Random(0), dict[int, tuple[int, ...]](), HashIndex(2)
    for _ in range(500):
        key = rng.choice([rng.getrandbits(64), *list(known)[:3], 0, 2**64 - 1])
        assert index.get(key) == known.get(key)
        if key not in known:
            known[key] = (rng.getrandbits(64), rng.getrandbits(64))
            index.add(key, *known[key])
    assert len(index) == len(known)
    assert all(index.get(key) == values for key, values in known.items())
