"""Equality of sets, intervals, inequalities and equations, inside a worker process only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from verifiers.equivalence import Decision, Outcome

Same = Callable[[Any, Any, int], Decision]

_FLIPPED = {sympy.StrictLessThan: sympy.StrictGreaterThan, sympy.LessThan: sympy.GreaterThan}


def as_set(thing: Any) -> sympy.Set | None:
    """A set as it is; the solutions of inequalities in one variable; None for anything else."""
    if isinstance(thing, sympy.Set):
        return thing
    if not isinstance(thing, Boolean) or len(thing.free_symbols) != 1 or thing.has(sympy.Eq):
        return None
    try:
        return thing.as_set()
    except (NotImplementedError, TypeError, ValueError):
        return None


def same_set(ours: sympy.Set, theirs: sympy.Set, seed: int, same: Same) -> Decision:
    """Decide two sets by their parts."""
    if ours == theirs:
        return Decision(Outcome.EQUAL, "set")
    if isinstance(ours, sympy.Interval) and isinstance(theirs, sympy.Interval):
        return _same_interval(ours, theirs, seed, same)
    if isinstance(ours, (sympy.FiniteSet, sympy.Union)) and ours.func is theirs.func:
        return _same_parts(list(ours.args), list(theirs.args), seed, same)
    simple = (sympy.FiniteSet, sympy.Interval)
    return Decision(Outcome.DIFFERENT if isinstance(ours, simple) and isinstance(theirs, simple) else Outcome.UNKNOWN,
                    "set")  # fmt: skip


def _same_interval(ours: sympy.Interval, theirs: sympy.Interval, seed: int, same: Same) -> Decision:
    if (ours.left_open, ours.right_open) != (theirs.left_open, theirs.right_open):
        return Decision(Outcome.DIFFERENT, "set")
    outcomes = {same(ours.start, theirs.start, seed).outcome, same(ours.end, theirs.end, seed).outcome}
    order = (Outcome.DIFFERENT, Outcome.UNKNOWN, Outcome.EQUAL)
    return Decision(next(outcome for outcome in order if outcome in outcomes), "set")


def _same_parts(ours: list[Any], theirs: list[Any], seed: int, same: Same) -> Decision:
    if len(ours) != len(theirs):
        return Decision(Outcome.DIFFERENT, "set")
    for part in ours:
        outcomes = [same(part, other, seed).outcome for other in theirs]
        if Outcome.EQUAL not in outcomes:
            return Decision(Outcome.UNKNOWN if Outcome.UNKNOWN in outcomes else Outcome.DIFFERENT, "set")
        del theirs[outcomes.index(Outcome.EQUAL)]
    return Decision(Outcome.EQUAL, "set")


def same_relation(ours: Relational, theirs: Relational, seed: int, same: Same) -> Decision:
    """Equations and inequalities whose two sides differ by a constant factor are the same.

    Polynomial equations that are not proportional differ; of other equations this says nothing.
    """
    left, right = (_upward(side) for side in (ours, theirs))
    if left.func is not right.func:
        return Decision(Outcome.UNKNOWN, "relation")
    difference, other = left.lhs - left.rhs, right.lhs - right.rhs
    factor = _factor(difference, other)
    if factor is not None and (factor.is_positive or isinstance(left, (sympy.Eq, sympy.Ne))):
        decision = same(difference, factor * other, seed)
        if decision.outcome is Outcome.EQUAL:
            return Decision(Outcome.EQUAL, "relation")
    symbols = difference.free_symbols | other.free_symbols
    equations = isinstance(left, sympy.Eq) and all(side.is_polynomial(*symbols) for side in (difference, other))
    return Decision(Outcome.DIFFERENT if equations else Outcome.UNKNOWN, "relation")


def _upward(relation: Relational) -> Relational:
    """Write `a < b` as `b > a`."""
    flipped = _FLIPPED.get(type(relation))
    return flipped(relation.rhs, relation.lhs, evaluate=False) if flipped else relation


def _factor(ours: sympy.Expr, theirs: sympy.Expr) -> sympy.Expr | None:
    """The ratio of two expressions at one generic point."""
    symbols = sorted(ours.free_symbols | theirs.free_symbols, key=str)
    point = {symbol: sympy.Rational(1931 + 137 * index, 997) for index, symbol in enumerate(symbols)}
    top, bottom = ours.subs(point), theirs.subs(point)
    if bottom.is_zero or top.is_zero or bottom.free_symbols or top.free_symbols:
        return None
    return sympy.nsimplify(top / bottom) if (top / bottom).is_Rational else top / bottom
