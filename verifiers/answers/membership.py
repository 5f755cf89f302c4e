"""Whether a number, given as a formula, belongs to a set: interval, relation, set-builder, union, domain; exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from verifiers.answers.expressions import constant, sign_of
from verifiers.answers.tree import (
    DOMAINS,
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
)


class Unclear(Exception):
    """Membership cannot be told."""


def member(node: Node, name: str, value: Node) -> bool:
    """Whether a number belongs to a set.

    Args:
        node: the set; a relation is the set of values of `name` that satisfy it.
        name: the variable; empty where the set names none.
        value: the number, a formula without variables.

    Raises:
        Unclear: it cannot be told.
    """
    if isinstance(node, Group):
        return _in_interval(node, value)
    if isinstance(node, FiniteSet):
        return any(_sign(value, item) == 0 for item in node.items)
    if isinstance(node, Builder):
        return _in_builder(node, name, value)
    if isinstance(node, Relation):
        return _satisfies(node, name, value)
    if isinstance(node, Constant) and node.name in DOMAINS:
        return _in_domain(node.name, value)
    if isinstance(node, Call) and node.name.startswith("domain"):
        sign = _sign(value, Number(Fraction(0)))
        return member(node.args[0], name, value) and {"+": sign > 0, "-": sign < 0, "*": sign != 0}[node.name[6:]]
    if isinstance(node, (Call, Listing)):
        return _combined(node, name, value)
    raise Unclear


def _combined(node: Call | Listing, name: str, value: Node) -> bool:
    if isinstance(node, Listing):
        parts = [member(item, name, value) for item in node.items]
        return all(parts) if _conjoined(node) else any(parts)
    parts = [member(item, name, value) for item in node.args]
    if node.name in ("union", "or"):
        return any(parts)
    if node.name in ("intersection", "and"):
        return all(parts)
    if node.name == "difference":
        return parts[0] and not parts[1]
    if node.name == "not":
        return not parts[0]
    raise Unclear


def _conjoined(node: Listing) -> bool:
    """Whether all relations must hold: `x > 1, x < 3`, but not `x < 1, x > 3`, nor a list of intervals."""
    if node.joiner == "or" or not all(isinstance(item, Relation) for item in node.items):
        return False
    if any(isinstance(item, Relation) and {"!=", "in"} & set(item.signs) for item in node.items):
        return True
    lower = [item for item in node.items if isinstance(item, Relation) and _bound(item) == 1]
    upper = [item for item in node.items if isinstance(item, Relation) and _bound(item) == -1]
    if len(lower) != 1 or len(upper) != 1 or len(node.items) != 2:
        return False
    ends = [_end(relation) for relation in (lower[0], upper[0])]
    return None not in ends and ends[0] < ends[1]


def _bound(relation: Relation) -> int:
    """1 for `x > a`, -1 for `x < a`, 0 for anything else."""
    if len(relation.sides) != 2 or not {"<", "<=", ">", ">="} & set(relation.signs):
        return 0
    upward = relation.signs[0] in (">", ">=")
    if isinstance(relation.sides[1], Symbol) and not isinstance(relation.sides[0], Symbol):
        upward = not upward
    return 1 if upward else -1


def _end(relation: Relation) -> Any:
    values = [constant(side) for side in relation.sides if not symbols(side)]
    return float(values[0]) if len(values) == 1 and values[0] is not None else None


def _in_interval(node: Group, value: Node) -> bool:
    if len(node.items) != 2 or node.brackets == "<>":
        raise Unclear
    low, high = _sign(value, node.items[0]), _sign(value, node.items[1])
    return (low > 0 or (low == 0 and node.brackets[0] == "[")) and (high < 0 or (high == 0 and node.brackets[1] == "]"))


def _in_builder(node: Builder, name: str, value: Node) -> bool:
    conditions: Iterable[Node] = node.condition.items if isinstance(node.condition, Listing) else (node.condition,)
    if isinstance(node.condition, Listing) and node.condition.joiner == "or":
        conditions = (node.condition,)
    if isinstance(node.element, Relation):
        conditions = (node.element, *conditions)
    return all(member(condition, name, value) for condition in conditions)


def _satisfies(node: Relation, name: str, value: Node) -> bool:
    sides = [substitute(side, {name: value}) for side in node.sides]
    for sign, (left, right) in zip(node.signs, pairwise(sides), strict=True):
        if sign in ("in", "notin"):
            if member(right, name, left) is (sign == "notin"):
                return False
            continue
        order = _sign_or_none(left, right)
        if order is None:
            return False  # outside the domain of the relation
        holds = {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0, "=": order == 0, "!=": order != 0}
        if sign not in holds:
            raise Unclear
        if not holds[sign]:
            return False
    return True


def _in_domain(domain: str, value: Node) -> bool:
    if domain in ("R", "C"):
        return True
    number = constant(value)
    if not isinstance(number, Fraction):
        if domain == "Q":
            raise Unclear
        return False
    whole = number.denominator == 1
    return {"Z": whole, "N": whole and number >= 0, "Q": True}[domain]


def _sign(left: Node, right: Node) -> int:
    order = _sign_or_none(left, right)
    if order is None:
        raise Unclear
    return order


def _sign_or_none(left: Node, right: Node) -> int | None:
    if left == right:
        return 0
    if infinite(right):
        return -1 if right == Constant("infinity") else 1
    if isinstance(left, Number) and isinstance(right, Number):
        return (left.value > right.value) - (left.value < right.value)
    return sign_of(Call("add", (left, negated(right))), {})


def infinite(node: Node) -> bool:
    """Whether this is plus or minus infinity."""
    inner = node.args[0] if isinstance(node, Call) and node.name == "neg" else node
    return inner == Constant("infinity")


def substitute(node: Node, values: Mapping[str, Node]) -> Node:
    """A copy with variables replaced."""
    if not values:
        return node
    return rewrite(node, lambda part: values.get(part.name, part) if isinstance(part, Symbol) else part)
