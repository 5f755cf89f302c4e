r"""Families of solutions over the integers: `x = k\pi, k \in \mathbb{Z}`, residue classes, set-builders of them.

Two families are the same when every member of one, over a window of the integers, is a member of the other.
"""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

from data.ids import derive_seed
from verifiers.answers.decision import Decision, different, equal, unknown
from verifiers.answers.relations import real_value, residue_class, split_label
from verifiers.answers.tree import (
    Builder,
    Call,
    Constant,
    Group,
    Listing,
    Node,
    Relation,
    Symbol,
    is_expression,
    symbols,
)

_INTEGER_LETTERS = frozenset("nmkljtNKpqs")


class Family(NamedTuple):
    """Solutions in integer parameters."""

    members: tuple[tuple[Node, ...], ...]
    """For each branch its coordinates; most have one."""
    parameters: frozenset[str]
    declared: bool
    """Whether the text says that the parameters are integers."""


def family(node: Node) -> Family | None:
    r"""`x = k\pi, k \in \mathbb{Z}` or a set-builder of it, as formulas in integers; None for anything else."""
    if isinstance(node, Builder):
        return _built(node)
    if residue := residue_class(node):
        counter = "k" if "k" not in symbols(node) else "m"
        member = Call("add", (residue[0], Call("mul", (residue[1], Symbol(counter)))))
        return Family(((member,),), frozenset({counter}), declared=True)
    items = node.items if isinstance(node, Listing) else (node,)
    parameters, members, names = frozenset[str](), list[Node](), list[str]()
    for item in items:
        if found := _integers(item):
            parameters |= found
        else:
            label = split_label(item)
            members.append(label[1] if label else item)
            names.append(repr(label[0]) if label else "")
    if len(members) == 1 and isinstance(members[0], Group):
        members = list(members[0].items)
        names = list(map(str, range(len(members))))
    if not members or not all(map(is_expression, members)):
        return None
    # `x = 2 + 3t, y = 1 - 2t` is one branch of two coordinates, `x = 1, x = 2` two branches of one.
    vector = len(set(names)) == len(members) > 1
    branches = (tuple(members),) if vector else tuple((member,) for member in members)
    if not parameters:
        free = frozenset.union(*(symbols(member) for member in members))
        parameters = free if len(free) == 1 and free <= _INTEGER_LETTERS and not vector else frozenset()
        return Family(branches, parameters, declared=False) if parameters else None
    return Family(branches, parameters, declared=True)


def _built(node: Builder) -> Family | None:
    conditions = node.condition.items if isinstance(node.condition, Listing) else (node.condition,)
    element = node.element.sides[0] if isinstance(node.element, Relation) else node.element
    parameters = frozenset[str]()
    members: list[Node] = []
    for condition in conditions:
        if names := _integers(condition):
            parameters |= names
        elif (label := split_label(condition)) and label[0] == element:
            members.append(label[1])
        elif not (isinstance(condition, Relation) and condition.signs == ("in",)):
            return None
    if not members and is_expression(element) and not isinstance(element, Symbol):
        members = [element]
    branches = tuple((member,) for member in members)
    return Family(branches, parameters, declared=True) if members and parameters else None


def _integers(node: Node) -> frozenset[str]:
    """The names that a statement declares to be integers."""
    if not isinstance(node, Relation) or node.signs != ("in",) or node.sides[1] != Constant("Z"):
        return frozenset()
    return frozenset({node.sides[0].name}) if isinstance(node.sides[0], Symbol) else frozenset()


def compare_families(gold: Family, prediction: Family) -> Decision:
    """Every solution of one family must occur in the other, both ways, over a window of the integers."""
    if {len(branch) for branch in gold.members} != {len(branch) for branch in prediction.members}:
        return different("family")
    free = sorted(_free(gold) | _free(prediction))
    draw = random.Random(derive_seed("families", repr(gold), repr(prediction)))
    point = {name: Fraction(draw.randint(90, 900), 89) for name in free}
    for one, other in ((gold, prediction), (prediction, gold)):
        few, many = _members(one, point, 3), _members(other, point, 16)
        if not few or not many:
            return unknown("no_value")
        if not all(any(_near(value, candidate) for candidate in many) for value in few):
            return different("family")
    return equal("family")


def _free(found: Family) -> frozenset[str]:
    """Variables that are no parameters."""
    return frozenset().union(*(symbols(part) for branch in found.members for part in branch)) - found.parameters


def _near(value: list[Any], candidate: list[Any]) -> bool:
    return all(abs(a - b) < 1e-20 for a, b in zip(value, candidate, strict=True))


def _members(found: Family, point: dict[str, Fraction], reach: int) -> list[list[Any]]:
    names = sorted(found.parameters)
    if len(names) > 2:
        return []
    values = []
    for whole in product(range(-reach, reach + 1), repeat=len(names)):
        at = point | dict(zip(names, map(Fraction, whole), strict=True))
        values += [[real_value(part, at) for part in branch] for branch in found.members]
    return [value for value in values if None not in value]
