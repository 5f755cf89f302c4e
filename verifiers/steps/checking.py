"""The verdict on each step of a solution, from the findings on its equalities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data.steps import refuse_text
from verifiers.steps.agreement import agree
from verifiers.steps.algebra import Ledger, Statement
from verifiers.steps.doubt import in_doubt, sentence_of
from verifiers.steps.equalities import Equality, equalities
from verifiers.steps.expressions import Value, evaluate
from verifiers.steps.ratio import Unreadable
from verifiers.steps.records import Finding, Rule, StepStatus, StepVerdict
from verifiers.steps.tokens import Kind

MAX_EQUALITIES = 100
"""Equalities of one step that are checked."""


def check_steps(problem: str, steps: Sequence[str]) -> list[StepVerdict]:
    """Check the arithmetic and algebra that each step states.

    Args:
        problem: the question; its equations say which letters are bound, its words whether signs have their usual
            meaning.
        steps: the solution, cut into steps. Values and equations are carried from step to step.

    Returns:
        One verdict a step, in order.

    Raises:
        UserError: `steps` is one text.
    """
    refuse_text(steps)
    ledger = Ledger(_letters(problem))
    found = [list(_findings(problem, step, place, ledger)) for place, step in enumerate(steps)]
    return [_verdict([pair for pair in pairs if not ledger.revokes(pair[1])]) for pairs in found]


def _letters(problem: str) -> frozenset[str]:
    """The letters of a problem's equations."""
    sides = [evaluate(side) for equality in equalities(problem) for side in (equality.left, equality.right)]
    return frozenset(name for side in sides if side is not None for name in side.value.names)


def _verdict(found: Sequence[tuple[str, Finding]]) -> StepVerdict:
    for count, (span, finding) in enumerate(found, 1):
        if not finding.agrees:
            return StepVerdict(status=StepStatus.INCORRECT, span=span, n_checked=count, rule=finding.rule)
    if not found:
        return StepVerdict(status=StepStatus.NOT_CHECKABLE, span="", n_checked=0)
    return StepVerdict(status=StepStatus.CORRECT, span="", n_checked=len(found), rule=found[-1][1].rule)


def _findings(problem: str, step: str, place: int, ledger: Ledger) -> Iterator[tuple[str, Finding]]:
    """What each equality of a step came to, with its text."""
    for count, equality in enumerate(equalities(step)):
        if count == MAX_EQUALITIES:
            return
        finding = _check(equality, step, place, ledger)
        if finding is not None and (finding.agrees or not in_doubt(equality, step, problem)):
            yield equality.span, finding


def _check(equality: Equality, step: str, place: int, ledger: Ledger) -> Finding | None:
    one, other = evaluate(equality.left), evaluate(equality.right)
    if one is None or other is None:
        return None
    try:
        if not (one.value.names or other.value.names):
            return _numeric(equality, one, other)
        if equality.loose or equality.verbal:
            return None
        return ledger.judge(Statement(equality, one, other, place, sentence_of(step, equality)))
    except Unreadable:
        # Comparing the sides went over a cap.
        return None


def _numeric(equality: Equality, one: Value, other: Value) -> Finding | None:
    """Two sides that are numbers."""
    computes = any(token.text in ("+", "-", "*", "times") for token in equality.left if token.kind is Kind.OPERATOR)
    if equality.verbal and not computes:
        return None
    agrees = agree(equality.left, equality.right, loose=equality.loose)
    # `20 minutes = 60 + 20 minutes`: a bare number that opens a chain in running text may be part of a phrase.
    converts = one.n_operations == other.n_operations == 0
    if agrees is None or (not agrees and equality.opens and not one.n_operations and not converts):
        return None
    return Finding(agrees, Rule.ARITHMETIC)
