"""Numbers in English words: twenty-five, one hundred and five, three quarters, a dozen, third; exact, pure."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
_ORDINAL_WORDS = """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"""
_SMALL = {word: value for value, word in enumerate(
    _SMALL_WORDS.split())}  # fmt: skip
_TENS = {word: 10 * value for value, word in enumerate(
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)}  # fmt: skip
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {word: value for value, word in enumerate(
    _ORDINAL_WORDS.split(), start=1)}  # fmt: skip
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    word + plural: value for word, value in _ORDINALS.items() if value > 2 for plural in ("", "s")}  # fmt: skip
_MAX_WORDS = 14


def read(text: str) -> Fraction | None:
    """The number that words say; None if they are anything else."""
    words = re.split(r"[\s-]+", text.strip().lower().replace(",", " "))
    if len(words) > _MAX_WORDS or not all(word.isalpha() for word in words):
        return None
    if words[0] in ("minus", "negative") and len(words) > 1:
        inner = read(" ".join(words[1:]))
        return -inner if inner is not None else None
    if words[0] in ("a", "an") and len(words) > 1:
        words[0] = "one"
    if len(words) == 1 and words[0] in _ORDINALS:
        return Fraction(_ORDINALS[words[0]])
    if words in (["dozen"], ["one", "dozen"]):
        return Fraction(12)
    if words == ["half"]:
        return Fraction(1, 2)
    if len(words) > 1 and words[-1] in _PARTS:
        return _fraction(words)
    return _whole(words)


def _fraction(words: list[str]) -> Fraction | None:
    """`three quarters`, `two and one half`."""
    if "and" in words:
        place = len(words) - 1 - words[::-1].index("and")
        whole, part = _whole(words[:place]), read(" ".join(words[place + 1 :]))
        return whole + part if whole is not None and part is not None and part < 1 else None
    top = _whole(words[:-1])
    return top / _PARTS[words[-1]] if top is not None else None


def _whole(words: list[str]) -> Fraction | None:
    total = group = 0
    seen = False
    for word in words:
        if word in _SMALL or word in _TENS:
            group += _SMALL.get(word, 0) or _TENS.get(word, 0)
        elif word == "hundred" and seen:
            group *= 100
        elif word == "dozen" and seen:
            group *= 12
        elif word in _SCALES and seen:
            total, group = total + group * _SCALES[word], 0
        elif word == "and" and seen:
            continue
        else:
            return None
        seen = True
    return Fraction(total + group) if seen else None
