"""Answers of several parts: lists, sets, tuples, matrices; how the parts compare is given (`same`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from verifiers.answers.decision import Decision, Outcome, all_of, different, unknown, verdict
from verifiers.answers.relations import split_label
from verifiers.answers.tree import FiniteSet, Group, Listing, Matrix, Node, Symbol

Same: TypeAlias = Callable[[Node, Node], Decision]
MAX_ITEMS = 64


def compare(gold: Node, prediction: Node, same: Same) -> Decision | None:
    """Decide two answers of several parts; None where one of them is a single answer."""
    if isinstance(gold, Matrix) or isinstance(prediction, Matrix):
        return _matrices(gold, prediction, same)
    ours, theirs = parts(gold), parts(prediction)
    if ours is None or theirs is None:
        return None
    if len(ours) > MAX_ITEMS or len(theirs) > MAX_ITEMS:
        return unknown("too_large")
    if isinstance(gold, Group) and isinstance(prediction, Group):
        return _groups(gold, prediction, same)
    if _clash(gold, prediction):
        return different("set")
    labelled = _by_label(ours, theirs, same)
    if labelled is not None:
        return labelled
    if len(ours) != len(theirs):
        return different("count")
    if any(isinstance(side, Group) and side.brackets != "[]" for side in (gold, prediction)):
        return all_of(map(same, _values(ours), _values(theirs)), "tuple")
    return _in_any_order(_unnamed(ours), _unnamed(theirs), same, "set")


def parts(node: Node) -> tuple[Node, ...] | None:
    """The parts of a list, set or tuple; None for anything else."""
    return node.items if isinstance(node, (Listing, FiniteSet, Group)) else None


def _clash(gold: Node, prediction: Node) -> bool:
    """A set is no tuple and no interval; `[1, 2, 3]` may be how a program prints a set."""
    group = next((side for side in (gold, prediction) if isinstance(side, Group)), None)
    as_list = group is not None and group.brackets == "[]" and len(group.items) != 2
    return {type(gold), type(prediction)} == {FiniteSet, Group} and not as_list


def _groups(gold: Group, prediction: Group, same: Same) -> Decision:
    if len(gold.items) != len(prediction.items):
        return different("tuple")
    brackets = [side.brackets.replace("<>", "()") for side in (gold, prediction)]
    if brackets[0] != brackets[1] and len(gold.items) == 2:
        return different("brackets")
    return all_of(map(same, gold.items, prediction.items), "tuple")


def _by_label(ours: Sequence[Node], theirs: Sequence[Node], same: Same) -> Decision | None:
    """Lists of named values: by name where both give the same ones, in order where only one side names them."""
    labels = [[split_label(item) for item in items] for items in (ours, theirs)]
    named = [all(found) and len({found[0] for found in side if found}) == len(side) > 1
             for side, found in zip(labels, labels, strict=True)]  # fmt: skip
    if not any(named) or len(ours) != len(theirs):
        return None
    bases = {_base_of(label[0]) for side in labels for label in side if label}
    if not all(named) and len(bases) == 1:
        return _in_any_order(_values(ours), _values(theirs), same, "set")  # x_1, x_2 have no order of their own
    if not all(named):
        return all_of(map(same, _values(_by_axis(ours)), _values(_by_axis(theirs))), "labelled")
    tables = [dict(label for label in side if label) for side in labels]
    if tables[0].keys() != tables[1].keys():
        return None
    return all_of((same(value, tables[1][label]) for label, value in tables[0].items()), "labelled")


def _base_of(label: Node) -> str:
    return label.name.partition("_")[0] if isinstance(label, Symbol) and "_" in label.name else repr(label)


def _by_axis(items: Sequence[Node]) -> list[Node]:
    """Coordinates in the order of their axes: `y = 2, x = 1` is (1, 2)."""
    labels = [split_label(item) for item in items]
    names = [label[0].name for label in labels if label and isinstance(label[0], Symbol)]
    if sorted(names) in (["x", "y"], ["x", "y", "z"]) and len(names) == len(items):
        return [item for _, item in sorted(zip(names, items, strict=True), key=lambda pair: pair[0])]
    return list(items)


def _values(items: Sequence[Node]) -> list[Node]:
    return [label[1] if (label := split_label(item)) else item for item in items]


def _unnamed(items: Sequence[Node]) -> list[Node]:
    """`x = 1, x = 2` without the one name they share."""
    labels = [split_label(item) for item in items]
    names = {label[0] for label in labels if label}
    return _values(items) if len(names) == 1 else list(items)


def _in_any_order(ours: Sequence[Node], theirs: Sequence[Node], same: Same, rule: str) -> Decision:
    """Match the elements one to one; sorting would need an order that formulas do not have."""
    left, unsure, missing = list(theirs), False, False
    for item in ours:
        outcomes = [same(item, other).outcome for other in left]
        if Outcome.EQUAL in outcomes:
            del left[outcomes.index(Outcome.EQUAL)]
            continue
        missing = True
        unsure = unsure or Outcome.UNKNOWN in outcomes
    return unknown(rule) if missing and unsure else verdict(not missing, rule)


def _matrices(gold: Node, prediction: Node, same: Same) -> Decision:
    """Entry by entry; a row or a column is the tuple of its entries, rows of a list are rows of a matrix."""
    ours, theirs = _rows(gold), _rows(prediction)
    if ours is None or theirs is None:
        return different("matrix")
    vectors = [len(rows) == 1 or len(rows[0]) == 1 for rows in (ours, theirs)]
    if isinstance(gold, Matrix) and isinstance(prediction, Matrix):
        vectors = [False, False]
    flat = [[item for row in rows for item in row] for rows in (ours, theirs)]
    shapes = [(len(rows), len(rows[0])) for rows in (ours, theirs)]
    if len(flat[0]) != len(flat[1]) or (shapes[0] != shapes[1] and not all(vectors)):
        return different("matrix")
    return all_of(map(same, flat[0], flat[1]), "matrix")


def _rows(node: Node) -> tuple[tuple[Node, ...], ...] | None:
    if isinstance(node, Matrix):
        return node.rows
    if not isinstance(node, (Group, Listing, FiniteSet)):
        return None
    if all(isinstance(item, (Group, FiniteSet)) for item in node.items):
        rows = tuple(item.items for item in node.items if isinstance(item, (Group, FiniteSet)))
        return rows if len({len(row) for row in rows}) == 1 else None
    return (node.items,) if isinstance(node, Group) else None
