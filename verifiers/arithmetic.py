"""Plain arithmetic, read and computed exactly: digits, + - * / ^, parentheses, percent; no names, no eval.

`evaluate` returns an exact `Fraction`, or nothing for whatever is not plain arithmetic or is over the caps. It is pure
and linear in the text, so a model's text may be given to it in this process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 400
MAX_DEPTH = 30
MAX_EXPONENT = 64
MAX_BITS = 4096
"""Limits beyond which an expression is not read: worked steps are far below, and nothing above may cost time."""

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_TOKEN = re.compile(rf"\s*(?:({_NUMBER})|([-+*/^()%]))", re.ASCII)
_SPELLINGS = str.maketrans({"×": "*", "÷": "/", "·": "*", "−": "-", "–": "-", "[": "(", "]": ")", "$": " ", "€": " "})
_TIMES = re.compile(r"(?<=[\d)%])\s*[xX]\s*(?=[\d($.])")


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression comes to."""

    value: Fraction
    decimals: int
    """Most digits after the point in any number of it."""
    n_operations: int
    """Binary operations; 0 for a bare number."""
    percent: bool
    """Whether a percent sign occurs."""


class _NotArithmetic(Exception):
    """Control flow inside this module; never raised out of it."""


def evaluate(text: str) -> Value | None:
    """The exact value of plain arithmetic; `x` between numbers means times, `$` is skipped, `20%` is a fifth.

    Returns:
        The value, or None where the text is anything else, divides by zero, or is over the caps.
    """
    if len(text) > MAX_CHARS:
        return None
    try:
        return _Reader(_tokens(_TIMES.sub("*", text.translate(_SPELLINGS)))).read()
    except (_NotArithmetic, ZeroDivisionError):
        return None


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise _NotArithmetic
        tokens.append(match.group(1) or match.group(2))
        place = match.end()
    return tokens


class _Reader:
    """Recursive descent: sum -> product -> signed -> power -> atom."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = self._depth = self._operations = self._decimals = 0
        self._percent = False

    def read(self) -> Value:
        value = self._sum()
        if self._place < len(self._tokens):
            raise _NotArithmetic
        return Value(value, self._decimals, self._operations, self._percent)

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if token and token in wanted:
            self._place += 1
            return token
        return ""

    def _sum(self) -> Fraction:
        value = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            value = self._checked(value + other if sign == "+" else value - other)
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while sign := self._take("*", "/"):
            other = self._signed()
            value = self._checked(value * other if sign == "*" else value / other)
        return value

    def _signed(self) -> Fraction:
        negative = bool(self._take("-"))
        value = self._power()
        return -value if negative else value

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = self._atom()
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or not base:
            raise _NotArithmetic
        return self._checked(base ** int(exponent))

    def _atom(self) -> Fraction:
        if self._take("("):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _NotArithmetic
            value = self._sum()
            if not self._take(")"):
                raise _NotArithmetic
            self._depth -= 1
        else:
            value = self._number()
        if self._take("%"):
            self._percent = True
            value /= 100
        return value

    def _number(self) -> Fraction:
        token = self._peek()
        if not token or not (token[0].isdigit() or token[0] == "."):
            raise _NotArithmetic
        self._place += 1
        self._decimals = max(self._decimals, len(token.partition(".")[2]))
        return Fraction(token.replace(",", ""))

    def _checked(self, value: Fraction) -> Fraction:
        self._operations += 1
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise _NotArithmetic
        return value
