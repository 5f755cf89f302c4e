r"""Sets of real numbers in whatever form: interval = inequality = set-builder = union, in both directions.

Two sets are compared by membership: at every boundary that either of them names or has (substituted as a formula, so
that `x < \sqrt5` and `x \le \sqrt5` differ at exactly \sqrt5), between all of these, and beyond them. Boundaries of
relations that are not solved for their variable (`x^2 < 4`) are found by a scan of the real line for changes of sign.
Further variables are parameters and get seeded values. A relation is a set of values of one variable.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from data.ids import derive_seed
from verifiers.answers.decision import Decision, different, equal, unknown
from verifiers.answers.expressions import constant
from verifiers.answers.membership import Unclear, infinite, member, substitute
from verifiers.answers.numeric import Evaluator
from verifiers.answers.operations import TooCostly, Undefined
from verifiers.answers.tree import (
    DOMAINS,
    SETS,
    Builder,
    Call,
    Constant,
    FiniteSet,
    Group,
    Listing,
    Node,
    Number,
    Relation,
    Symbol,
    negated,
    rewrite,
    symbols,
    walk,
)

ORDER = frozenset({"<", "<=", ">", ">=", "!="})
_SHIFT = Fraction(1, 10**6)
_GRID = sorted({Fraction(sign * step, 4) for step in (*range(0, 49), 55, 63, 77, 99, 141, 203, 411, 1003, 4001)
                for sign in (1, -1)})  # fmt: skip
_PARAMETER_ROUNDS = 3
_MAX_MARKS = 60


def is_region(node: Node) -> bool:
    """Whether this can only be a set of numbers: it has an inequality, an interval's brackets, a union, a builder."""
    return any(
        (isinstance(part, Relation) and ORDER.intersection(part.signs))
        or (isinstance(part, Group) and part.brackets in ("[)", "(]"))
        or isinstance(part, Builder)
        or (isinstance(part, Call) and (part.name in SETS or part.name.startswith("domain")))
        or (isinstance(part, Constant) and part.name in DOMAINS)
        or (isinstance(part, Group) and len(part.items) == 2 and any(map(infinite, part.items)))
        for part in walk(node)
    )


def can_be_region(node: Node) -> bool:
    """Whether this may be read as a set of numbers beside one that must."""
    if isinstance(node, Group):
        return len(node.items) == 2 and node.brackets != "<>"
    if isinstance(node, Listing):
        return all(can_be_region(item) for item in node.items)
    return isinstance(node, (FiniteSet, Relation)) or is_region(node)


def compare(gold: Node, prediction: Node) -> Decision:
    """Decide two sets of numbers by membership; `unknown` where one of them is no such set."""
    gold, prediction = (_named_calls(_difference_signs(side)) for side in (gold, prediction))
    names = [_variable(gold, prediction), _variable(prediction, gold)]
    if None in names or (all(names) and names[0] != names[1] and not _builds(gold) and not _builds(prediction)):
        return different("variable") if None not in names else unknown("not_a_set")
    parameters = (symbols(gold) - {names[0] or ""}) | (symbols(prediction) - {names[1] or ""})
    draw = random.Random(derive_seed("regions", repr(gold), repr(prediction)))
    for _ in range(_PARAMETER_ROUNDS if parameters else 1):
        values = {name: Number(Fraction(draw.randint(90, 900), 89)) for name in sorted(parameters)}
        sides = [(substitute(side, values), name or "") for side, name in ((gold, names[0]), (prediction, names[1]))]
        try:
            found = _same(sides[0], sides[1])
        except Unclear:
            return unknown("set_membership")
        if not found:
            return different("set")
    return equal("set")


def _same(ours: tuple[Node, str], theirs: tuple[Node, str]) -> bool:
    marks = _distinct([*_marks(*ours), *_marks(*theirs)])
    return all(member(*ours, value) == member(*theirs, value) for value in _candidates(marks))


def _builds(node: Node) -> bool:
    return any(isinstance(part, Builder) for part in walk(node))


def _named_calls(node: Node) -> Node:
    """In `2 < g(x) < 5` the value g(x) is the variable."""
    return rewrite(
        node, lambda part: Symbol(repr(part)) if isinstance(part, Call) and part.name.startswith("f:") else part
    )


def _difference_signs(node: Node) -> Node:
    r"""`R - {1}` takes away from a set as `R \ {1}` does."""

    def change(part: Node) -> Node:
        takes = isinstance(part, Call) and part.name == "add" and len(part.args) == 2
        if isinstance(part, Call) and takes and isinstance(part.args[1], Call) and part.args[1].name == "neg":
            inner = part.args[1].args[0]
            if isinstance(inner, FiniteSet) or is_region(part.args[0]):
                return Call("difference", (part.args[0], inner))
        return part

    return rewrite(node, change)


