r"""A comparator for each type of answer; pure, and bounded in time by the caps of the parser and the evaluator.

`compare` takes two trees and says whether they are the same answer, by the policy that
`verifiers.answers.equivalence` states.
"""

from __future__ import annotations

from itertools import permutations, product

from verifiers.answers import compounds, expressions, logic, regions, vectors
from verifiers.answers.decision import Decision, Outcome, different, equal, unknown
from verifiers.answers.families import compare_families, family
from verifiers.answers.relations import (
    compare_congruences,
    compare_equations,
    matched_functions,
    split_label,
)
from verifiers.answers.tree import (
    BRANCHED,
    LOGIC,
    SETS,
    Call,
    Cases,
    Constant,
    FiniteSet,
    Group,
    Listing,
    Node,
    Number,
    Relation,
    Symbol,
    has,
    is_expression,
    negated,
    rename,
    rewrite,
    symbols,
    walk,
)

_MAX_BRANCHES = 5
_INTEGRATION = (Symbol("C"), Symbol("c"), Symbol("K"))
_ARBITRARY = frozenset({"C", "c", "K", "k", "C_1", "c_1", "C_0", "A", "B", "D", "C_2", "c_2"})
"""Names of constants of integration."""


def compare(gold: Node, prediction: Node) -> Decision:
    """Decide two answer trees."""
    if gold == prediction:
        return equal("structure")
    gold, prediction = (_expanded(_componentwise(side)) for side in (gold, prediction))
    gold, prediction = _as_vectors(gold, prediction)
    for rule in (_families, vectors.compare_lines, _regions, _logic, _functions):
        if decision := rule(gold, prediction):
            return decision
    gold, prediction = _without_conditions(gold, prediction)
    gold, prediction = _unlabelled(gold, prediction)
    if gold == prediction:
        return equal("structure")
    if is_expression(gold) and is_expression(prediction):
        return _expressions(gold, prediction)
    return _compound(gold, prediction)


def _componentwise(node: Node) -> Node:
    """`(a, b) = (1, 2)` says `a = 1, b = 2`; a set holds each of its elements once; `2(1, 2)` is (2, 4)."""
    node = rewrite(node, vectors.simplified)
    if isinstance(node, FiniteSet):
        return FiniteSet(tuple(dict.fromkeys(node.items)))
    if isinstance(node, Relation) and node.signs == ("=",) and all(isinstance(side, Group) for side in node.sides):
        left, right = (side.items for side in node.sides if isinstance(side, Group))
        if len(left) == len(right):
            return Listing(tuple(Relation(pair, ("=",)) for pair in zip(left, right, strict=True)), ",")
    if isinstance(node, Relation) and set(node.signs) == {"="} and len(node.sides) > 2:
        *names, value = node.sides
        if all(isinstance(name, Symbol) for name in names) and not symbols(value):
            return Listing(tuple(Relation((name, value), ("=",)) for name in names), ",")
    return node


def _as_vectors(gold: Node, prediction: Node) -> tuple[Node, Node]:
    """`3i + 4j` beside a tuple is one."""
    if isinstance(gold, Group) and is_expression(prediction):
        return gold, vectors.components(prediction, len(gold.items))
    if isinstance(prediction, Group) and is_expression(gold):
        return vectors.components(gold, len(prediction.items)), prediction
    return gold, prediction


def _families(gold: Node, prediction: Node) -> Decision | None:
    ours, theirs = family(gold), family(prediction)
    if ours is None or theirs is None or all(isinstance(side, Call) for side in (gold, prediction)):
        return None
    periodic = any(split_label(side) is not None for side in (gold, prediction)) and has(gold, "pi")
    same_names = ours.parameters == theirs.parameters
    if ours.declared or theirs.declared or (periodic and not same_names):
        return compare_families(ours, theirs)
    return None


