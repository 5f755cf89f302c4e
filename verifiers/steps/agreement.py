"""Whether two sides of an equality agree, over all readings that it may have and up to the digits that it shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifiers.steps.expressions import Reading, Value, evaluate
from verifiers.steps.ratio import PI, Ratio
from verifiers.steps.tokens import Kind, Token
from verifiers.steps.units import known_unit

_PI_TOLERANCE = 0.005
"""3.14, 22/7 and 3 decimals more stand for pi."""
_LOOSE = 0.2
"""How far a number called approximate may be off, as a share."""


def agree(left: Sequence[Token], right: Sequence[Token], *, loose: bool = False) -> bool | None:
    """Whether some reading of both sides makes them equal; None where no reading is certain to be the meant one."""
    one, other = evaluate(left), evaluate(right)
    if one is None or other is None:
        return None
    convert = _converts(left, right)
    if (one.n_operations or other.n_operations) and values_agree(one, other, loose=loose):
        return True
    if not (one.n_operations or other.n_operations or convert):
        return None
    if not one.n_operations and other.n_operations and _counts(left):
        # `3 miles = 3 * 5280 feet`, `1 part = 120/20`: what something amounts to.
        return None
    for reading in _readings(one, other, units=convert):
        first, second = evaluate(left, reading), evaluate(right, reading)
        if first is None or second is None:
            continue
        if not reading.units:
            if values_agree(first, second, loose=loose):
                return True
            continue
        share = first.value.share(second.value)
        if share is None or _in_units_agree(share, second):
            return None if share is None else True
    explains = one.percent and any(token.text == "of" for token in right)
    # `45/300*100% = 15% of 300` says what the percentage is of.
    return None if explains or _goes_on(one, right) or _unlike_units(left, right) else False


def _goes_on(one: Value, right: Sequence[Token]) -> bool:
    """Whether the right side begins with the result and computes on: `3 + 4 = 7 * 2 = 14`."""
    depth = 0
    for place, token in enumerate(right):
        depth += (token.text in ("(", "{")) - (token.text in (")", "}"))
        if place and not depth and token.kind is Kind.OPERATOR and token.text in ("+", "-", "*", "/"):
            result = evaluate(right[:place])
            if result is not None and values_agree(one, result):
                return True
    return False


def _unlike_units(left: Sequence[Token], right: Sequence[Token]) -> bool:
    """`7 knicks / 2 knacks = 1`, `3 boxes + 2 pencils = 26`: there may be a conversion that is not known."""
    units = {
        token.text.lower().removesuffix("s") for token in left if token.kind is Kind.UNIT and not known_unit(token)
    }
    divides = any(token.text in ("/", "frac") for token in left)
    return len(units) > 1 and (any(token.text == "+" for token in left) or (divides and not _counts(right)))


def _readings(one: Value, other: Value, *, units: bool) -> Iterator[Reading]:
    """The readings other than the plain one."""
    if one.percent or other.percent:
        yield Reading(relative=True)
    if one.mixed or other.mixed:
        yield Reading(product=True)
    if units:
        yield Reading(units=True)


def _converts(left: Sequence[Token], right: Sequence[Token]) -> bool:
    """Whether units of one dimension and different size occur."""
    found: dict[str, set[Fraction]] = {}
    for token in (*left, *right):
        if token.kind is Kind.UNIT and (known := known_unit(token)):
            found.setdefault(known[0], set()).add(known[1])
    return any(len(sizes) > 1 for sizes in found.values()) or found.get("count", set()) > {Fraction(1)}


def _counts(tokens: Sequence[Token]) -> bool:
    return any(token.kind is Kind.UNIT and token.text != "$" for token in tokens)


def _in_units_agree(share: Fraction, right: Value) -> bool:
    return share == 1 or (right.decimals > 0 and abs(share - 1) < Fraction(1, 100))


def values_agree(left: Value, right: Value, *, loose: bool = False) -> bool:
    """Whether two values without letters are equal, up to the digits that the right one shows."""
    percent = left.percent or right.percent
    scales = (Fraction(1), Fraction(100), Fraction(1, 100)) if percent else (Fraction(1),)
    return any(_close(left, right.value * Ratio.of(scale), right, loose=loose) for scale in scales)


def _close(left: Value, value: Ratio, right: Value, *, loose: bool) -> bool:
    if left.value.same(value):
        return True
    one, other = left.value.number, value.number
    if one is None or other is None:
        return _irrational_close(left, value, right, loose=loose)
    if loose and abs(one - other) <= abs(one) * Fraction(_LOOSE):
        return True
    unit = Fraction(1, 10**right.decimals)
    if right.n_operations:
        # Two expressions: decimals in either are roundings of what came before.
        shown = max(left.decimals, right.decimals)
        return shown > 0 and abs(one - other) <= abs(one) / 100
    fits = (one / unit).denominator == 1
    return not fits and abs(one - other) < unit


def _irrational_close(left: Value, value: Ratio, right: Value, *, loose: bool) -> bool:
    """A root or pi beside decimals: close is all that can be asked."""
    one, other = left.value.approximate(), value.approximate()
    if not loose and not (left.decimals or right.decimals or right.n_operations == 0):
        return False
    both = (left.value, right.value)
    has_pi = any(atom == PI for side in both for key in side.top for atom, _ in key)
    tolerance = _LOOSE if loose else _PI_TOLERANCE if has_pi else 0.001
    return abs(one - other) <= max(
        tolerance * abs(one), 10.0**-right.decimals if right.decimals or left.decimals else 0
    )
