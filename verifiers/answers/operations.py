"""Arithmetic with exact fractions as long as possible, else with many digits; every cost is capped before it arises.

mpmath does the work on real and complex numbers; its arguments are checked here first. Where there is no value
`Undefined` is raised, where it would cost too much `TooCostly`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
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

    def factorial(self, value: Value) -> Value:
        """n!, by the gamma function for large n; of natural numbers only."""
        if value > 1 << 34:
            raise TooCostly
        if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
            raise Undefined
        if value <= 1_000:
            product = 1
            for factor in range(2, int(value) + 1):
                product *= factor
            return Fraction(product)
        return self._checked(self._context.gamma(int(value) + 1))

    def factorial2(self, value: Value) -> Value:
        """N!! = n (n - 2) (n - 4) ..."""
        if value > 2_000:
            raise TooCostly
        if not isinstance(value, Fraction) or value.denominator != 1 or value < 0:
            raise Undefined
        return self._small(Fraction(math.prod(range(int(value), 0, -2))))

    def binom(self, upper: Value, lower: Value) -> Value:
        """N over k for natural k, by the product formula."""
        if not (isinstance(lower, Fraction) and lower.denominator == 1 and isinstance(upper, Fraction)):
            raise Undefined
        if lower < 0:
            return Fraction(0)
        if upper.denominator == 1 and 0 <= upper < lower:
            return Fraction(0)
        count = int(min(lower, upper - lower)) if upper.denominator == 1 and upper >= lower else int(lower)
        if count > 3_000:
            raise TooCostly
        result = Fraction(1)
        for place in range(count):
            result = result * (upper - place) / (place + 1)
        return self._small(result)

    def degree(self, value: Value) -> Value:
        """An angle in degrees."""
        return self._checked(self.number(value) * self._context.pi / 180) if self._degrees else value

    def real(self, value: Value) -> Value:
        """A value that can be ordered."""
        if not isinstance(value, Fraction) and isinstance(value, self._context.mpc):
            if not self.is_real(value):
                raise Undefined
            return value.real
        return value

    def whole(self, name: str, value: Value) -> Value:
        """Floor or ceiling; numbers that rounding may have moved across an integer have none."""
        value = self.real(value)
        if isinstance(value, Fraction):
            return Fraction(value.__floor__() if name == "floor" else value.__ceil__())
        if self._context.mag(value) > MAX_TRIG_BITS:
            raise TooCostly
        near = self._context.nint(value)
        if abs(value - near) < self._context.mpf(10) ** (10 - self._context.dps) * max(1, abs(value)):
            return Fraction(int(near))
        return Fraction(int(self._context.floor(value) if name == "floor" else self._context.ceil(value)))

    def mod(self, value: Value, modulus: Value) -> Value:
        """Remainder with the sign of the modulus."""
        if not (isinstance(value, Fraction) and isinstance(modulus, Fraction)) or not modulus:
            raise Undefined
        return value % modulus

    def extremum(self, pick: Callable[..., Value], *values: Value) -> Value:
        """The largest or smallest of several values."""
        return pick((self.real(value) for value in values), key=self.number)

    def integers(self, fold: Callable[..., int], *values: Value) -> Value:
        """Gcd and lcm."""
        if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
            raise Undefined
        return self._small(Fraction(fold(*(int(value) for value in values))))

    def logarithm(self, value: Value, base: Value | None = None) -> Value:
        """Natural logarithm, or that to a base."""
        if not value or (not self._complex and value < 0):
            raise Undefined
        result = self._context.log(value)
        if base is None:
            return result / self._context.ln10 if self._decimal_log else result
        if not base or base == 1 or base < 0:
            raise Undefined
        return result / self._context.log(base)

    def periodic(self, name: str, value: Value) -> Value:
        """A trigonometric function of an argument that can be reduced."""
        if self._context.mag(value) > MAX_TRIG_BITS:
            raise TooCostly
        result = getattr(self._context, name)(value)
        if self._context.isfinite(result) and abs(result) > self._context.mpf(10) ** (self._context.dps - 8):
            raise Undefined  # a pole, up to rounding
        return result

    def plain(self, name: str, value: Value) -> Value:
        """A function of mpmath whose cost does not depend on the argument's size."""
        if self._context.mag(value) > (34 if name == "gamma" else MAX_TRIG_BITS):
            raise TooCostly
        return getattr(self._context, name)(value)

    def hyperbolic(self, name: str, value: Value) -> Value:
        """A hyperbolic function, whose value grows like the exponential."""
        if self._context.mag(value) > MAX_LOG.bit_length() - 2:
            raise TooCostly
        return getattr(self._context, name)(value)

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


EXACT: dict[str, Callable[..., Value]] = {
    "add": Operations.add, "mul": Operations.mul, "div": Operations.div, "pow": Operations.pow, "root": Operations.root,
    "neg": lambda self, value: self.mul(Fraction(-1), value),
    "percent": lambda self, value: self.mul(Fraction(1, 100), value),
    "abs": lambda self, value: abs(value), "norm": lambda self, value: abs(value),
    "factorial": Operations.factorial,
    "factorial2": Operations.factorial2, "binom": Operations.binom, "degree": Operations.degree, "mod": Operations.mod,
    "floor": lambda self, value: self.whole("floor", value), "ceil": lambda self, value: self.whole("ceil", value),
    "max": lambda self, *values: self.extremum(max, *values), "min": lambda self, *values: self.extremum(min, *values),
    "gcd": lambda self, *values: self.integers(math.gcd, *values),
    "lcm": lambda self, *values: self.integers(math.lcm, *values),
    "sign": lambda self, value: Fraction((self.real(value) > 0) - (self.real(value) < 0)),
    "Re": lambda self, value: value if isinstance(value, Fraction) else value.real,
    "Im": lambda self, value: Fraction(0) if isinstance(value, Fraction) else value.imag,
}  # fmt: skip
TRANSCENDENTAL: dict[str, Callable[..., Value]] = {
    "log": Operations.logarithm,
    "ln": lambda self, value: self._context.log(value) if self._complex or value > 0 else self._refuse(),
    **{name: lambda self, value, name=name: self.periodic(name, value) for name in
       ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: lambda self, value, name=name: self.plain(name, value) for name in
       ("asin", "acos", "atan", "acot", "asec", "acsc", "asinh", "acosh", "atanh", "gamma", "arg")},
    **{name: lambda self, value, name=name: self.hyperbolic(name, value) for name in
       ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
}  # fmt: skip
