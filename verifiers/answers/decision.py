"""What is known about a pair of answers: the words that every comparator answers in."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What is known about a pair of answers."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class Decision(NamedTuple):
    """An outcome and the rule that reached it; for `UNKNOWN`, why there is none."""

    outcome: Outcome
    rule: str


def equal(rule: str) -> Decision:
    """The answers are the same."""
    return Decision(Outcome.EQUAL, rule)


def different(rule: str) -> Decision:
    """The answers differ."""
    return Decision(Outcome.DIFFERENT, rule)


def unknown(why: str) -> Decision:
    """Nothing was decided."""
    return Decision(Outcome.UNKNOWN, why)


def verdict(same: bool, rule: str) -> Decision:
    """Equal or different."""
    return equal(rule) if same else different(rule)


def all_of(decisions: Iterable[Decision], rule: str) -> Decision:
    """Equal if all are; different as soon as one is, whatever the others are."""
    found = Outcome.EQUAL
    for decision in decisions:
        if decision.outcome is Outcome.DIFFERENT:
            return different(rule)
        if decision.outcome is Outcome.UNKNOWN:
            found = Outcome.UNKNOWN
    return Decision(found, rule)
