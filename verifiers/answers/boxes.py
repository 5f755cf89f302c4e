r"""Boxes (`\boxed{...}`): the last one, what it holds, and its neighbours in one list; pure."""

from __future__ import annotations

import re

from verifiers.answers.canonical import canonical, closing
from verifiers.answers.decision import Outcome
from verifiers.answers.equivalence import decide
from verifiers.answers.phrases import Candidate

BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_JOINED = re.compile(
    r"[\s$.,;*\\()]*(?:\\text\s*\{)?\s*(or|and|,|;)?(?:\s+(?:or|and)\b)?(?:\s+(?:else|maybe|perhaps)\b)?[\s$,}\\()]*",
    re.IGNORECASE,
)
_MAX_BARE = 200


def is_blank(answer: str) -> bool:
    """Whether an answer holds nothing but marks without a value."""
    bare = re.sub(r"\\[a-zA-Z]+", "", answer[:_MAX_BARE])
    return re.search(r"[^\W_]", bare) is None and not canonical(answer[:_MAX_BARE])


def last_box(text: str) -> Candidate | None:
    """The last box of a text."""
    starts = list(BOX.finditer(text))
    return read_box(text, starts[-1]) if starts else None


def read_box(text: str, match: re.Match[str]) -> Candidate:
    """What the box that starts here holds."""
    if text[match.end() : match.end() + 1] != "{":
        # `\boxed 5`: TeX boxes the next token.
        token = re.compile(r"\\?[A-Za-z]+|-?[\d.,]*\d|.?").match(text, match.end())
        payload = token.group() if token else ""
        return Candidate(payload, "boxed" if payload else "empty_box", match.start(), match.end() + len(payload))
    end = closing(text, match.end())
    if end < 0:
        return Candidate("", "unclosed_box", match.start(), len(text))
    payload = text[match.end() + 1 : end].strip()
    return Candidate(payload, "empty_box" if is_blank(payload) else "boxed", match.start(), end + 1)


def with_neighbours(text: str, last: Candidate) -> tuple[str, str]:
    """The last box, or the list of those that stand side by side with it, and how it was found."""
    boxes, joiners = [last], set[str]()
    earlier = [match for match in BOX.finditer(text) if match.start() < last.start][-8:]
    for match in reversed(earlier):
        box = read_box(text, match)
        # The length comes first: the pattern is quadratic in it.
        near = 0 <= boxes[0].start - box.end <= 40
        between = _JOINED.fullmatch(text, box.end, boxes[0].start) if near and box.how == "boxed" else None
        if between is None:
            break
        joiners.add((between.group(1) or "").lower())
        boxes.insert(0, box)
    tail = re.compile(r"[\s$]*or[\s$]+(-?[\d.,/]*\d)").match(text, last.end)
    payloads = [box.payload for box in boxes] + ([tail.group(1)] if tail else [])
    # Boxes with nothing but space between them are two tries, of which the last one counts.
    if len(payloads) == 1 or _all_same(payloads) or (not tail and joiners == {""}):
        return last.payload, "boxed"
    return (" or " if tail or "or" in joiners else ", ").join(payloads), "boxed_list"


def _all_same(payloads: list[str]) -> bool:
    """Whether no two of the answers are known to differ."""
    last = payloads[-1][:_MAX_BARE]
    return all(decide(last, payload[:_MAX_BARE]).outcome is not Outcome.DIFFERENT for payload in payloads[:-1])
