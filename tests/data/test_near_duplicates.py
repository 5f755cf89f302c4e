"""Near duplicates: the estimate agrees with the true similarity, groups are whole, and new texts stay alone."""

from __future__ import annotations

import random

import numpy as np

from data.near_duplicates import RUN, near_duplicates, signatures

WORDS = [f"w{number}" for number in range(5000)]


def text(rng: random.Random, n: int = 120) -> list[str]:
    return [rng.choice(WORDS) for _ in range(n)]


def changed(words: list[str], rng: random.Random, n: int) -> list[str]:
    found = list(words)
    for place in rng.sample(range(len(words)), n):
        found[place] = f"new{rng.randrange(10**9)}"
    return found


def jaccard(one: list[str], other: list[str]) -> float:
    first, second = ({tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)} for words in (one, other))
    return len(first & second) / len(first | second)


def test_signatures_estimate_the_similarity_of_runs() -> None:
    rng = random.Random(1)
    pairs = [(words, changed(words, rng, n)) for n in range(12) for words in [text(rng) for _ in range(20)]]
    found = signatures(words for pair in pairs for words in pair)
    estimates = (found[::2] == found[1::2]).mean(axis=1)
    errors = estimates - np.array([jaccard(*pair) for pair in pairs])
    # Standard error of 64 draws is at most 0.0625 a pair, and 0.004 over 240 of them.
    assert abs(errors.mean()) < 0.015
    assert errors.std() < 0.07


def test_texts_with_a_changed_word_are_grouped_under_the_first_and_others_are_not() -> None:
    rng = random.Random(2)
    originals = [text(rng) for _ in range(300)]
    texts = originals + [changed(words, rng, 1) for words in originals]
    groups = near_duplicates(signatures(texts), 0.8)
    assert list(groups[:300]) == list(range(300))
    # A pair with J = 0.92 is estimated below 0.8 about once in two thousand times.
    assert sum(groups[300 + place] == place for place in range(300)) >= 298


def test_equal_texts_of_any_length_are_one_group() -> None:
    texts = [["a"], ["a", "b"], [], ["a"], ["a", "b"], [], text(random.Random(3)), ["b"]]
    texts.append(list(texts[6]))
    assert list(near_duplicates(signatures(texts))) == [0, 1, 2, 0, 1, 2, 6, 7, 6]


def test_chains_are_whole_groups() -> None:
    rng = random.Random(4)
    chain = [text(rng)]
    for _ in range(30):
        chain.append(changed(chain[-1], rng, 1))
    groups = near_duplicates(signatures(chain), 0.7)
    assert set(groups) == {0}
    assert jaccard(chain[0], chain[-1]) < 0.3


def test_signatures_do_not_depend_on_the_chunk_or_the_neighbours() -> None:
    rng = random.Random(5)
    texts = [text(rng, rng.randrange(1, 40)) for _ in range(1500)]
    whole = signatures(texts)
    assert np.array_equal(whole[1400:], signatures(texts[1400:]))
    assert np.array_equal(whole[700:701], signatures([texts[700]]))


def test_no_text_is_no_group() -> None:
    assert len(near_duplicates(signatures([]))) == 0
