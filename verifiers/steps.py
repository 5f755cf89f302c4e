r"""Which steps of a worked solution are right, as far as their own arithmetic tells.

A step is checked by the equalities that it states: calculator marks (`<<3*4=12>>`), and plain ones in the text, chains
too (`2*3+4 = 6+4 = 10`), unit words left out. `correct` and `incorrect` speak of those equalities alone; whether
they were the right ones to compute, a step does not say. Whatever cannot be read with certainty is `not_checkable`:
precision on flagged steps comes before recall.

Rounding: a result that the digits shown cannot hold may be off by less than one unit of its last digit, as in
`100/3 = 33.3`; one that they can hold must be exact (`7/2 = 3.4` is wrong). A percent sign may mean either reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from verifiers.arithmetic import Value, evaluate


class StepStatus(StrEnum):
    """What the check of one step came to."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NOT_CHECKABLE = "not_checkable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVerdict:
    """The verdict on one step."""

    status: StepStatus
    span: str
    """The equality that failed, as written; empty otherwise."""
    n_checked: int
    """Equalities that were checked."""


_MARK = re.compile(r"<<([^<>]{1,400})>>")
_LETTERS = r"(?!(?:of|because|since|on|and|or|to|in|at|for|than|by|is|are|was|per)\b)[A-Za-z]{2,}"
"""A word that may be a unit: `8 dimes * 2`, but not `1/3 of Solomon`."""
_UNIT_WORDS = re.compile(rf"(?<=[\d)%])\s+{_LETTERS}(?:\s+{_LETTERS}){{0,1}}(?=\s*(?:[-+*/×÷=)]))")
_ARITHMETIC = r"[\d.,$€%()\[\]+\-−–*/×÷·^xX\s]"
_LEFT = re.compile(rf"{_ARITHMETIC}{{1,200}}$")
_RIGHT = re.compile(rf"{_ARITHMETIC}{{1,200}}")
_OPENING = re.compile(r"[\s,)\]%]*(?:\.(?!\d)[\s,)\]%]*)?")
_REACHES_BACK = re.compile(r"[+*/×÷·^xX−–-]")
_UNREADABLE = re.compile(r"/\s*\d+(?:\s*/\s*\d+)|(?<![\d.,])0\d|:")
"""`a / 1/3` means one thing with spaces and another without, `0900` and `6:00` are times of day."""


def check_steps(problem: str, steps: Sequence[str]) -> list[StepVerdict]:
    """Check the arithmetic that each step states.

    Args:
        problem: the question; not read yet, it is there for checks against the givens.
        steps: the solution, cut into steps.

    Returns:
        One verdict a step.
    """
    return [_check_step(step) for step in steps]


def _check_step(step: str) -> StepVerdict:
    n_checked = 0
    for span, left, right in _equalities(step):
        n_checked += 1
        if not _agree(left, right):
            return StepVerdict(status=StepStatus.INCORRECT, span=span, n_checked=n_checked)
    status = StepStatus.CORRECT if n_checked else StepStatus.NOT_CHECKABLE
    return StepVerdict(status=status, span="", n_checked=n_checked)


def _equalities(step: str) -> Iterator[tuple[str, Value, Value]]:
    """Every equality of a step whose two sides are plain arithmetic, with its text."""
    for mark in _MARK.finditer(step):
        yield from _chain(mark.group(1).split("="), whole=True)
    for line in _MARK.sub("", step).splitlines():
        yield from _chain(_UNIT_WORDS.sub("", line).split("="), whole=False)


def _chain(parts: list[str], *, whole: bool) -> Iterator[tuple[str, Value, Value]]:
    """Neighbouring parts of `a = b = c`. In running text only what touches the sign belongs to the equality."""
    for place, (before, after) in enumerate(pairwise(parts)):
        left, right = (before, after) if whole else (_suffix(before), _prefix(after))
        if _UNREADABLE.search(f"{left}={right}"):
            continue
        one, other = evaluate(left), evaluate(right)
        # `20 minutes = 60 + 20 minutes`: a bare number that opens a chain in running text may be part of a phrase.
        opens = not whole and (place == 0 or left.strip() != before.strip())
        if one and other and (one.n_operations or (other.n_operations and not opens)):
            yield f"{left.strip()}={right.strip()}", one, other


def _suffix(text: str) -> str:
    """The arithmetic that ends a text; empty if a word or a letter reaches into it."""
    match = _LEFT.search(text)
    if not match:
        return ""
    found = _OPENING.sub("", match.group(), count=1)
    before = text[: len(text) - len(found)]
    # `5 apples + 3`: the sum began before the words. `2x + 3`, `6:00`: what is stuck to it is part of it.
    if not found or _REACHES_BACK.match(found) or before[-1:].isalpha() or before.endswith((":", " and ", " And ")):
        return ""
    return found


def _prefix(text: str) -> str:
    """The arithmetic that begins a text; empty if a letter is stuck to its end."""
    match = _RIGHT.match(text)
    if not match:
        return ""
    found, rest = match.group().rstrip(" \t$€(["), text[match.end() :]
    stuck = rest[:1].isalpha() and match.group()[-1:].strip() != ""
    # `75 + 10% of 150`, `30 + M`, `50 cents`: the value is not all of what is said.
    if stuck or _REACHES_BACK.fullmatch(found[-1:]) or rest.lower().startswith(("of ", "cent", "¢")):
        return ""
    return found.rstrip(" .,;")


def _agree(left: Value, right: Value) -> bool:
    """Whether two sides are equal, up to the digits that the right one shows."""
    readings = {right.value, right.value * 100} if right.percent else {right.value}
    if left.percent:
        readings |= {right.value / 100}
    return any(_close(left, value, right) for value in readings)


def _close(left: Value, value: Fraction, right: Value) -> bool:
    if left.value == value:
        return True
    unit = Fraction(1, 10**right.decimals)
    if right.n_operations:
        # Two expressions: decimals in either are roundings of what came before.
        shown = max(left.decimals, right.decimals)
        return shown > 0 and abs(left.value - value) <= abs(left.value) / 100
    fits = (left.value / unit).denominator == 1
    return not fits and abs(left.value - value) < unit
