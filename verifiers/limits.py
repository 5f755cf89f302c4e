"""Size caps, applied to text before anything parses it: each check is one linear scan, so refusal takes milliseconds.

A text over a cap is not wrong; it is `too_large` to decide by algebra. The caps leave every gold answer of GSM8K and
MATH far inside. What they keep out is what makes a parser or sympy run away: nesting, long digit runs, exponent towers
such as `9^{9^{9}}`, factorials and binomials of large numbers, operators over huge ranges.
"""

from __future__ import annotations

import re

MAX_CHARS = 1024
"""Longest answer that is normalised and parsed."""
MAX_NESTING = 16
"""Deepest nesting of brackets; the LaTeX grammar takes time exponential in it."""
MAX_DIGITS = 300
"""Longest run of digits that goes to algebra; plain numbers are compared at any length without it."""
MAX_EXPONENT = 10_000
"""Largest numeric exponent."""
MAX_FACTORIAL = 5_000
"""Largest argument of a factorial or a binomial."""

_BRACKET = re.compile(r"[\[({\])}]")
_POWER = re.compile(r"(?:\^|\*\*)\s*")
_EAGER = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|limsup|bigcup|binom|dbinom|tbinom)(?![a-zA-Z])")


def refusal(text: str) -> str:
    """Why the text may not be parsed: `too_large`, or an empty string when it may."""
    too_large = len(text) > MAX_CHARS or too_deep(text) or re.search(rf"\d{{{MAX_DIGITS + 1}}}", text) is not None
    return "too_large" if too_large or _explodes(text) else ""


def too_deep(text: str, limit: int = MAX_NESTING) -> bool:
    """Whether brackets nest deeper than the limit."""
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += 1 if match.group() in "[({" else -1
        if depth > limit:
            return True
    return False


def _explodes(text: str) -> bool:
    return _bad_powers(text) or _bad_factorials(text) or _bad_eager(text)


def _bad_powers(text: str) -> bool:
    for match in _POWER.finditer(text):
        exponent = _group(text, match.end())
        if any(int(run) > MAX_EXPONENT for run in re.findall(r"\d+", exponent)):
            return True
        # A number raised inside an exponent is a tower; a variable (`e^{x^2}`) is not.
        if re.search(r"\d\s*[)}\]]*\s*(?:\^|\*\*)", exponent) or re.search(r"\d\s*!", exponent):
            return True
        following = text[match.end() + len(exponent) :].lstrip()
        if re.search(r"\d", exponent) and following.startswith(("^", "**")):
            return True
    return False


def _bad_factorials(text: str) -> bool:
    if re.search(r"!\s*[)}\]]*\s*!", text):
        return True
    if any(int(run) > MAX_FACTORIAL for run in re.findall(r"(\d+)\s*[)}\]]*\s*!", text)):
        return True
    if re.search(r"[\^*][^!]{0,40}[)}\]]\s*!", text):
        return True
    arguments = re.findall(r"(?:factorial|[Gg]amma)\s*[({]([^(){}]{0,40})", text)
    return any("^" in argument or "**" in argument or _beyond(argument) for argument in arguments)


def _beyond(text: str) -> bool:
    return any(int(run) > MAX_FACTORIAL for run in re.findall(r"\d+", text))


def _bad_eager(text: str) -> bool:
    """Operators that sympy evaluates while it builds them, over numbers too large to list."""
    if not _EAGER.search(text):
        return False
    return _beyond(text) or bool(re.search(r"(?<![_\d])\d+\s*\^\s*\{?\s*\d", text))


def _group(text: str, start: int) -> str:
    """The exponent that starts here: a bracketed group with its brackets, or the next run of digits or single sign."""
    if text[start : start + 1] not in ("{", "("):
        match = re.compile(r"[-+]?\s*(?:\d+|.)?", re.DOTALL).match(text, start)
        return match.group() if match else ""
    depth = 0
    for match in _BRACKET.finditer(text, start):
        depth += 1 if match.group() in "[({" else -1
        if depth == 0:
            return text[start : match.end()]
    return text[start:]
