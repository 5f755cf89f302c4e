"""Expressions of worked steps, read from tokens into exact values; no eval, no symbolic library.

What is ambiguous has several `Reading`s; what no reading covers is `Unreadable`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifiers.steps.ratio import Ratio, Unreadable
from verifiers.steps.tokens import Kind, Token
from verifiers.steps.units import unit_value

MAX_TOKENS = 200
MAX_DEPTH = 30
MAX_FACTORIAL = 170

_FUNCTION_LETTERS = frozenset("fghFGHPQTpq")
"""`f(x + 1)` is a value of f; `a(x + 1)` a product."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to take what has several meanings."""

    units: bool = False
    """Units count, so that `2 hours` is 120 minutes; otherwise they are left out."""
    relative: bool = False
    """`150 + 10%` is 150 and a tenth of it; otherwise 150.1."""
    product: bool = False
    r"""`2\\frac{1}{2}` is 1; otherwise two and a half."""


PLAIN = Reading()


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression comes to."""

    value: Ratio
    decimals: int
    """Most digits after the point in any number of it."""
    n_operations: int
    """Operations; 0 for a bare number or name."""
    percent: bool
    """Whether a percent sign occurs."""
    mixed: bool
    """Whether a mixed number such as `2 1/2` occurs."""


def evaluate(tokens: Sequence[Token], reading: Reading = PLAIN) -> Value | None:
    """The exact value of a whole run of tokens, or None where it is no expression, divides by zero or is over a cap."""
    if not tokens or len(tokens) > MAX_TOKENS:
        return None
    try:
        return _Reader(tokens, reading).read()
    except Unreadable:
        return None


class _Reader:
    """Recursive descent: sum -> product -> signed -> power -> atom."""

    def __init__(self, tokens: Sequence[Token], reading: Reading) -> None:
        self._tokens = tokens
        self._reading = reading
        self._place = self._depth = self._operations = self._decimals = 0
        self._percent = self._mixed = self._of = False

    def read(self) -> Value:
        value = self._sum()
        if self._place < len(self._tokens):
            raise Unreadable
        return Value(value, self._decimals, self._operations, self._percent, self._mixed)

    @property
    def _next(self) -> Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self, *wanted: str) -> str:
        token = self._next
        if token and token.kind is Kind.OPERATOR and token.text in wanted:
            self._place += 1
            return token.text
        return ""

    def _sum(self) -> Ratio:
        value = self._product()
        while sign := self._take("+", "-"):
            if self._of:
                # `20% of 30 + 10`: of which?
                raise Unreadable
            begin = self._place
            other = self._product()
            self._operations += 1
            if self._reading.relative and self._is_percent(begin):
                other = value * other
            value = value + other if sign == "+" else value - other
        return value

    def _is_percent(self, begin: int) -> bool:
        return self._place == begin + 2 and self._tokens[begin + 1].text == "%"

    def _product(self) -> Ratio:
        value, divided = self._signed(), False
        while True:
            if sign := self._take("*", "/", "of", "times"):
                if sign == "/" and divided:
                    # `a / 1/3` means one thing with spaces and another without.
                    raise Unreadable
                other = self._signed()
                value = value / other if sign == "/" else value * other
                divided, self._of = sign == "/", self._of or sign == "of"
            elif self._begins_factor():
                if divided:
                    # `1/2x`: is x below the line?
                    raise Unreadable
                value = value * self._power()
            else:
                return value
            self._operations += 1

    def _begins_factor(self) -> bool:
        """Whether the next token multiplies the value before it without a sign."""
        token, before = self._next, self._tokens[self._place - 1]
        if token is None:
            return False
        if token.kind is Kind.NAME or token.kind is Kind.FUNCTION:
            return token.math or before.end == token.start or before.kind is not Kind.NUMBER
        if token.text == "(":
            if before.kind is Kind.NAME and self._is_call(before.text):
                raise Unreadable
            return token.math or before.end == token.start
        # `2^2 3^2`
        power = self._place > 1 and self._tokens[self._place - 2].text == "^"
        return token.kind is Kind.NUMBER and token.math and (power or before.text == "}") and before.end < token.start

    def _is_call(self, name: str) -> bool:
        """Whether `name(` applies a function rather than multiplies."""
        after = self._tokens[self._place + 1 : self._place + 3]
        return name[0] in _FUNCTION_LETTERS or len(name) > 1 or (len(after) == 2 and after[1].text == ")")

    def _signed(self) -> Ratio:
        if self._take("-"):
            return -self._power()
        return self._power()

    def _power(self) -> Ratio:
        first = self._next
        base = self._atom()
        if not self._take("^"):
            return base
        exponent = self._exponent().number
        if exponent is None:
            raise Unreadable
        after = self._next
        call = after is not None and after.text == "(" and first is not None and first.text in _FUNCTION_LETTERS
        if call or (after is not None and after.text == "^"):
            # `f^{-1}(x)`, `2^3^2`
            raise Unreadable
        self._operations += 1
        return base.power(exponent)

    def _exponent(self) -> Ratio:
        if self._take("-"):
            return -self._atom()
        return self._atom()

    def _atom(self) -> Ratio:
        token = self._next
        if token is None:
            raise Unreadable
        self._place += 1
        if token.kind is Kind.NUMBER:
            value = self._mixed_number(self._number(token))
        elif token.kind is Kind.NAME:
            value = Ratio.name(token.text)
        elif token.kind is Kind.FUNCTION:
            value = self._function(token.text)
        elif token.kind is Kind.UNIT and token.text in ("$", "€", "£"):
            value = self._signed() if self._peek_text() == "-" else self._atom()
            value = value * unit_value(token.text) if self._reading.units else value
        elif token.kind is Kind.OPERATOR and token.text in ("(", "{"):
            value = self._group(")" if token.text == "(" else "}")
        else:
            raise Unreadable
        return self._suffixed(value)

    def _peek_text(self) -> str:
        return self._next.text if self._next else ""

    def _group(self, close: str) -> Ratio:
        self._depth += 1
        of, self._of = self._of, False
        if self._depth > MAX_DEPTH:
            raise Unreadable
        value = self._sum()
        if not self._take(close):
            raise Unreadable
        self._depth -= 1
        self._of = of
        return value

    def _number(self, token: Token) -> Ratio:
        self._decimals = max(self._decimals, len(token.text.partition(".")[2]))
        return Ratio.of(Fraction(token.text))

    def _mixed_number(self, whole: Ratio) -> Ratio:
        r"""`2 1/2` and `2\frac12`: two and a half, unless the reading says otherwise."""
        width = 4 if self._peek_text() == "frac" else 3
        pattern = [token.text if token.kind is Kind.OPERATOR else token.kind.name for token in self._ahead(7)]
        if pattern[:3] == ["NUMBER", "/", "NUMBER"] and self._tokens[self._place - 1].end < self._ahead(1)[0].start:
            width, top, bottom = 3, 0, 2
        elif pattern[:3] == ["FUNCTION", "NUMBER", "NUMBER"] and self._peek_text() == "frac":
            width, top, bottom = 3, 1, 2
        elif pattern == ["FUNCTION", "{", "NUMBER", "}", "{", "NUMBER", "}"] and self._peek_text() == "frac":
            width, top, bottom = 7, 2, 5
        else:
            return whole
        tokens = self._ahead(width)
        fraction = self._number(tokens[top]) / self._number(tokens[bottom])
        self._place += width
        self._mixed = True
        self._operations += 1
        return whole * fraction if self._reading.product else whole + fraction

    def _ahead(self, count: int) -> Sequence[Token]:
        return self._tokens[self._place : self._place + count]

    def _function(self, name: str) -> Ratio:
        self._operations += 1
        if name == "sqrt":
            degree = self._number_in_brackets()
            return self._argument().power(Fraction(1, degree))
        one, other = self._argument(), self._argument()
        if name == "frac":
            return one / other
        top, bottom = one.number, other.number
        if top is None or bottom is None or top.denominator != 1 or bottom.denominator != 1:
            raise Unreadable
        if not 0 <= bottom <= top <= MAX_FACTORIAL:
            raise Unreadable
        return Ratio.of(math.comb(int(top), int(bottom)))

    def _number_in_brackets(self) -> int:
        tokens = self._ahead(3)
        if len(tokens) == 3 and tokens[0].text == "(" and tokens[2].text == ")" and tokens[1].kind is Kind.NUMBER:
            follows = self._tokens[self._place + 3 : self._place + 4]
            if follows and follows[0].text == "{" and tokens[1].text in ("2", "3", "4", "5", "6"):
                self._place += 3
                return int(tokens[1].text)
        return 2

    def _argument(self) -> Ratio:
        token = self._next
        if token is None:
            raise Unreadable
        self._place += 1
        if token.kind is Kind.NUMBER:
            return self._number(token)
        if token.kind is Kind.NAME:
            return Ratio.name(token.text)
        if token.text in ("{", "("):
            return self._group("}" if token.text == "{" else ")")
        raise Unreadable

    def _suffixed(self, value: Ratio) -> Ratio:
        while (token := self._next) is not None:
            if token.text == "%":
                self._percent = True
                value = value * Ratio.of(Fraction(1, 100))
            elif token.text == "!" and token.kind is Kind.OPERATOR:
                value = self._factorial(value)
            elif token.kind is Kind.UNIT:
                value = value * self._unit(token)
            else:
                break
            self._place += 1
        return value

    def _unit(self, token: Token) -> Ratio:
        """The size of a unit, with the power that is its own (`600 ft^2`); 1 where units are left out."""
        size = unit_value(token.text) if self._reading.units else Ratio.of(1)
        power = [other.text for other in self._tokens[self._place + 1 : self._place + 3]]
        if power[:1] != ["^"]:
            return size
        if power[1:] not in (["2"], ["3"]):
            raise Unreadable
        self._place += 2
        return size.power(Fraction(power[1]))

    def _factorial(self, value: Ratio) -> Ratio:
        number = value.number
        if number is None or number.denominator != 1 or not 0 <= number <= MAX_FACTORIAL:
            raise Unreadable
        self._operations += 1
        return Ratio.of(math.factorial(int(number)))
