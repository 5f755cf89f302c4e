"""What the check of a step comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StepStatus(StrEnum):
    """What the check of one step came to."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NOT_CHECKABLE = "not_checkable"


class Rule(StrEnum):
    """Which kind of check decided on an equality."""

    ARITHMETIC = "arithmetic"
    """Both sides are numbers."""
    CARRIED = "carried"
    """Its letters have values from earlier in the solution."""
    REWRITE = "rewrite"
    """It is an equation of one unknown, made from the one before it."""
    IDENTITY = "identity"
    """Both sides are the same function of their letters, or should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVerdict:
    """The verdict on one step.

    Example: `StepVerdict(status=StepStatus.INCORRECT, span="3*4=13", n_checked=1, rule=Rule.ARITHMETIC)`
    """

    status: StepStatus
    span: str
    """The equality that failed, as written; empty otherwise."""
    n_checked: int
    """Equalities that were checked, up to the one that failed."""
    rule: Rule | None = None
    """The check that the equality failed; for a correct step, the one that its last equality passed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the check of one equality came to."""

    agrees: bool
    rule: Rule
    names: frozenset[str] = frozenset()
    """The letters that it rests on."""
