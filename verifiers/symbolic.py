r"""Equality of formulas by sympy, inside a worker process only: nothing here has a time limit of its own.

Text becomes a formula through the LaTeX grammar of latex2sympy2_extended and through nothing else; no text ever reaches
`eval`, `sympify`, `parse_expr` or `lambdify`. Notation that the grammar would misread (it takes `\angle ABC` for a
product, `1011_2` for 1011 and `2 3` for 5) is refused before it is parsed: unparsed is never equal to parsed.

Formulas are equal when they agree to 25 digits at seeded real points where both are real; constants, to 40 digits.
Disagreement at one point decides that they differ. sympy's own simplification is asked only where no point is valid.
"""

from __future__ import annotations

import random
import re
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

from data.ids import derive_seed
from verifiers import plain
from verifiers.equivalence import Decision, Outcome
from verifiers.symbolic_sets import as_set, same_relation, same_set

_KNOWN = """frac sqrt pi infty cup cap pm mp le ge ne in cdot times div setminus emptyset mathbb begin end binom
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp max min gcd lcm det lfloor rfloor lceil rceil
    alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi
    psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell sum prod int lim to pmod bmod mod partial"""
_COMMANDS = frozenset(_KNOWN.split())
_ENVIRONMENTS = frozenset({"pmatrix", "bmatrix", "matrix", "vmatrix", "Vmatrix", "smallmatrix"})
_CONFIG = ConversionConfig(lowercase_symbols=False)
_IMAGINARY = sympy.Symbol("i", real=True)
_POINTS, _ENOUGH = 18, 4
_RANGES = ((-4000, 4000), (100, 4000), (10, 980))
_DIGITS = 50
_CLOSE, _CLOSE_CONSTANT = sympy.Float("1e-25", 30), sympy.Float("1e-40", 50)


def compare(gold: str, prediction: str) -> Decision:
    """Decide a pair of canonical formulas."""
    radians = r"\pi" in gold + prediction
    ours, theirs = read(gold, radians=radians), read(prediction, radians=radians)
    if ours is None:
        return Decision(Outcome.UNKNOWN, "gold_unparsed")
    if theirs is None:
        # Text that is no formula at all is not the number that was asked for; of a formula we cannot be as sure.
        number = plain.read(gold) is not None
        return Decision(Outcome.DIFFERENT, "unparsed") if number else Decision(Outcome.UNKNOWN, "prediction_unparsed")
    seed = derive_seed("symbolic", gold, prediction)
    sympy.core.random.seed(seed)
    return _same(ours, theirs, seed)


def read(text: str, *, radians: bool = False) -> Any | None:
    """Parse a canonical formula; None for notation that is not understood.

    Args:
        text: canonical text.
        radians: whether a degree sign converts (120° beside 2π/3) or is a unit that was left out on the other side.
    """
    text = re.sub(r"(\d+)°", r"\\frac{\1\\pi}{180}" if radians else r"\1", text)
    text = re.sub(r"(?<![\d.,(\[{])(\d{1,3}(?:,\d{3})+)(?![\d,)\]}])", lambda m: m.group().replace(",", ""), text)
    if not _understood(text):
        return None
    # Decimals become fractions: the grammar would make 53-bit floats of them.
    text = re.sub(
        r"(\d*)\.(\d+)", lambda m: f"\\frac{{{int(m.group(1) + m.group(2))}}}{{{10 ** len(m.group(2))}}}", text
    )
    text = re.sub(r"(\\frac\{\d+\}\{\d+\})%|(\d+)%", r"\\frac{\1\2}{100}", text).replace("*", r"\cdot ")
    try:
        parsed = latex2sympy(text, is_real=True, normalization_config=None, conversion_config=_CONFIG)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - the grammar's error listener raises bare `Exception`
        return None
    if not isinstance(parsed, (sympy.Basic, sympy.MatrixBase)):
        return None
    parsed = parsed.doit()
    return parsed.xreplace({_IMAGINARY: sympy.I}) if isinstance(parsed, sympy.Basic) else parsed


def _understood(text: str) -> bool:
    commands = re.findall(r"\\([a-zA-Z]+)", text)
    environments = re.findall(r"\\begin\{(\w+)\}", text)
    words = re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}", re.sub(r"\\(?:begin|end)\{\w+\}", "", text))
    return (
        text.isascii()
        and _COMMANDS.issuperset(commands)
        and _ENVIRONMENTS.issuperset(environments)
        and not words
        and not re.search(r"['\"?@#$`~]|\d \d|\d_|^\s*$|\\in(?![a-z]).*\|", text)
    )


def _same(ours: Any, theirs: Any, seed: int) -> Decision:
    if ours == theirs:
        return Decision(Outcome.EQUAL, "symbolic")
    if isinstance(ours, (sympy.MatrixBase, sympy.Tuple)) or isinstance(theirs, (sympy.MatrixBase, sympy.Tuple)):
        return _same_sequence(ours, theirs, seed)
    if isinstance(ours, sympy.Expr) and isinstance(theirs, sympy.Expr):
        return same_expression(ours, theirs, seed)
    if isinstance(ours, Relational) and isinstance(theirs, Relational):
        decision = same_relation(ours, theirs, seed, same_expression)
        if decision.outcome is not Outcome.UNKNOWN:
            return decision
    left, right = as_set(ours), as_set(theirs)
    if left is not None and right is not None:
        return same_set(left, right, seed, _same)
    if isinstance(ours, sympy.Expr) or isinstance(theirs, sympy.Expr):
        return Decision(Outcome.DIFFERENT, "type")
    return Decision(Outcome.UNKNOWN, "types")


