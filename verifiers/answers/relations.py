r"""Equations, inequalities in several variables, definitions of functions, congruences."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

from verifiers.answers import expressions
from verifiers.answers.decision import Decision, different, equal, unknown
from verifiers.answers.numeric import Evaluator
from verifiers.answers.operations import TooCostly, Undefined
from verifiers.answers.regions import is_formula
from verifiers.answers.tree import (
    SETS,
    Call,
    FiniteSet,
    Group,
    Node,
    Number,
    Relation,
    Symbol,
    is_expression,
    negated,
    rename,
    rewrite,
    symbols,
)

_FLIPPED = {">": "<", ">=": "<="}
_DIGITS = 60
_POINTS = 6


def split_label(node: Node) -> tuple[Node, Node] | None:
    """Name and value of `x = 5`, `f(x) = x^2`, `(a, b) = (1, 2)` or `2 + 3 = 5`; None for any other statement."""
    if isinstance(node, Relation) and node.signs == ("in",) and isinstance(node.sides[1], (Group, FiniteSet)):
        return (node.sides[0], node.sides[1]) if isinstance(node.sides[0], (Symbol, Group)) else None
    if not isinstance(node, Relation) or set(node.signs) - {"=", "approx"}:
        return None
    label, value = node.sides[0], node.sides[-1]
    if isinstance(label, Symbol) or (isinstance(label, Call) and label.name.startswith("f:")):
        named = not (isinstance(label, Symbol) and label.name in symbols(value))
    elif _is_measure(label):
        named = _is_derivative(label) or not symbols(label) & symbols(value)
    elif isinstance(label, Group):
        named = all(isinstance(item, (Symbol, Call)) for item in label.items) and isinstance(value, Group)
    else:
        named = not symbols(label) and is_expression(label)
    if not named and isinstance(value, Symbol) and len(node.sides) == 2 and value.name not in symbols(label):
        return value, label
    if named and node.signs[-1] == "approx" and (len(node.sides) > 2 or not symbols(label)):
        value = node.sides[-2]  # `2/3 = 0.67` up to rounding states the exact value first
    return (label, value) if named else None


def _is_measure(node: Node) -> bool:
    r"""A length `|AB|`, a set `A \cup B`, a derivative `dy/dx`: names of values in spite of their signs."""
    if not isinstance(node, Call):
        return False
    if node.name in SETS or node.name in ("abs", "norm"):
        return all(isinstance(part, Symbol) or _is_segment(part) for part in node.args)
    if node.name in ("sin", "cos", "tan", "cot", "gcd", "lcm", "det", "max", "min", "arg"):
        return not any(isinstance(part, Number) for part in node.args) or node.name in ("gcd", "lcm")
    # A variance is written as a square: `sigma^2 = 4`.
    variance = node.name == "pow" and isinstance(node.args[0], Symbol) and node.args[0].name.startswith(("sigma", "s_"))
    return variance or _is_segment(node) or _is_derivative(node)


def _is_derivative(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "div" and all(
        isinstance(part, Call) and part.args[0] == Symbol("d") for part in node.args)  # fmt: skip


def _is_segment(node: Node) -> bool:
    """`AB`, the length of a segment, was read as a product of capitals."""
    return isinstance(node, Call) and node.name == "mul" and all(
        (isinstance(part, Symbol) and part.name.isupper()) or _is_segment(part) for part in node.args)  # fmt: skip


def compare_equations(gold: Relation, prediction: Relation) -> Decision:
    """Two equations or inequalities: the same when their zero forms are proportional or one solves the other."""
    ours, theirs = (_zero_form(side) for side in (gold, prediction))
    if ours is None or theirs is None or ours[1] != theirs[1]:
        return different("relation") if ours and theirs else unknown("relation")
    left, right = ours[0], theirs[0]
    ratios = list(islice(_ratios(left, right), _POINTS))
    if len(ratios) < 3:
        return unknown("no_value")
    first = ratios[0]
    constant = all(abs(ratio - first) <= abs(first) * 1e-25 for ratio in ratios)
    if constant and (ours[1] in ("=", "!=") or first > 0):
        return equal("relation")
    if ours[1] == "=" and (_solves(gold, right) or _solves(prediction, left)):
        return equal("relation")
    return different("relation")


def _zero_form(relation: Relation) -> tuple[Node, str] | None:
    """`left - right`, with the sign turned so that only `<`, `<=`, `=`, `!=` remain."""
    if len(relation.sides) != 2 or not all(map(is_formula, relation.sides)):
        return None
    left, right = relation.sides
    sign = relation.signs[0]
    if sign in _FLIPPED:
        left, right, sign = right, left, _FLIPPED[sign]
    return (Call("add", (left, negated(right))), sign) if sign in ("<", "<=", "=", "!=") else None


def _ratios(left: Node, right: Node) -> Iterator[Any]:
    names = sorted(symbols(left) | symbols(right))
    for point in expressions.points(names, left, right):
        top, bottom = real_value(left, point), real_value(right, point)
        if top is not None and bottom:
            yield top / bottom


def real_value(node: Node, point: dict[str, Fraction]) -> Any | None:
    """The value at a point as a real number of many digits; None if there is none."""
    try:
        evaluator = Evaluator(point, _DIGITS)
        return evaluator.number(evaluator.real(evaluator.value(node)))
    except (Undefined, TooCostly):
        return None


def _solves(solution: Relation, other: Node) -> bool:
    """Whether `v = expression` satisfies another zero form that is linear in v, so that it is its only solution."""
    found = split_label(solution)
    if found is None or not isinstance(found[0], Symbol) or found[0].name not in symbols(other):
        return False
    name = found[0].name

    def at(value: Node) -> Node:
        return rewrite(other, lambda part: value if part == Symbol(name) else part)

    zero, one, two = (at(Number(Fraction(place))) for place in range(3))
    bend = Call("add", (zero, two, negated(Call("mul", (Number(Fraction(2)), one)))))
    nothing = Number(Fraction(0))
    linear = expressions.compare(bend, nothing).outcome == "equal"
    return linear and expressions.compare(at(found[1]), nothing).outcome == "equal"


def matched_functions(gold: Relation, prediction: Relation) -> tuple[Node, Node] | None:
    """`f(x) = ...` beside `f(t) = ...` or `y = ...`: values with parameters matched by place."""
    ours, theirs = split_label(gold), split_label(prediction)
    if ours is None or theirs is None:
        return None
    calls = [label for label in (ours[0], theirs[0]) if isinstance(label, Call) and label.name.startswith("f:")]
    if len(calls) == 2:
        if calls[0].name != calls[1].name or len(calls[0].args) != len(calls[1].args):
            return None
        names = {new.name: old.name for old, new in zip(calls[0].args, calls[1].args, strict=True)
                 if isinstance(old, Symbol) and isinstance(new, Symbol)}  # fmt: skip
        return ours[1], rename(theirs[1], names)
    plain = [label for label in (ours[0], theirs[0]) if isinstance(label, Symbol)]
    if len(plain) == 2 and plain[0] != plain[1] and _unaccented(plain[0]) == _unaccented(plain[1]):
        return ours[1], theirs[1]
    if all(
        _is_derivative(label) or (isinstance(label, Symbol) and label.name.endswith("'"))
        for label in (ours[0], theirs[0])
    ):
        return ours[1], theirs[1]
    if len(calls) == 1 and len(plain) == 1:
        return ours[1], theirs[1]
    indices = [label.name.partition("_")[::2] for label in plain]
    if len(plain) == 2 and indices[0] != indices[1] and indices[0][0] == indices[1][0]:
        # The terms of a sequence: `a_n = 2^n`, `a_k = 2^k`.
        letters = all(index.isalpha() and len(index) == 1 for _, index in indices)
        return (ours[1], rename(theirs[1], {indices[1][1]: indices[0][1]})) if letters else None
    return None


def compare_congruences(gold: Node, prediction: Node) -> Decision | None:
    """`x = 3 (mod 7)`, `10 (mod 7)` and 3. None if neither side is a residue class."""
    ours, theirs = residue_class(gold), residue_class(prediction)
    if ours is None and theirs is None:
        return None
    moduli = [found[1] for found in (ours, theirs) if found]
    residues = [found[0] if found else side for found, side in ((ours, gold), (theirs, prediction))]
    if moduli[0] != moduli[-1] or not all(map(is_expression, residues)):
        return different("congruence")
    gap = Call("mod", (Call("add", (residues[0], negated(residues[1]))), moduli[0]))
    return expressions.compare(gap, Number(Fraction(0)))


def _unaccented(label: Symbol) -> str:
    return label.name.removeprefix("hat ").removeprefix("bar ").removeprefix("vec ")


def residue_class(node: Node) -> tuple[Node, Node] | None:
    """Residue and modulus of `x = 3 (mod 7)`; None for anything else."""
    return (node.args[-2], node.args[-1]) if isinstance(node, Call) and node.name == "congruent" else None