def _variable(node: Node, other: Node) -> str | None:
    """The variable whose values a set holds; empty if none is named, None if it cannot be told."""
    if isinstance(node, Builder):
        element = node.element.sides[0] if isinstance(node.element, Relation) else node.element
        return element.name if isinstance(element, Symbol) else None
    if isinstance(node, Call) and node.name in SETS:
        names = {_variable(side, other) for side in node.args} - {""}
        return names.pop() if len(names) == 1 else None if names else ""
    relations = [part for part in walk(node) if isinstance(part, Relation)]
    if not relations:
        return ""
    shared = frozenset.intersection(*(symbols(relation) for relation in relations))
    if len(shared) > 1:
        alone = {side.name for relation in relations for side in relation.sides if isinstance(side, Symbol)}
        shared = (shared & alone) - (symbols(other) if not any(isinstance(p, Relation) for p in walk(other)) else set())
    return next(iter(shared)) if len(shared) == 1 else None


def _marks(node: Node, name: str) -> list[Node]:
    """Formulas of the boundaries of a set."""
    found: list[Node] = []
    for part in walk(node):
        if isinstance(part, (Group, FiniteSet)):
            found += [item for item in part.items if not infinite(item)]
        elif isinstance(part, Relation):
            for left, right in pairwise(part.sides):
                pair = [side for side in (left, right) if name not in symbols(side)]
                if len(pair) == 1 and Symbol(name) in (left, right):
                    found += [] if infinite(pair[0]) else pair
                elif is_formula(left) and is_formula(right):
                    found += _roots(Call("add", (left, negated(right))), name)
    return [mark for mark in found if not symbols(mark) and constant(mark) is not None][:_MAX_MARKS]


def is_formula(node: Node) -> bool:
    """Whether a side of a relation is one value."""
    return not isinstance(node, (Group, FiniteSet, Listing, Builder, Relation)) and not is_region(node)


def _roots(difference: Node, name: str) -> list[Node]:
    """Boundaries that a relation does not name: where its two sides change order."""
    values = [(point, _approximately(difference, name, point)) for point in _GRID]
    found: list[Node] = [Number(point) for point, value in values if value == 0 or value is None]
    for (low, left), (high, right) in pairwise(values):
        if left is not None and right is not None and left * right < 0:
            found.append(Number(_bisect(difference, name, low, high, left)))
    return found


def _bisect(difference: Node, name: str, low: Fraction, high: Fraction, left: Any) -> Fraction:
    for _ in range(60):
        middle = (low + high) / 2
        value = _approximately(difference, name, middle)
        if value is None or value == 0:
            return middle
        low, high = (middle, high) if (value > 0) == (left > 0) else (low, middle)
    # A boundary that is a simple fraction is meant exactly.
    simple = low.limit_denominator(1000)
    return simple if abs(simple - low) < Fraction(1, 10**12) else low


def _approximately(node: Node, name: str, value: Fraction) -> Any | None:
    try:
        evaluator = Evaluator({name: value}, 20)
        return evaluator.number(evaluator.real(evaluator.value(node)))
    except (Undefined, TooCostly):
        return None


def _distinct(marks: list[Node]) -> list[tuple[Any, Node]]:
    """Marks in order of size; of two that are one number up to bisection the one that was written stays."""
    sized: list[tuple[Any, int, Node]] = [(constant(mark), place, mark) for place, mark in enumerate(marks)]
    sized.sort(key=lambda entry: (float(entry[0]), isinstance(entry[2], Number) and entry[2].value.denominator > 10**9))
    kept: list[tuple[Any, Node]] = []
    for size, _, mark in sized:
        if not kept or abs(float(size) - float(kept[-1][0])) > 1e-9 * max(1.0, abs(float(size))):
            kept.append((size, mark))
    return kept


def _candidates(marks: Sequence[tuple[Any, Node]]) -> list[Node]:
    """Every mark, a point close to it on either side, and points far out."""
    around = [Fraction(-987654321), Fraction(-3, 7), Fraction(5, 3), Fraction(987654321)]
    for size, _ in marks:
        near = Fraction(float(size)).limit_denominator(10**12)
        around += [near - _SHIFT, near + _SHIFT, near - Fraction(1, 3), near + Fraction(1, 3)]
    sizes = [Fraction(float(size)) for size, _ in marks]
    around += [(low + high) / 2 for low, high in pairwise(sizes)]
    return [mark for _, mark in marks] + [Number(point) for point in around]