def _logic(gold: Node, prediction: Node) -> Decision | None:
    connected = (isinstance(side, Call) and side.name in LOGIC | SETS for side in (gold, prediction))
    return logic.compare(gold, prediction) if any(connected) else None


def _regions(gold: Node, prediction: Node) -> Decision | None:
    piecewise = any(isinstance(part, Cases) for side in (gold, prediction) for part in walk(side))
    if piecewise or not (regions.is_region(gold) or regions.is_region(prediction)):
        return None
    sides = [_unlabelled_set(side) for side in (gold, prediction)]
    if not all(map(regions.can_be_region, sides)):
        return None
    decision = regions.compare(sides[0], sides[1])
    return None if decision.outcome is Outcome.UNKNOWN else decision


def _unlabelled_set(node: Node) -> Node:
    """`D = (1, 2)` is the interval; `x = 3` beside an inequality stays a condition."""
    label = split_label(node)
    return label[1] if label and regions.can_be_region(label[1]) else node


def _functions(gold: Node, prediction: Node) -> Decision | None:
    if isinstance(gold, Relation) and isinstance(prediction, Relation):
        matched = matched_functions(gold, prediction)
        return compare(*matched) if matched else None
    return compare_congruences(gold, prediction)


def _expanded(node: Node) -> Node:
    r"""Every choice of sign as an answer of its own; `\mp` follows `\pm`, several `\pm` are independent."""
    count = sum(isinstance(part, Call) and part.name in BRANCHED for part in walk(node))
    if not count or count > _MAX_BRANCHES:
        return node
    if isinstance(node, Listing):
        spread = [_expanded(item) for item in node.items]
        flat = [part for item in spread for part in (item.items if isinstance(item, Listing) else (item,))]
        return Listing(tuple(flat), node.joiner)
    if isinstance(node, FiniteSet):
        inner = _expanded(Listing(node.items, ","))
        return FiniteSet(inner.items) if isinstance(inner, Listing) else node
    linked = has(node, "mp")
    choices = [(1,) * count, (-1,) * count] if linked else list(product((1, -1), repeat=count))
    variants = dict.fromkeys(_signed(node, list(signs)) for signs in choices)
    excluded = isinstance(node, Relation) and "!=" in node.signs
    return Listing(tuple(variants), "and" if excluded else "or")


def _signed(node: Node, signs: list[int]) -> Node:
    remaining = iter(signs)

    def change(part: Node) -> Node:
        if not isinstance(part, Call) or part.name not in BRANCHED:
            return part
        sign = next(remaining) * (1 if part.name == "pm" else -1)
        last = part.args[-1] if sign > 0 else negated(part.args[-1])
        return last if len(part.args) == 1 else Call("add", (part.args[0], last))

    return rewrite(node, change)


def _without_conditions(gold: Node, prediction: Node) -> tuple[Node, Node]:
    r"""Drop what only restricts the variables (`x \ne 2`, `n \in \mathbb{Z}`, `x > 0`) behind an answer proper."""
    sides = []
    for side in (gold, prediction):
        if isinstance(side, Listing):
            kept = tuple(item for item in side.items if not _is_condition(item))
            if 0 < len(kept) < len(side.items):
                side = kept[0] if len(kept) == 1 else Listing(kept, side.joiner)
        sides.append(side)
    return sides[0], sides[1]


def _is_condition(node: Node) -> bool:
    return isinstance(node, Relation) and bool({"!=", "in", "<", ">", "<=", ">="} & set(node.signs))


def _unlabelled(gold: Node, prediction: Node) -> tuple[Node, Node]:
    """Drop a name that only one side gives, or both alike."""
    ours, theirs = split_label(gold), split_label(prediction)
    if ours and theirs:
        return (ours[1], theirs[1]) if ours[0] == theirs[0] or not (_names(ours[0]) and _names(theirs[0])) else (
            gold, prediction)  # fmt: skip
    for label, node, other in ((ours, gold, prediction), (theirs, prediction, gold)):
        member = isinstance(node, Relation) and node.signs == ("in",)
        several = member or (label is not None and isinstance(label[1], (FiniteSet, Group)))
        if label and (several or not isinstance(other, Listing)) and not isinstance(other, Relation):
            return (label[1], prediction) if node is gold else (gold, label[1])
    return gold, prediction


