"""Functions of values: whole numbers, logarithms, trigonometric and hyperbolic functions; each with its cap on cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from verifiers.answers.operations import MAX_LOG, MAX_TRIG_BITS, Operations, TooCostly, Undefined, Value


class Functions(Operations):
    """Operations, and the functions that formulas call by name (`EXACT`, `TRANSCENDENTAL`)."""

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


EXACT: dict[str, Callable[..., Value]] = {
    "add": Functions.add, "mul": Functions.mul, "div": Functions.div, "pow": Functions.pow, "root": Functions.root,
    "neg": lambda self, value: self.mul(Fraction(-1), value),
    "percent": lambda self, value: self.mul(Fraction(1, 100), value),
    "abs": lambda self, value: abs(value), "norm": lambda self, value: abs(value),
    "factorial": Functions.factorial,
    "factorial2": Functions.factorial2, "binom": Functions.binom, "degree": Functions.degree, "mod": Functions.mod,
    "floor": lambda self, value: self.whole("floor", value), "ceil": lambda self, value: self.whole("ceil", value),
    "max": lambda self, *values: self.extremum(max, *values), "min": lambda self, *values: self.extremum(min, *values),
    "gcd": lambda self, *values: self.integers(math.gcd, *values),
    "lcm": lambda self, *values: self.integers(math.lcm, *values),
    "sign": lambda self, value: Fraction((self.real(value) > 0) - (self.real(value) < 0)),
    "conj": lambda self, value: value if isinstance(value, Fraction) else value.conjugate(),
    "Re": lambda self, value: value if isinstance(value, Fraction) else value.real,
    "Im": lambda self, value: Fraction(0) if isinstance(value, Fraction) else value.imag,
}  # fmt: skip
TRANSCENDENTAL: dict[str, Callable[..., Value]] = {
    "log": Functions.logarithm,
    "ln": lambda self, value: self._context.log(value) if self._complex or value > 0 else self._refuse(),
    **{name: lambda self, value, name=name: self.periodic(name, value) for name in
       ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{name: lambda self, value, name=name: self.plain(name, value) for name in
       ("asin", "acos", "atan", "acot", "asec", "acsc", "asinh", "acosh", "atanh", "gamma", "arg")},
    **{name: lambda self, value, name=name: self.hyperbolic(name, value) for name in
       ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
}  # fmt: skip
