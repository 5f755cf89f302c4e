"""How much may differ between two answers that are the same: the profiles `default`, `strict` and `lenient`.

The comparators decide by the default policy (`verifiers.answers.equivalence` states it); a profile reviews what they
decided about single numbers and formulas. Elements of tuples and sets always follow the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from verifiers.answers import expressions, plain, units
from verifiers.answers.decision import Decision, Outcome, different, equal
from verifiers.answers.parser import parse
from verifiers.answers.tree import Call, Node, Number, is_expression, symbols

_MIN_DIGITS = 3
"""Significant digits that a rounded prediction must show."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as the same answer beyond equal values."""

    rounded_gold: bool = True
    """A gold decimal with two decimals or more accepts what rounds to it."""
    rounded_prediction: bool = False
    """A predicted decimal of three significant digits or more is right if the exact gold rounds to it."""
    percent_optional: bool = True
    """The percent sign may be left out or carried out."""
    unit_optional: bool = True
    """A unit that the gold shows may be left out."""
    unsimplified: bool = True
    """A number may stand as an unreduced fraction or an unfinished calculation."""


PROFILES = {
    "default": Policy(),
    "strict": Policy(rounded_gold=False, percent_optional=False, unit_optional=False, unsimplified=False),
    "lenient": Policy(rounded_prediction=True),
}


def review(decision: Decision, gold: str, prediction: str, policy: Policy) -> Decision:
    """What a policy makes of the decision about two canonical answers."""
    if decision.outcome is Outcome.EQUAL and decision.rule != "string":
        refused = _refused(gold, prediction, policy)
        return different(refused) if refused else decision
    if decision.outcome is Outcome.DIFFERENT and policy.rounded_prediction and _rounds(gold, prediction):
        return equal("rounded")
    return decision


def _refused(gold: str, prediction: str, policy: Policy) -> str:
    """The rule that refuses equal answers; empty if none does."""
    ours, theirs = plain.read(gold), plain.read(prediction)
    if ours and theirs:
        if not policy.percent_optional and ours.percent != theirs.percent:
            return "percent_required"
        if not policy.unit_optional and units.read(ours.unit) and not theirs.unit:
            return "unit_required"
        if not policy.rounded_gold and ours.step and not plain.exactly_same(ours, theirs):
            return "exact_required"
    if not policy.unsimplified and _unsimplified(parse(prediction)) and not _unsimplified(parse(gold)):
        return "unsimplified"
    return ""


def _unsimplified(node: Node | None) -> bool:
    """Whether a number without variables is a fraction to reduce or a calculation to finish."""
    if node is None or not is_expression(node) or symbols(node):
        return False
    inner = node.args[0] if isinstance(node, Call) and node.name == "neg" else node
    if isinstance(inner, Call) and inner.name == "div":
        parts = [part.value for part in inner.args if isinstance(part, Number)]
        if len(parts) == 2 and all(part.denominator == 1 for part in parts):
            return gcd(int(parts[0]), int(parts[1])) != 1 or parts[1] == 1
    return isinstance(inner, Call) and inner.name in ("add", "mul", "div", "pow") and (
        all(isinstance(part, Number) for part in inner.args))  # fmt: skip


def _rounds(gold: str, prediction: str) -> bool:
    """Whether an exact gold rounds to a decimal prediction with enough digits."""
    theirs, tree = plain.read(prediction), parse(gold)
    if theirs is None or not theirs.step or tree is None or not is_expression(tree) or symbols(tree):
        return False
    digits = str(abs(theirs.value / theirs.step).numerator)
    shown = Number(theirs.value, theirs.step)
    return len(digits) >= _MIN_DIGITS and expressions.rounds_to(shown, tree)