def _names(label: Node) -> bool:
    return bool(symbols(label)) or isinstance(label, Symbol)


def _expressions(gold: Node, prediction: Node) -> Decision:
    if isinstance(gold, Number) and gold.step and expressions.rounds_to(gold, prediction):
        return equal("decimal")
    if has(gold, "i") or has(prediction, "i") or "hat i" in symbols(gold) | symbols(prediction):
        gold, prediction = _vectors_or_complex(gold, prediction)
    decision = expressions.compare(gold, prediction)
    if decision.outcome is not Outcome.EQUAL:
        ours, theirs = symbols(gold) - symbols(prediction), symbols(prediction) - symbols(gold)
        if not isinstance(gold, Symbol) and 0 < len(ours) == len(theirs) <= 2 and ours | theirs <= _ARBITRARY:
            for names in permutations(sorted(ours)):
                renamed = rename(prediction, dict(zip(sorted(theirs), names, strict=True)))
                if expressions.compare(gold, renamed).outcome is Outcome.EQUAL:
                    return equal("constants")
    if decision.outcome is Outcome.DIFFERENT and _differ_by_constant(gold, prediction):
        return equal("constants")
    if decision.outcome is Outcome.UNKNOWN and isinstance(gold, Cases) != isinstance(prediction, Cases):
        return different("type")
    return decision


def _differ_by_constant(gold: Node, prediction: Node) -> bool:
    """Whether both are antiderivatives `... + C` that differ by a number."""
    sides = []
    for side in (gold, prediction):
        constants = [part for part in side.args if part in _INTEGRATION] if isinstance(side, Call) else []
        if not isinstance(side, Call) or side.name != "add" or len(constants) != 1:
            return False
        sides.append(Call("add", tuple(part for part in side.args if part not in constants)))
    gap = Call("add", (sides[0], negated(sides[1])))
    return expressions.is_constant(gap)


def _imaginary(node: Node) -> Node:
    """`I` and `j` are i beside an i."""
    return Constant("i") if node in (Symbol("I"), Symbol("j")) else node


def _vectors_or_complex(gold: Node, prediction: Node) -> tuple[Node, Node]:
    """In `3i + 4j` neither letter is imaginary, and hats say nothing more; else `I` and `j` are i."""
    hats = {f"hat {letter}": letter for letter in "ijk"}
    sides = [rename(side, hats) for side in (gold, prediction)]
    if all({"j", "k"} & symbols(side) for side in sides):
        sides = [rewrite(side, lambda part: Symbol("i") if part == Constant("i") else part) for side in sides]
    else:
        sides = [rewrite(side, _imaginary) for side in sides]
    return sides[0], sides[1]


def _compound(gold: Node, prediction: Node) -> Decision:
    if isinstance(gold, Relation) and isinstance(prediction, Relation):
        return compare_equations(gold, prediction)
    return compounds.compare(gold, prediction, compare) or _with_single(gold, prediction)


def _with_single(gold: Node, prediction: Node) -> Decision:
    """A set of one is its element; several answers are never one."""
    for compound, single in ((gold, prediction), (prediction, gold)):
        items = compounds.parts(compound)
        if items is not None and len(items) == 1 and not isinstance(compound, Group):
            pair = (items[0], single) if compound is gold else (single, items[0])
            return compare(*pair)
        if items is not None and (is_expression(single) or isinstance(single, Relation)):
            return different("count")
    relation = isinstance(gold, Relation) or isinstance(prediction, Relation)
    kinds = relation or is_expression(gold) != is_expression(prediction)
    return different("type") if kinds else unknown("types")
