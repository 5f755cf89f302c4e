r"""Vectors in other clothes: multiples, sums, transposes, `3\mathbf i + 4\mathbf j`, and lines in a real parameter."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from verifiers.answers.decision import Decision, verdict
from verifiers.answers.relations import real_value, split_label
from verifiers.answers.tree import (
    Call,
    Constant,
    Group,
    Listing,
    Matrix,
    Node,
    Number,
    Relation,
    Symbol,
    is_expression,
    rewrite,
    symbols,
)

_UNITS = ("i", "j", "k")
_CLOSE = 1e-25


def simplified(node: Node) -> Node:
    """One node with a number times a vector, a sum of vectors or a transpose worked out; any other as it is."""
    if not isinstance(node, Call):
        return node
    if (
        node.name == "pow"
        and isinstance(node.args[0], (Matrix, Group))
        and node.args[1] in (Symbol("T"), Symbol("top"))
    ):
        array = node.args[0]
        return Matrix(tuple(zip(*array.rows, strict=True))) if isinstance(array, Matrix) else array
    if node.name == "add" and all(isinstance(part, Group) for part in node.args):
        columns = [part.items for part in node.args if isinstance(part, Group)]
        if len({len(items) for items in columns}) == 1 and len(columns[0]) > 1:
            return Group(tuple(Call("add", parts) for parts in zip(*columns, strict=True)), "()")
    return _multiplied(node) if node.name in ("mul", "div", "neg") else node


def _multiplied(node: Call) -> Node:
    arrays = [part for part in node.args if isinstance(part, (Matrix, Group))]
    if len(arrays) != 1 or (node.name == "div" and node.args[0] is not arrays[0]):
        return node

    def entry(item: Node) -> Node:
        return Call(node.name, tuple(item if part is arrays[0] else part for part in node.args))

    array = arrays[0]
    if isinstance(array, Matrix):
        return Matrix(tuple(tuple(map(entry, row)) for row in array.rows))
    return Group(tuple(map(entry, array.items)), array.brackets) if len(array.items) > 1 else node


def components(node: Node, dimension: int) -> Node:
    r"""`3\mathbf i + 4\mathbf j` as a tuple of so many components; any other node as it is."""
    if not is_expression(node) or dimension not in (2, 3):
        return node
    node = rewrite(node, lambda part: Symbol("i") if part == Constant("i") else part)
    node = rewrite(
        node, lambda part: Symbol(part.name[-1]) if isinstance(part, Symbol) and part.name in _ACCENTED else part
    )
    if not {"i", "j"} <= symbols(node) | {"i"} or not symbols(node) & set(_UNITS):
        return node

    def at(unit: str) -> Node:
        values = {name: Number(Fraction(int(name == unit))) for name in _UNITS}
        return rewrite(node, lambda part: values.get(part.name, part) if isinstance(part, Symbol) else part)

    return Group(tuple(at(unit) for unit in _UNITS[:dimension]), "()")


_ACCENTED = frozenset(f"{accent} {unit}" for accent in ("hat", "vec", "mathbf") for unit in _UNITS)


def compare_lines(gold: Node, prediction: Node) -> Decision | None:
    """Two lines `p + t d` in a real parameter of any name; None where one of them is no line."""
    ours, theirs = _line(gold), _line(prediction)
    if ours is None or theirs is None or len(ours[0]) != len(theirs[0]):
        return None
    between = [b - a for a, b in zip(ours[0], theirs[0], strict=True)]
    return verdict(_parallel(ours[1], theirs[1]) and _parallel(ours[1], between), "line")


def _line(node: Node) -> tuple[list[Any], list[Any]] | None:
    """A point and a direction."""
    items = _coordinates(node)
    names = sorted(frozenset().union(*map(symbols, items))) if items else []
    if len(names) != 1 or len(items) < 2 or not all(map(is_expression, items)):
        return None
    at: list[list[Any]] = [[real_value(item, {names[0]: Fraction(place)}) for item in items] for place in range(3)]
    if any(value is None for values in at for value in values):
        return None
    direction = [b - a for a, b in zip(at[0], at[1], strict=True)]
    straight = all(abs(c - b - step) < _CLOSE for b, c, step in zip(at[1], at[2], direction, strict=True))
    return (at[0], direction) if straight and any(abs(step) > _CLOSE for step in direction) else None


def _coordinates(node: Node) -> list[Node]:
    """The coordinates of `(1+t, 2t)` or of `x = 1+t, y = 2t`; empty for anything else."""
    if isinstance(node, Group):
        return list(node.items)
    if not isinstance(node, Listing):
        return []
    labels = [split_label(item) for item in node.items if not _is_domain(item)]
    named = [(label[0].name, label[1]) for label in labels if label and isinstance(label[0], Symbol)]
    axes = ["x", "y", "z"][: len(labels)]
    return (
        [value for _, value in sorted(named, key=lambda pair: pair[0])] if sorted(n for n, _ in named) == axes else []
    )


def _is_domain(node: Node) -> bool:
    return isinstance(node, Relation) and node.signs == ("in",)


def _parallel(one: list[Any], other: list[Any]) -> bool:
    """Whether every two-by-two minor vanishes."""
    return all(
        abs(one[a] * other[b] - one[b] * other[a]) < _CLOSE for a in range(len(one)) for b in range(a + 1, len(one))
    )
