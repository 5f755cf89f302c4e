"""Answers that are not formulas: option letters, times of day, words; canonical text in, pure."""

from __future__ import annotations

import re

from verifiers.canonical import FUNCTIONS

_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([ap])\.? ?m\.?)?", re.IGNORECASE)
_LETTER = re.compile(r"(?:[A-Za-z ,'-]{3,}(?=\())?\(?([A-J])(?:[).:](?: .*)?|)", re.DOTALL)
_SHORT_WORDS = frozenset({"yes", "no", "odd", "none", "all", "both", "red"})


def letter(text: str) -> str:
    """The option letter that an answer is, begins or ends with (`B`, `(B)`, `B. water`, `water (B)`); else empty."""
    match = _LETTER.fullmatch(text.strip())
    return match.group(1) if match else ""


def same_time(gold: str, prediction: str) -> bool | None:
    """Whether two times of day are one; a.m. or p.m. may be left out on one side. None if they are no times."""
    ours, theirs = _TIME.fullmatch(gold), _TIME.fullmatch(prediction)
    if ours is None or theirs is None:
        return None
    if not ours.group(4) and not theirs.group(4):
        return None  # perhaps a ratio
    clock = [[int(part or 0) for part in match.groups()[:3]] for match in (ours, theirs)]
    halves = {match.group(4).lower() for match in (ours, theirs) if match.group(4)}
    return clock[0] == clock[1] and len(halves) == 1


def is_words(text: str, *, marked: bool = False) -> bool:
    """Whether canonical text is words rather than a product of letters; `marked` says that it was typeset as text."""
    if re.fullmatch(r"[^\W\d_][^\W\d_' .,-]*(?:[ '.,-]+[^\W\d_]+)*", text) is None or text in FUNCTIONS:
        return False
    longest = max(len(word) for word in re.findall(r"[^\W\d_]+", text))
    return marked or longest >= 4 or text.lower() in _SHORT_WORDS


def spoken(text: str) -> str:
    """Words without case, article, braces and spaces."""
    return re.sub(r"^(?:the|an?) ", "", re.sub(r"[\s{}]+", " ", text).strip().casefold()).replace(" ", "")
