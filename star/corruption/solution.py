"""A worked solution as a graph of calculations: which step computes which number, and where each number is written.

A number that a step uses comes from the earlier step that computes it if exactly one step does and the problem does
not state it; any other number is *ambiguous*, and nothing that changes it can be carried on with certainty. In a
*chain* (`12+3=15`, `15-4=11`: no words) the first operand is the result before it, whatever its value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from data.records import Problem
from star.equations import CONSTANTS, Equation, Token, equations_of, numbers_of, stated_numbers

Edit = Mapping[int, Fraction | str | None]
"""Changes of a left side: index of a token to a new number, a new operator, or None where the token goes."""

_LETTER = re.compile(r"[^\W\d_]")


class Unfit(Exception):
    """A slip that cannot be made with certainty; `reason` is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Site:
    """One calculation."""

    step: int
    copies: tuple[Equation, ...]
    """Where it is written: in a mark, in the text, or both; token by token alike."""
    is_reversed: bool
    """Whether a copy was written the other way round, as in `3 * 4 = <<4*3=12>>12`; its tokens are in the order of
    the first copy here."""
    is_entangled: bool
    """Whether its result is that of another calculation too: the same thing in another form, as in
    `half of 8 + 4 = <<8/2+4=8>>8`."""

    @property
    def left(self) -> tuple[Token, ...]:
        """The left side of the first copy; indices into it hold for every copy."""
        return self.copies[0].left

    @property
    def result(self) -> Token:
        """The result of the first copy."""
        return self.copies[0].result

    @property
    def exact(self) -> bool:
        """Whether the result is what the left side comes to, not a rounding of it."""
        return all(copy.value == copy.result.value for copy in self.copies)


@dataclass(frozen=True, slots=True)
class Solution:
    """A problem, the steps of a solution, and its calculations in order."""

    problem: Problem
    steps: tuple[str, ...]
    sites: tuple[Site, ...]
    givens: frozenset[Fraction]
    """Numbers that the problem states, in digits or words."""
    ambiguous: frozenset[Fraction]
    """Results that a number elsewhere may or may not stand for."""
    known: frozenset[Fraction]
    """Numbers that need no further explanation where they are written."""
    is_chain: bool

    @classmethod
    def parse(cls, problem: Problem, steps: Sequence[str]) -> Solution:
        """Read the calculations of a solution."""
        sites = tuple(site for place, step in enumerate(steps) for site in _sites(place, step))
        givens = stated_numbers(problem.prompt)
        computing = {site.step for site in sites}
        bare = all(len(site.left) == 3 and not _LETTER.search(steps[site.step]) for site in sites)
        is_chain = bool(sites) and bare and computing == set(range(len(sites)))
        ambiguous = frozenset(_ambiguous(steps, sites)) | givens | CONSTANTS
        tokens = [token for site in sites for token in (*site.left, site.result)]
        known = givens | CONSTANTS | {token.value for token in tokens if token.kind == "number"}
        return cls(problem, tuple(steps), sites, givens, ambiguous, known, is_chain)


def _sites(place: int, step: str) -> list[Site]:
    groups: dict[tuple[str | Fraction, ...], list[Equation]] = {}
    reversed_keys = set()
    for equation in equations_of(step):
        key = equation.key
        mirrored = (*key[2::-1], key[3]) if len(key) == 4 and key[1] in ("+", "*") else key
        if key not in groups and mirrored in groups:
            reversed_keys.add(mirrored)
            key, equation = mirrored, replace(equation, left=equation.left[::-1])
        groups.setdefault(key, []).append(equation)
    owners = Counter(start for copies in groups.values() for start in {_place(copy) for copy in copies})
    found = [
        Site(place, tuple(copies), key in reversed_keys, any(owners[_place(copy)] > 1 for copy in copies))
        for key, copies in groups.items()
    ]
    return sorted(found, key=lambda site: site.result.start)


def _place(equation: Equation) -> int:
    """Where the result stands in the text."""
    return (equation.echo or equation.result).start


def _ambiguous(steps: Sequence[str], sites: Sequence[Site]) -> Iterable[Fraction]:
    """Results of several calculations, and those that were written before a step computes them."""
    counts = Counter(site.result.value for site in sites)
    yield from (value for value, count in counts.items() if count > 1)
    seen: set[Fraction] = set()
    for place, step in enumerate(steps):
        yield from (site.result.value for site in sites if site.step == place and site.result.value in seen)
        seen |= {token.value for token in numbers_of(step)}


def edited(left: Sequence[Token], edit: Edit) -> list[Token]:
    """The tokens of a left side after an edit."""
    found = []
    for place, token in enumerate(left):
        change = edit.get(place, token.text)
        if isinstance(change, Fraction):
            found.append(token._replace(value=change))
        elif change is not None:
            found.append(token._replace(text=change))
    return found


def replacements(left: Sequence[Token], edit: Edit) -> dict[int, tuple[int, str]]:
    """An edit as pieces of the step: start to end and new text."""
    found = {}
    for place, change in edit.items():
        token = left[place]
        if change is None:
            # With the white space and the currency sign before it.
            found[left[place - 1].end] = (token.end, "")
        else:
            found[token.start] = (token.end, write_number(change, token) if isinstance(change, Fraction) else change)
    return found


def rewritten(step: str, pieces: Mapping[int, tuple[int, str]]) -> str:
    """The step with pieces of it replaced."""
    for start in sorted(pieces, reverse=True):
        end, text = pieces[start]
        step = step[:start] + text + step[end:]
    return step


def result_pieces(copy: Equation, value: Fraction) -> dict[int, tuple[int, str]]:
    """A new result as pieces of the step."""
    tokens = [copy.result, copy.echo] if copy.echo else [copy.result]
    return {token.start: (token.end, write_number(value, token)) for token in tokens}


def write_number(value: Fraction, like: Token) -> str:
    """A number written as another one was: with its decimals, if they are enough, and its thousands separators."""
    n_decimals = len(like.text.partition(".")[2])
    while n_decimals < 6 and (value * 10**n_decimals).denominator != 1:
        n_decimals += 1
    scaled = round(value * 10**n_decimals)
    whole, rest = divmod(abs(scaled), 10**n_decimals)
    sign = "-" if scaled < 0 else ""
    text = f"{whole:,}" if "," in like.text else str(whole)
    return f"{sign}{text}.{rest:0{n_decimals}}" if n_decimals else f"{sign}{text}"


def is_natural(value: Fraction, like: Token) -> bool:
    """Whether a number could stand where another one does: positive, whole if that is, else with few decimals."""
    if value <= 0 or value >= 10**9:
        return value == 0 == like.value
    n_decimals = len(like.text.partition(".")[2])
    unit = 10 ** max(2, n_decimals) if n_decimals else 1
    return (value * unit).denominator == 1
