r"""Whether two formulas have the same value everywhere: seeded sampling over the real domain with many digits.

Constants are compared exactly where both are fractions, else by what is left of their difference when the precision is
tripled: the difference of equal numbers vanishes with the rounding, that of different ones stays. Formulas in variables
are compared the same way at seeded rational points, of either sign, in (0, 1), large, and whole; points where one
side has no real value do not count. One point with different values decides; `MIN_POINTS` with equal ones do. By
Schwartz and Zippel (1980), polynomials that differ agree at a random point with probability of degree over range.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from data.ids import derive_seed
from verifiers.answers.decision import Decision, Outcome, different, equal, unknown
from verifiers.answers.numeric import Evaluator
from verifiers.answers.operations import TooCostly, Undefined, context
from verifiers.answers.tree import Call, Node, Number, has, rewrite, symbols, walk

MIN_POINTS, ENOUGH_POINTS = 3, 7
SHALLOW, DEEP = 40, 120
"""Digits of a first look and of a close one."""
_GROWING = ("pow", "mod", "factorial", "factorial2", "gamma")
_LARGE = 2_000
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_RANGES = ((0, 4, "-"), (0, 1, "+"), (1, 12, "±"), (1, 12, "+"), (0, 1, "±"), (4, 40, "-"), (5, 100, "+"), (0, 1, "-"))
"""Magnitudes of the coordinates and their signs: all negative, all positive, in turn."""
_ROUNDS = 3


class Conventions(NamedTuple):
    """How signs with more than one meaning are read."""

    complex_numbers: bool = False
    degrees: bool = False
    decimal_log: bool = False


def compare(gold: Node, prediction: Node) -> Decision:
    """Decide two formulas; both may hold variables.

    Returns:
        Equal or different with rule `structure`, `rational`, `value` or `sampling`; unknown where no point has a value
        (`no_value`) or the value is beyond the caps (`too_large`).
    """
    if gold == prediction:
        return equal("structure")
    usual = Conventions(_speaks_of_i(gold, prediction), _in_radians(gold, prediction))
    decision = _under(gold, prediction, usual)
    if decision.outcome is Outcome.UNKNOWN and not usual.complex_numbers and decision.rule == "no_value":
        decision = _under(gold, prediction, usual._replace(complex_numbers=True))
    if decision.outcome is Outcome.EQUAL:
        return decision
    if has(gold, "log") or has(prediction, "log"):
        # `log` without a base is natural in analysis and decimal in school.
        other = _under(gold, prediction, usual._replace(decimal_log=True))
        decision = other if other.outcome is Outcome.EQUAL else decision
    if usual.degrees and has(gold, "degree") != has(prediction, "degree"):
        other = _under(gold, prediction, usual._replace(degrees=False))
        decision = other if other.outcome is Outcome.EQUAL else decision
    if has(gold, "percent") != has(prediction, "percent"):
        bare = [rewrite(side, _without_percent) for side in (gold, prediction)]
        other = _under(bare[0], bare[1], usual)
        decision = other if other.outcome is Outcome.EQUAL else decision
    return decision


def moderate(node: Node) -> bool:
    """Whether sympy may be asked about a formula: it expands powers, products and remainders of any size."""
    towers = any(isinstance(part, Call) and part.name in _GROWING and part is not inner and isinstance(inner, Call)
                 and inner.name in _GROWING for part in walk(node) for inner in walk(part))  # fmt: skip
    return not towers and all(abs(part.value) < _LARGE for part in walk(node) if isinstance(part, Number))


def constant(node: Node, digits: int = SHALLOW) -> Any | None:
    """The real value of a formula without variables; None if it has none or it is beyond the caps."""
    try:
        evaluator = Evaluator({}, digits)
        return evaluator.real(evaluator.value(node))
    except (Undefined, TooCostly):
        return None


def is_constant(node: Node) -> bool:
    """Whether a formula in variables has one value wherever it has any."""
    values: list[Any] = []
    shallow = context(SHALLOW)
    for point in points(sorted(symbols(node)), node, node):
        try:
            value = Evaluator(point, SHALLOW).value(node)
        except (Undefined, TooCostly):
            continue
        values.append(shallow.convert(_number(value, SHALLOW)))
        if len(values) == ENOUGH_POINTS:
            break
    scale = max(map(abs, values), default=0)
    return len(values) >= MIN_POINTS and all(abs(value - values[0]) <= 1e-25 * max(1, scale) for value in values)


def sign_of(difference: Node, point: dict[str, Fraction]) -> int | None:
    """-1, 0 or 1 for a formula at a point, with what rounding leaves taken for zero; None without a value."""
    try:
        near = _real(difference, point, SHALLOW)
        if isinstance(near, Fraction):
            return (near > 0) - (near < 0)
        if not context(SHALLOW).isfinite(near):
            return 1 if near > 0 else -1
        far = _real(difference, point, DEEP)
    except (Undefined, TooCostly):
        return None
    if _vanishes(near, far):
        return 0
    return 1 if far > 0 else -1


def _real(node: Node, point: dict[str, Fraction], digits: int) -> Any:
    evaluator = Evaluator(point, digits)
    return evaluator.real(evaluator.value(node))


def _vanishes(near: Any, far: Any) -> bool:
    """Whether a value computed with `SHALLOW` and with `DEEP` digits is only rounding."""
    if not far:
        return True
    deep = context(DEEP)
    return bool(abs(far) < abs(deep.convert(near)) * deep.mpf(10) ** -30 or abs(far) < deep.mpf(10) ** -(DEEP - 20))


def _under(gold: Node, prediction: Node, conventions: Conventions) -> Decision:
    names = sorted(symbols(gold) | symbols(prediction))
    if not names:
        return _at(gold, prediction, {}, conventions, deep=True)
    valid, too_costly = 0, False
    for point in points(names, gold, prediction):
        decision = _at(gold, prediction, point, conventions, deep=valid < 2)
        if decision.outcome is Outcome.DIFFERENT:
            return different("sampling")
        too_costly = too_costly or decision.rule == "too_large"
        valid += decision.outcome is Outcome.EQUAL
        if valid >= ENOUGH_POINTS:
            break
    if valid >= MIN_POINTS:
        return equal("sampling")
    return unknown("too_large" if too_costly else "no_value")


def points(names: list[str], gold: Node, prediction: Node) -> Iterator[dict[str, Fraction]]:
    """Seeded points; whole ones last, since formulas such as n! have values only there."""
    draw = random.Random(derive_seed("sampling", repr(gold), repr(prediction)))
    for turn in range(_ROUNDS * len(_RANGES)):
        low, high, sign = _RANGES[turn % len(_RANGES)]
        signs = {"+": (1,), "-": (-1,)}.get(sign, (1, -1) if turn % 4 else (-1, 1))
        yield {name: Fraction(draw.randint(low * 89 + 1, high * 89 - 1) * signs[place % len(signs)], 89)
               for place, name in enumerate(names)}  # fmt: skip
    for high in (3, 6, 9, 12) * 3:
        yield {name: Fraction(draw.randint(1, high)) for name in names}
    for high in (4, 40, 400):
        # Ordered whole points: binomials and the like ask for n >= k.
        values = sorted((draw.randint(0, high) for _ in names), reverse=True)
        yield dict(zip(names, map(Fraction, values), strict=True))


def _at(gold: Node, prediction: Node, point: dict[str, Fraction], conventions: Conventions, *, deep: bool) -> Decision:
    """Compare at one point; `deep` asks for the close look even where the first one finds no difference."""
    try:
        left, right = (_value(side, point, SHALLOW, conventions) for side in (gold, prediction))
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return equal("rational") if left == right else different("rational")
        shallow = context(SHALLOW)
        left, right = shallow.convert(_number(left, SHALLOW)), shallow.convert(_number(right, SHALLOW))
        if not (shallow.isfinite(left) and shallow.isfinite(right)):
            return equal("infinity") if left == right else different("infinity")
        gap, scale = abs(left - right), max(abs(left), abs(right))
        if gap > scale * shallow.mpf(10) ** -12 and scale > shallow.mpf(10) ** -20:
            return different("value")
        if not deep and gap <= scale * shallow.mpf(10) ** -25:
            return equal("value")
        return _closely(gold, prediction, point, conventions, gap)
    except Undefined:
        return unknown("no_value")
    except TooCostly:
        return unknown("too_large")


def _closely(gold: Node, prediction: Node, point: dict[str, Fraction], conventions: Conventions, gap: Any) -> Decision:
    left, right = (_number(_value(side, point, DEEP, conventions), DEEP) for side in (gold, prediction))
    deep = context(DEEP)
    close, scale = abs(left - right), max(abs(left), abs(right))
    if not point and scale > deep.mpf(10) ** (DEEP - 20):
        return unknown("too_large")  # integers of so many digits may differ in those that are not carried
    vanished = close <= scale * deep.mpf(10) ** -(DEEP - 40) or close <= deep.convert(gap) * deep.mpf(10) ** -30
    return equal("value") if vanished else different("value")


def _value(node: Node, point: dict[str, Fraction], digits: int, conventions: Conventions) -> Any:
    return Evaluator(point, digits, **conventions._asdict()).value(node)


def _number(value: Any, digits: int) -> Any:
    return Evaluator({}, digits).number(value)


def _speaks_of_i(gold: Node, prediction: Node) -> bool:
    return any(has(side, "i") for side in (gold, prediction))


def _in_radians(gold: Node, prediction: Node) -> bool:
    """A degree sign converts beside pi or inside a trigonometric function; else it is a unit."""
    trigonometric = any(isinstance(part, Call) and part.name in _TRIGONOMETRIC and has(part, "degree")
                        for side in (gold, prediction) for part in walk(side))  # fmt: skip
    return trigonometric or has(gold, "pi") or has(prediction, "pi")


def _without_percent(node: Node) -> Node:
    return node.args[0] if isinstance(node, Call) and node.name == "percent" else node


def rounds_to(gold: Number, prediction: Node) -> bool:
    """Whether a constant is within half a unit of the last digit of a decimal gold answer."""
    value = constant(prediction)
    if value is None or not gold.step:
        return False
    shallow = context(SHALLOW)
    exact = gold.value if isinstance(value, Fraction) else shallow.mpf(gold.value.numerator) / gold.value.denominator
    return bool(abs(value - exact) <= (gold.step / 2 if isinstance(value, Fraction) else
                                       shallow.mpf(gold.step.numerator) / gold.step.denominator / 2))  # fmt: skip
