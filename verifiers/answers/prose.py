"""The answer that a plain sentence states: `The eigenvalues are 3 and 2.`, `He earned $18 for mowing.`; pure.

Only short, single sentences are read, and only where they do not deny, compare or hedge.
"""

from __future__ import annotations

import re

_STATES = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|finally),? )?(?P<subject>(?:(?:the|this|that|these|those|it|its|there|our|we"
    r"|he|she|they|all|only|exactly|\$?[a-zA-Z]\$?|[A-Z][a-z]+)\b)(?: [^.=<>]{0,80}?)?) ?"
    r"\b(?:is|are|equals|was|were|will be|must be|comes to|amounts to|holds on the interval)\b:? (?P<rest>\S.*?)[.!]?$",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"^[一-鿿，、]+(?:为|是|等于|：)\s*(.+?)[。.]?$")
_LEADING = re.compile(
    r"^(?:therefore|thus|hence|so|exactly|only|just|given by|equal to|approximately|about|a total of|also|indeed"
    r"|clearly|at|the interval|the set|then),? ", re.IGNORECASE)  # fmt: skip
_HAS = re.compile(
    r"^(?:the|this|that|it)\b.* has (?P<rest>(?:no|infinitely|exactly|a unique|two|one)\b.+?)[.]?$", re.IGNORECASE
)
_TRICKY = re.compile(
    r"\b(?:not|never|neither|nor|than|least|most|between|either|if|unless|maybe|perhaps|possibly|could|might|may|would)\b"
    r"|n['’]t\b|\?", re.IGNORECASE)  # fmt: skip
_NONE = re.compile(
    r"\b(?:no|not any) (?:such )?(?:real |integer |positive |rational |other |valid )*(?:solutions?|roots?|numbers?"
    r"|integers?|values?|pairs?|triples?)\b(?! other)", re.IGNORECASE)  # fmt: skip
MAX_CHARS = 160


def is_sentence(text: str) -> bool:
    """Whether a short text is a sentence rather than a bare answer."""
    return _STATES.match(text) is not None or _HAS.match(text) is not None or _CHINESE.match(text) is not None


def stated(sentence: str) -> str:
    """What a sentence states as its result; empty if it states nothing for certain."""
    text = sentence.strip().strip("*").strip()
    if len(text) > MAX_CHARS or "\n" in text:
        return ""
    if match := _CHINESE.match(text):
        return match.group(1)
    if _NONE.search(text) and not re.search(r"\b(?:except|other than|but|unless)\b", text, re.IGNORECASE):
        return "no solution"
    if _TRICKY.search(text):
        return ""
    match = _HAS.match(text) or _STATES.match(text)
    if match is None:
        return ""
    rest = match.group("rest").strip()
    while lead := _LEADING.match(rest):
        rest = rest[lead.end() :]
    # `3 and 2`, `$\\frac12$`, `equilateral`; what goes on in prose says more than the answer.
    return rest if len(re.findall(r"(?<![\\{])\b[A-Za-z]{3,}", rest)) <= 4 else ""
