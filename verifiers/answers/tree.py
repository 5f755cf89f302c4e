r"""The typed answer tree: what an answer says, whatever notation it was written in.

LaTeX, plain and Unicode notation give the same tree (`verifiers.answers.parser`), and every comparator works on it
(`verifiers.answers.compare`). Nodes are frozen and compare by structure, so equal trees are equal answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number as it was written."""

    value: Fraction
    step: Fraction = Fraction(0)
    """One unit of the last digit shown where it may have been rounded (two decimals or more); else 0."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or another name, with its subscript, accents and primes: `x`, `a_1`, `y'`, `vec p`."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """`pi`, `e`, `i`, `infinity`, or one of the sets `R`, `Z`, `N`, `Q`, `C`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function and its arguments.

    Operators: `add mul div neg pow pm abs factorial degree percent`, on sets `union intersection difference`, on
    statements `and or not implies iff`. An unknown function is `f` with its name in front: `f:g` for g(x).
    """

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain such as `a < b <= c`; one sign more than there are gaps between sides would be a mistake."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]
    """Each of `= != < <= > >= in notin subset approx cong`."""


@dataclass(frozen=True, slots=True)
class Group:
    """A tuple, interval or vector; only beside another answer does it show which."""

    items: tuple[Node, ...]
    brackets: str
    """`()`, `[]`, `[)`, `(]` or `<>`."""


@dataclass(frozen=True, slots=True)
class FiniteSet:
    r"""`\{1, 2\}`; the empty set has no items."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Builder:
    r"""`\{x \mid x > 2\}`."""

    element: Node
    condition: Node


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Several answers side by side."""

    items: tuple[Node, ...]
    joiner: str
    """`,`, `and` or `or`."""


@dataclass(frozen=True, slots=True)
class Cases:
    """A piecewise function: values, each with its condition (or None for `otherwise`)."""

    branches: tuple[tuple[Node, Node | None], ...]


Node: TypeAlias = Number | Symbol | Constant | Call | Relation | Group | FiniteSet | Builder | Matrix | Listing | Cases

BRANCHED = ("pm", "mp")


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    if isinstance(node, Call):
        return node.args
    if isinstance(node, Relation):
        return node.sides
    if isinstance(node, (Group, FiniteSet, Listing)):
        return node.items
    if isinstance(node, Builder):
        return (node.element, node.condition)
    if isinstance(node, Matrix):
        return tuple(item for row in node.rows for item in row)
    if isinstance(node, Cases):
        return tuple(part for branch in node.branches for part in branch if part is not None)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(children(top))


def symbols(node: Node) -> frozenset[str]:
    """Names of the free variables; the counter of a sum or product is bound."""
    found: set[str] = set()
    stack = [(node, frozenset[str]())]
    while stack:
        top, bound = stack.pop()
        if isinstance(top, Symbol) and top.name not in bound:
            found.add(top.name)
        if isinstance(top, Call) and top.name in ("sum", "prod") and isinstance(top.args[0], Symbol):
            inside = bound | {top.args[0].name}
            stack += [(top.args[1], bound), (top.args[2], bound), (top.args[3], inside)]
        else:
            stack += [(child, bound) for child in children(top)]
    return frozenset(found)


def rewrite(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy with `change` applied to every node, innermost first."""

    def inner(part: Node) -> Node:
        return rewrite(part, change)

    if isinstance(node, Call):
        node = Call(node.name, tuple(map(inner, node.args)))
    elif isinstance(node, Relation):
        node = Relation(tuple(map(inner, node.sides)), node.signs)
    elif isinstance(node, Group):
        node = Group(tuple(map(inner, node.items)), node.brackets)
    elif isinstance(node, FiniteSet):
        node = FiniteSet(tuple(map(inner, node.items)))
    elif isinstance(node, Listing):
        node = Listing(tuple(map(inner, node.items)), node.joiner)
    elif isinstance(node, Builder):
        node = Builder(inner(node.element), inner(node.condition))
    elif isinstance(node, Matrix):
        node = Matrix(tuple(tuple(map(inner, row)) for row in node.rows))
    elif isinstance(node, Cases):
        node = Cases(tuple((inner(value), inner(test) if test else None) for value, test in node.branches))
    return change(node)


def rename(node: Node, names: dict[str, str]) -> Node:
    """A copy with variables renamed, all at once."""
    return rewrite(node, lambda part: Symbol(names.get(part.name, part.name)) if isinstance(part, Symbol) else part)


def negated(node: Node) -> Node:
    """Minus a formula; a number keeps its sign."""
    return Number(-node.value, node.step) if isinstance(node, Number) else Call("neg", (node,))


def has(node: Node, *names: str) -> bool:
    """Whether an operator, function or constant of one of these names occurs."""
    return any(isinstance(part, (Call, Constant)) and part.name in names for part in walk(node))


def is_expression(node: Node) -> bool:
    """Whether this is one value: a formula without relations, lists or sets."""
    return isinstance(node, (Number, Symbol, Constant, Call, Cases)) and not (
        (isinstance(node, Call) and node.name in SETS | LOGIC) or (isinstance(node, Constant) and node.name in DOMAINS)
    )


SETS = frozenset({"union", "intersection", "difference"})
LOGIC = frozenset({"and", "or", "not", "implies", "iff", "xor"})
DOMAINS = frozenset({"R", "Z", "N", "Q", "C"})
