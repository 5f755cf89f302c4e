"""Arithmetic with exact fractions as long as possible, else with many digits; every cost is capped before it arises.

mpmath does the work on real and complex numbers; its arguments are checked here first. Where there is no value
`Undefined` is raised, where it would cost too much `TooCostly`.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""A `Fraction`, or a real or complex number of mpmath."""

MAX_EXACT_BITS = 30_000
"""Larger fractions become floats of the evaluator's precision."""
MAX_EXACT_POWER = 20_000
MAX_LOG = 1 << 40
"""Largest binary exponent of a value."""
MAX_TRIG_BITS = 4_000
"""Largest binary exponent of an argument of a periodic function, whose reduction costs as many bits."""

_local = threading.local()


class Undefined(Exception):
    """There is no value here."""


class TooCostly(Exception):
    """The value is beyond the caps."""


def context(digits: int) -> Any:
    """This thread's mpmath context of so many digits (one context may not serve two threads)."""
    contexts = _local.__dict__.setdefault("contexts", {})
    if digits not in contexts:
        from mpmath import MPContext

        contexts[digits] = MPContext()
        contexts[digits].dps = digits
    return contexts[digits]


class Operations:
    """What can be done with values.

    Args:
        digits: decimal digits carried.
        complex_numbers: whether roots and logarithms of negative numbers have values.
        degrees: whether a degree sign turns into radians; else it is a unit and dropped.
        decimal_log: whether a `log` without a base is that to base ten.
    """

    def __init__(self, digits: int, *, complex_numbers: bool, degrees: bool, decimal_log: bool) -> None:
        self._context = context(digits)
        self._complex = complex_numbers
        self._degrees = degrees
        self._decimal_log = decimal_log

    def number(self, value: Value) -> Any:
        """A value as mpmath's number."""
        if isinstance(value, Fraction):
            if max(value.numerator.bit_length(), value.denominator.bit_length()) > 40 * MAX_EXACT_BITS:
                raise TooCostly
            return self._context.mpf(value.numerator) / value.denominator
        return value

    def is_real(self, value: Value) -> bool:
        """Whether the imaginary part is nothing, or rounding."""
        if isinstance(value, Fraction) or not isinstance(value, self._context.mpc):
            return True
        return bool(abs(value.imag) <= abs(value.real) * self._context.eps * 2**20)

    def _checked(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            return value
        if self._context.isnan(value):
            raise Undefined
        if not self.is_real(value):
            if not self._complex:
                raise Undefined
            return value
        value = value.real if isinstance(value, self._context.mpc) and not self._complex else value
        if self._context.isfinite(value) and value and abs(self._context.mag(value)) > MAX_LOG:
            raise TooCostly
        return value

    def add(self, *terms: Value) -> Value:
        """Sum."""
        if all(isinstance(term, Fraction) for term in terms):
            return self._small(sum(terms, Fraction(0)))
        return self._checked(self._context.fsum([self.number(term) for term in terms]))

    def mul(self, left: Value, right: Value) -> Value:
        """Product."""
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return self._small(left * right)
        return self._checked(self.number(left) * self.number(right))

    def div(self, top: Value, bottom: Value) -> Value:
        """Quotient."""
        if not bottom:
            raise Undefined
        if isinstance(top, Fraction) and isinstance(bottom, Fraction):
            return self._small(top / bottom)
        return self._checked(self.number(top) / self.number(bottom))

    def pow(self, base: Value, exponent: Value) -> Value:
        """Power; over the reals a negative base needs a whole exponent, or a root of small odd order."""
        if not base:
            if not isinstance(exponent, Fraction) or exponent < 0:
                raise Undefined
            return Fraction(int(exponent == 0))
        whole = isinstance(exponent, Fraction) and exponent.denominator == 1
        if whole and isinstance(base, Fraction) and self._exactly(base, int(exponent)):
            return base ** int(exponent)
        number = self.number(base)
        if whole and abs(exponent) < 1 << 200:
            self._affordable(number, exponent)
            return self._checked(number ** int(exponent))
        if self._complex or number > 0:
            power = self.number(exponent)
            self._affordable(number, power)
            return self._checked(self._context.power(number, power))
        if isinstance(exponent, Fraction) and exponent.denominator % 2 and exponent.denominator < 20:
            sign = -1 if exponent.numerator % 2 else 1
            return sign * self.pow(-number, exponent)
        raise Undefined

    def root(self, radicand: Value, index: Value) -> Value:
        """The real root; of a negative number only an odd one, unless complex numbers are meant."""
        if not isinstance(index, Fraction) or not index:
            raise Undefined
        if isinstance(radicand, Fraction) and (exact := _exact_root(radicand, index)) is not None:
            return exact
        return self.pow(radicand, 1 / index)

    def real(self, value: Value) -> Value:
        """A value that can be ordered."""
        if not isinstance(value, Fraction) and isinstance(value, self._context.mpc):
            if not self.is_real(value):
                raise Undefined
            return value.real
        return value

    def _small(self, value: Fraction) -> Value:
        if value.numerator.bit_length() + value.denominator.bit_length() > 2 * MAX_EXACT_BITS:
            return self.number(value)
        return value

    @staticmethod
    def _exactly(base: Fraction, exponent: int) -> bool:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        return abs(exponent) <= MAX_EXACT_POWER and bits * abs(exponent) <= MAX_EXACT_BITS

    def _affordable(self, base: Any, exponent: Any) -> None:
        """Refuse a power whose binary exponent is beyond the cap before it is computed."""
        if not (self._context.isfinite(base) and self._context.isfinite(exponent)):
            raise Undefined
        size = abs(self._context.mag(base)) + 1
        if self._context.mag(exponent) + size.bit_length() > MAX_LOG.bit_length():
            raise TooCostly

    @staticmethod
    def _refuse() -> bool:
        raise Undefined


def _exact_root(value: Fraction, index: Fraction) -> Fraction | None:
    """The root of a fraction whose root is one."""
    if index.denominator != 1 or not 2 <= index <= 64 or (value < 0 and index % 2 == 0):
        return None
    parts = [_integer_root(abs(part), int(index)) for part in (value.numerator, value.denominator)]
    if parts[0] is None or parts[1] is None:
        return None
    return Fraction(-parts[0] if value < 0 else parts[0], parts[1])


def _integer_root(value: int, index: int) -> int | None:
    if value < 2:
        return value
    low, high = 1, 1 << (value.bit_length() // index + 1)
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**index <= value else (low, middle)
    return low if low**index == value else None
