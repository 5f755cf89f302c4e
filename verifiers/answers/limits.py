"""Size caps on text before anything parses it: linear scans, so that refusal takes milliseconds.

A text over a cap is not wrong; it is `too_large` to decide. The caps leave every gold answer of GSM8K and MATH far
inside. What a formula may cost to evaluate is capped where it is evaluated (`verifiers.answers.numeric`).
"""

from __future__ import annotations

import re

MAX_CHARS = 2_048
"""Longest answer that is normalised and parsed."""
MAX_NESTING = 40
"""Deepest nesting of brackets."""
MAX_DIGITS = 1_500
"""Longest run of digits inside a formula; plain numbers are compared at any length."""

_BRACKET = re.compile(r"[\[({\])}]")
_DIGITS = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")


def refusal(text: str) -> str:
    """Why the text may not be parsed: `too_large`, or an empty string when it may."""
    return "too_large" if len(text) > MAX_CHARS or too_deep(text) or _DIGITS.search(text) else ""


def too_deep(text: str, limit: int = MAX_NESTING) -> bool:
    """Whether brackets nest deeper than the limit."""
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += 1 if match.group() in "[({" else -1
        if depth > limit:
            return True
    return False
