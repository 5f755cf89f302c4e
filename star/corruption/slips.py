"""Every single slip that can be made in a calculation, by kind; which of them hold is for the checks to say.

A slip is the least edit of one left side (`operator`, `sign`, `operand`, `swapped`, `dropped`) or a wrong result of an
untouched one (`result`). Values stay near what was written: a neighbour, digits exchanged, another number of the
problem. In a chain of bare numbers no slip may state what the problem states elsewhere: `12+4` for `12+3+4` would only
be another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from star.corruption.solution import Edit, Site, Solution, edited
from star.equations import Token, evaluate


class SlipKind(StrEnum):
    """What goes wrong."""

    OPERATOR = "operator"
    """Another operation: times for plus, divided for times."""
    SIGN = "sign"
    """Plus for minus or minus for plus."""
    OPERAND = "operand"
    """A number misread, or another number of the problem in its place."""
    SWAPPED = "swapped"
    """Two quantities that change places, within a calculation or between two."""
    DROPPED = "dropped"
    """A term, or the last operation of a chain, that is left out."""
    RESULT = "result"
    """The calculation is right as set up and comes out wrong."""


@dataclass(frozen=True, slots=True)
class Slip:
    """One slip of a solution."""

    kind: SlipKind
    site: int
    """Index into `Solution.sites` of the first calculation that it changes."""
    edits: dict[int, Edit] = field(default_factory=dict)
    """By site; a swap between two calculations changes both."""
    result: Fraction | None = None
    """The wrong result, for `result`."""
    renamed: tuple[Fraction, Fraction] | None = None
    """For `operand`: the number that the words of the step change along with the calculation."""
    drops_step: bool = False
    """Whether the site's step goes as a whole."""


_OTHER_OPERATORS = {"+": "*", "-": "/", "*": "+/", "/": "*-"}
_OTHER_SIGN = {"+": "-", "-": "+"}


def slips_of(solution: Solution, kind: SlipKind, *, across: bool) -> Iterator[Slip]:
    """All slips of a kind, in a fixed order.

    Args:
        solution: a right solution.
        kind: which.
        across: also those that change more than one step.
    """
    for place, site in enumerate(solution.sites):
        if not site.exact or site.is_entangled:
            continue
        if kind is SlipKind.RESULT:
            for value in _misread(site.result):
                yield Slip(kind, place, result=value)
            continue
        for edit in _edits(solution, site, kind):
            if _changes(site, edit) and not (solution.is_chain and _is_stated(solution, site, edit)):
                yield Slip(kind, place, {place: edit}, renamed=_renamed(site, edit, kind))
        if across and kind is SlipKind.SWAPPED:
            yield from _swaps_across(solution, place)
    if across and kind is SlipKind.DROPPED and solution.is_chain and len(solution.sites) > 1:
        yield Slip(kind, len(solution.sites) - 1, drops_step=True)


def _edits(solution: Solution, site: Site, kind: SlipKind) -> Iterator[Edit]:
    left = site.left
    numbers = [place for place, token in enumerate(left) if token.kind == "number"]
    operators = [place for place, token in enumerate(left) if token.kind == "operator" and place]
    match kind:
        case SlipKind.OPERATOR:
            yield from ({place: other} for place in operators for other in _OTHER_OPERATORS[left[place].text])
        case SlipKind.SIGN:
            yield from ({place: _OTHER_SIGN[left[place].text]} for place in operators if left[place].text in "+-")
        case SlipKind.OPERAND:
            for place in numbers:
                yield from ({place: value} for value in _other_operands(solution, left[place]))
        case SlipKind.SWAPPED:
            pairs = [(one, other) for one in numbers for other in numbers if one < other]
            yield from ({one: left[other].value, other: left[one].value} for one, other in pairs)
        case SlipKind.DROPPED:
            yield from _drops(left)


def _drops(left: tuple[Token, ...]) -> Iterator[Edit]:
    """A later term of a sum, or factor of a product, of three or more."""
    signs = {token.text for token in left[1::2]}
    is_flat = all(token.kind == "number" for token in left[::2]) and (signs <= {"+", "-"} or signs <= {"*", "/"})
    if is_flat and len(left) >= 5:
        yield from ({place - 1: None, place: None} for place in range(2, len(left), 2))


def _other_operands(solution: Solution, token: Token) -> Iterator[Fraction]:
    """What a number may be misread as; in a chain nothing that the problem states."""
    found = set(_misread(token))
    if solution.is_chain:
        found -= solution.givens
    else:
        found |= {value for value in solution.givens if value.denominator == 1 or token.value.denominator > 1}
    yield from sorted(found - {token.value, Fraction(0)})


def _misread(token: Token) -> Iterator[Fraction]:
    """Neighbours of a number in its last digits, and its digits exchanged."""
    unit = Fraction(1, 10 ** len(token.text.partition(".")[2]))
    value = token.value
    found = {value - unit, value + unit}
    if value >= 20 * unit:
        found |= {value - 10 * unit, value + 10 * unit}
    digits = str(value / unit)
    if len(digits) >= 2:
        found.add(int(digits[:-2] + digits[-1] + digits[-2]) * unit)
    yield from sorted(number for number in found if number > 0 and number != value)


def _changes(site: Site, edit: Edit) -> bool:
    value = evaluate(edited(site.left, edit))
    return value is not None and value * site.copies[0].scale != site.result.value


def _renamed(site: Site, edit: Edit, kind: SlipKind) -> tuple[Fraction, Fraction] | None:
    if kind is not SlipKind.OPERAND:
        return None
    ((place, value),) = edit.items()
    alike = [token for token in site.left if token.value == site.left[place].value and token.kind == "number"]
    return (site.left[place].value, value) if isinstance(value, Fraction) and len(alike) == 1 else None


def _swaps_across(solution: Solution, place: int) -> Iterator[Slip]:
    """Two numbers that the problem states, each used in another step, change places."""
    site = solution.sites[place]
    for later in range(place + 1, len(solution.sites)):
        other = solution.sites[later]
        if other.step == site.step or not other.exact or other.is_entangled:
            continue
        for one, two in _given_pairs(solution, site, other):
            edit = {one: other.left[two].value}
            if _changes(site, edit) and not (solution.is_chain and _is_stated(solution, site, edit)):
                yield Slip(SlipKind.SWAPPED, place, {place: edit, later: {two: site.left[one].value}})


def _given_pairs(solution: Solution, site: Site, other: Site) -> Iterator[tuple[int, int]]:
    for one in _given_places(solution, site):
        for two in _given_places(solution, other):
            if site.left[one].value != other.left[two].value:
                yield one, two


def _given_places(solution: Solution, site: Site) -> Iterator[int]:
    """Operands that the problem states; in a chain the first operand is carried."""
    for place, token in enumerate(site.left):
        if token.kind == "number" and token.value in solution.givens and not (solution.is_chain and place == 0):
            yield place


def _is_stated(solution: Solution, site: Site, edit: Edit) -> bool:
    """Whether the problem states the edited operation as it stands, e.g. `+4`."""
    left = edited(site.left, edit)
    if any(place == 0 for place in edit):
        return left[0].value in solution.givens
    stated = re.sub(r"\s", "", solution.problem.prompt)
    return re.search(rf"{re.escape(left[1].text)}{left[2].value}(?!\d)", stated) is not None