def _same_sequence(ours: Any, theirs: Any, seed: int) -> Decision:
    """Tuples and matrices, element by element; a column vector is the tuple of its entries."""
    ours, theirs = (_pair(side) for side in (ours, theirs))
    shapes = [getattr(side, "shape", None) for side in (ours, theirs)]
    listed = all(isinstance(side, (sympy.MatrixBase, sympy.Tuple)) for side in (ours, theirs))
    if not listed or (None not in shapes and shapes[0] != shapes[1]) or len(ours) != len(theirs):
        return Decision(Outcome.DIFFERENT, "matrix")
    outcomes = {_same(left, right, seed).outcome for left, right in zip(list(ours), list(theirs), strict=True)}
    order = (Outcome.DIFFERENT, Outcome.UNKNOWN, Outcome.EQUAL)
    return Decision(next(outcome for outcome in order if outcome in outcomes), "matrix")


def _pair(thing: Any) -> Any:
    """The grammar reads (1, 2) as an interval; beside a vector it is a pair."""
    if isinstance(thing, sympy.Interval) and thing.left_open and thing.right_open:
        return sympy.Tuple(thing.start, thing.end)
    return thing


def same_expression(ours: sympy.Expr, theirs: sympy.Expr, seed: int) -> Decision:
    """Decide two expressions by values."""
    if ours.is_Rational and theirs.is_Rational:
        return Decision(Outcome.EQUAL if ours == theirs else Outcome.DIFFERENT, "rational")
    ours, theirs = _without_functions(ours), _without_functions(theirs)
    symbols = sorted(ours.free_symbols | theirs.free_symbols, key=str)
    decision = _by_points(ours, theirs, symbols, seed) if symbols else _by_value(ours, theirs)
    if decision.outcome is not Outcome.UNKNOWN:
        return decision
    zero = sympy.simplify(ours - theirs) == 0
    return Decision(Outcome.EQUAL, "symbolic") if zero else decision


def _without_functions(expression: sympy.Expr) -> sympy.Expr:
    """`f(x)` of an unknown f has no value; two of them are the same thing when they look the same."""
    unknown = sorted(expression.atoms(AppliedUndef), key=str)
    return expression.xreplace({call: sympy.Symbol(str(call), real=True) for call in unknown})


def _by_value(ours: sympy.Expr, theirs: sympy.Expr) -> Decision:
    left, right = value(ours, {}), value(theirs, {})
    if left is None or right is None:
        infinite = [side.is_infinite or side is sympy.zoo for side in (ours, theirs)]
        return Decision(Outcome.DIFFERENT, "infinity") if any(infinite) else Decision(Outcome.UNKNOWN, "no_value")
    scale = max(abs(left), abs(right))
    if scale < _CLOSE_CONSTANT:
        # Both vanish to 40 digits: only an exact argument tells 0 from a very small number.
        difference = sympy.simplify(ours - theirs)
        return Decision(Outcome.EQUAL if difference == 0 else Outcome.DIFFERENT, "symbolic")
    return Decision(Outcome.EQUAL if abs(left - right) <= scale * _CLOSE_CONSTANT else Outcome.DIFFERENT, "value")


def _by_points(ours: sympy.Expr, theirs: sympy.Expr, symbols: list[sympy.Symbol], seed: int) -> Decision:
    """Sample the real domain; complex values count only where the formulas themselves are complex."""
    valid, complex_valued = 0, ours.has(sympy.I) or theirs.has(sympy.I)
    for point in points(symbols, seed):
        left, right = value(ours, point), value(theirs, point)
        if left is None or right is None or not (complex_valued or (_real(left) and _real(right))):
            continue
        valid += 1
        if abs(left - right) > _CLOSE * max(abs(left), abs(right), _CLOSE):
            return Decision(Outcome.DIFFERENT, "sampling")
        if valid >= 2 * _ENOUGH:
            break
    return Decision(Outcome.EQUAL, "sampling") if valid >= _ENOUGH else Decision(Outcome.UNKNOWN, "no_real_points")


def points(symbols: list[sympy.Symbol], seed: int) -> list[dict[sympy.Symbol, sympy.Rational]]:
    """Seeded rational points, in turn of either sign, positive, and in (0, 1), so that each kind of domain is met."""
    draw = random.Random(seed)
    return [{symbol: sympy.Rational(draw.randint(*_RANGES[index % 3]), 997) for symbol in symbols}
            for index in range(_POINTS)]  # fmt: skip


def value(expression: sympy.Expr, point: dict[sympy.Symbol, sympy.Rational]) -> sympy.Expr | None:
    """The finite number that an expression has at a point, to 50 digits; None if it has none."""
    number = expression.evalf(_DIGITS, subs=point, maxn=300)
    real, imaginary = number.as_real_imag()
    if not (real.is_Number and imaginary.is_Number and real.is_finite and imaginary.is_finite):
        return None
    return number


def _real(number: sympy.Expr) -> bool:
    return bool(abs(number.as_real_imag()[1]) <= _CLOSE * max(abs(number), _CLOSE))
