"""Statements of propositional logic and of the algebra of sets, compared by truth table."""

from __future__ import annotations

from itertools import product

from verifiers.answers.decision import Decision, verdict
from verifiers.answers.tree import LOGIC, SETS, Call, Listing, Node, Symbol, symbols

_MAX_NAMES = 8


def compare(gold: Node, prediction: Node) -> Decision | None:
    """Decide two statements; None where one of them is more than names and connectives."""
    sides = [_joined(side) for side in (gold, prediction)]
    names = sorted(symbols(gold) | symbols(prediction))
    if not all(map(_is_statement, sides)) or len(names) > _MAX_NAMES:
        return None
    same = all(
        _truth(sides[0], world) == _truth(sides[1], world)
        for values in product((False, True), repeat=len(names))
        for world in [dict(zip(names, values, strict=True))]
    )
    return verdict(same, "truth_table")


def _joined(node: Node) -> Node:
    """`p and q` was read as two answers side by side; beside a statement it is one."""
    if isinstance(node, Listing) and node.joiner in ("and", "or"):
        joined = node.items[0]
        for item in node.items[1:]:
            joined = Call(node.joiner, (joined, item))
        return joined
    return node


def _is_statement(node: Node) -> bool:
    if isinstance(node, Symbol):
        return True
    return isinstance(node, Call) and node.name in LOGIC | SETS and all(map(_is_statement, node.args))


def _truth(node: Node, world: dict[str, bool]) -> bool:
    if isinstance(node, Symbol):
        return world[node.name]
    assert isinstance(node, Call)
    values = [_truth(argument, world) for argument in node.args]
    if node.name == "not":
        return not values[0]
    left, right = values
    return {"and": left and right, "or": left or right, "implies": not left or right, "iff": left == right,
            "xor": left != right, "union": left or right, "intersection": left and right,
            "difference": left and not right}[node.name]  # fmt: skip
