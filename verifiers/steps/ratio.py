"""Exact algebra for worked steps: quotients of polynomials over the rationals, with square roots of whole numbers.

A `Ratio` holds numbers, letters, `π` and `√p` for primes p, reduced by `√p * √p = p`. That ring is an integral domain,
so two ratios are equal exactly when their cross products are: no simplifier, no rounding. Everything is capped, and
whatever is over a cap raises `Unreadable`: a model's text may be computed with in this process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

MAX_BITS = 4096
MAX_EXPONENT = 64
MAX_POWER = 12
MAX_TERMS = 40
MAX_RADICAND = 10**8
"""Limits beyond which nothing is computed: worked steps are far below, and nothing above may cost time."""

PI = "π"
_ROOT = "√"

Monomial = tuple[tuple[str, int], ...]
Terms = dict[Monomial, Fraction]


class Unreadable(Exception):
    """A text that is no expression, or one over the caps; never raised out of `verifiers.steps`."""


@dataclass(frozen=True, slots=False, eq=False)
class Ratio:
    """`top / bottom`, each a sum of monomials; `bottom` is never zero."""

    top: Terms
    bottom: Terms

    @classmethod
    def of(cls, value: Fraction | int) -> Ratio:
        """The constant `value`."""
        return cls(_constant(value), _ONE)

    @classmethod
    def name(cls, name: str) -> Ratio:
        """The letter `name`."""
        return cls({((name, 1),): Fraction(1)}, _ONE)

    def __add__(self, other: Ratio) -> Ratio:
        if self.bottom == other.bottom:
            return Ratio(_add(self.top, other.top), self.bottom)
        top = _add(_multiply(self.top, other.bottom), _multiply(other.top, self.bottom))
        return _normal(top, _multiply(self.bottom, other.bottom))

    def __neg__(self) -> Ratio:
        return Ratio({key: -value for key, value in self.top.items()}, self.bottom)

    def __sub__(self, other: Ratio) -> Ratio:
        return self + -other

    def __mul__(self, other: Ratio) -> Ratio:
        return _normal(_multiply(self.top, other.top), _multiply(self.bottom, other.bottom))

    def __truediv__(self, other: Ratio) -> Ratio:
        if not other.top:
            raise Unreadable
        return _normal(_multiply(self.top, other.bottom), _multiply(self.bottom, other.top))

    def power(self, exponent: Fraction) -> Ratio:
        """`self ** exponent`: whole exponents of anything, fractional ones of numbers that have that root."""
        number = self.number
        if exponent.denominator != 1:
            return self._root(exponent.denominator).power(Fraction(exponent.numerator))
        whole = int(exponent)
        if abs(whole) > MAX_EXPONENT or (whole <= 0 and not self.top):
            raise Unreadable
        if number is not None:
            if abs(whole) * max(number.numerator.bit_length(), number.denominator.bit_length()) > 2 * MAX_BITS:
                raise Unreadable
            return _bounded(Ratio.of(number**whole))
        if len(self.top) + len(self.bottom) > 2 and abs(whole) > MAX_POWER:
            raise Unreadable
        result = Ratio.of(1)
        for _ in range(abs(whole)):
            result = result * self
        return result if whole > 0 else Ratio.of(1) / result

    def sqrt(self) -> Ratio:
        """The square root of a number; `Unreadable` for a negative one and for letters."""
        return self._root(2)

    def _root(self, degree: int) -> Ratio:
        number = self.number
        if number is None or number < 0 or degree > MAX_EXPONENT:
            raise Unreadable
        if degree != 2:
            return Ratio.of(Fraction(_whole_root(number.numerator, degree), _whole_root(number.denominator, degree)))
        radicand = number.numerator * number.denominator
        if radicand > MAX_RADICAND:
            root = math.isqrt(radicand)
            if root * root != radicand or radicand.bit_length() > MAX_BITS:
                raise Unreadable
            return Ratio.of(Fraction(root, number.denominator))
        outside, primes = _squarefree(radicand)
        return Ratio({tuple((f"{_ROOT}{p}", 1) for p in primes): Fraction(outside, number.denominator)}, _ONE)._tidy()

    def _tidy(self) -> Ratio:
        return Ratio({key: value for key, value in self.top.items() if value}, self.bottom)

    @cached_property
    def names(self) -> frozenset[str]:
        """The letters that occur; neither `π` nor roots."""
        atoms = {atom for terms in (self.top, self.bottom) for key in terms for atom, _ in key}
        return frozenset(atom for atom in atoms if atom != PI and not atom.startswith(_ROOT))

    @cached_property
    def number(self) -> Fraction | None:
        """The value if it is rational and free of letters."""
        if not self.top:
            return Fraction(0)
        return self.top.get(()) if len(self.top) == 1 and self.bottom is _ONE else None

    @property
    def numerator(self) -> Ratio:
        """The numerator alone."""
        return Ratio(self.top, _ONE)

    @property
    def is_whole(self) -> bool:
        """Whether there is no letter in the denominator."""
        return self.bottom is _ONE

    def leading(self, name: str) -> Ratio:
        """What the highest power of `name` in the numerator is multiplied with."""
        power = (name, self.degree(name))
        return Ratio({tuple(p for p in key if p != power): v for key, v in self.top.items() if power in key}, _ONE)

    def same(self, other: Ratio) -> bool:
        """Whether both are the same function of their letters."""
        if self.bottom is _ONE and other.bottom is _ONE:
            return self.top == other.top
        return not (self - other).top

    def share(self, other: Ratio) -> Fraction | None:
        """The number `k` with `self = k * other`, if there is one and it is not zero."""
        one, two = _multiply(self.top, other.bottom), _multiply(other.top, self.bottom)
        if not one or one.keys() != two.keys():
            return None
        shares = {value / two[key] for key, value in one.items()}
        return shares.pop() if len(shares) == 1 else None

    def approximate(self) -> float:
        """The value as a float, of a ratio without letters."""
        try:
            return _approximate(self.top) / _approximate(self.bottom)
        except (OverflowError, ZeroDivisionError) as error:
            raise Unreadable from error

    def substitute(self, values: Mapping[str, Ratio]) -> Ratio:
        """The ratio with letters replaced; `Unreadable` where the denominator becomes zero."""
        return _substitute(self.top, values) / _substitute(self.bottom, values)

    def degree(self, name: str) -> int:
        """The highest exponent of `name` in the numerator."""
        return max((exponent for key in self.top for atom, exponent in key if atom == name), default=0)

    def root(self, name: str) -> Ratio:
        """Where the numerator, linear in `name` and free of other letters, is zero."""
        slope = {tuple(pair for pair in key if pair[0] != name): v for key, v in self.top.items() if _holds(key, name)}
        rest = {key: -value for key, value in self.top.items() if not _holds(key, name)}
        return Ratio(rest, _ONE) / Ratio(slope, _ONE)


def _constant(value: Fraction | int) -> Terms:
    return {(): Fraction(value)} if value else {}


_ONE: Terms = _constant(1)


def _holds(key: Monomial, name: str) -> bool:
    return any(atom == name for atom, _ in key)


def _normal(top: Terms, bottom: Terms) -> Ratio:
    """With a constant denominator divided out; `Unreadable` over the caps."""
    if len(bottom) == 1 and () in bottom:
        scale = bottom[()]
        return _bounded(Ratio(top if scale == 1 else {key: value / scale for key, value in top.items()}, _ONE))
    return _bounded(Ratio(top, bottom))


def _bounded(ratio: Ratio) -> Ratio:
    for terms in (ratio.top, ratio.bottom):
        if len(terms) > MAX_TERMS:
            raise Unreadable
        for value in terms.values():
            if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
                raise Unreadable
    return ratio


def _add(one: Terms, other: Terms) -> Terms:
    total = dict(one)
    for key, value in other.items():
        value += total.pop(key, 0)
        if value:
            total[key] = value
    return total


def _multiply(one: Terms, other: Terms) -> Terms:
    if one is _ONE:
        return other
    if other is _ONE:
        return one
    if len(one) * len(other) > 10 * MAX_TERMS:
        raise Unreadable
    total: Terms = {}
    for key, value in one.items():
        for second, factor in other.items():
            scale, joined = _join(key, second) if key and second else (1, key or second)
            product = value * factor * scale + total.pop(joined, 0)
            if product:
                total[joined] = product
    return total


def _join(one: Monomial, other: Monomial) -> tuple[int, Monomial]:
    """The product of two monomials, with `√p * √p` taken out as a factor."""
    exponents, scale = dict(one), 1
    for atom, exponent in other:
        exponents[atom] = exponents.get(atom, 0) + exponent
        if exponents[atom] > MAX_EXPONENT:
            raise Unreadable
        if atom.startswith(_ROOT) and exponents[atom] == 2:
            del exponents[atom]
            scale *= int(atom[1:])
    return scale, tuple(sorted(exponents.items()))


def _substitute(terms: Terms, values: Mapping[str, Ratio]) -> Ratio:
    total = Ratio.of(0)
    for key, value in terms.items():
        product = Ratio.of(value)
        for atom, exponent in key:
            product = product * values.get(atom, Ratio.name(atom)).power(Fraction(exponent))
        total = total + product
    return total


def _approximate(terms: Terms) -> float:
    total = 0.0
    for key, value in terms.items():
        product = float(value)
        for atom, exponent in key:
            product *= (math.pi if atom == PI else math.sqrt(int(atom[1:]))) ** exponent
        total += product
    return total


def _whole_root(value: int, degree: int) -> int:
    """The exact root of a whole number; `Unreadable` if it has none."""
    if value.bit_length() > 1000:
        raise Unreadable
    guess = round(value ** (1 / degree))
    if guess**degree != value:
        raise Unreadable
    return int(guess)


def _squarefree(value: int) -> tuple[int, list[int]]:
    """`value = outside**2 * (product of distinct primes)`."""
    outside, primes, divisor = 1, [], 2
    while divisor * divisor <= value:
        count = 0
        while value % divisor == 0:
            value, count = value // divisor, count + 1
        outside *= divisor ** (count // 2)
        if count % 2:
            primes.append(divisor)
        divisor += 1
    return outside if value else 0, sorted([*primes, *([value] if value > 1 else [])], key=str)
