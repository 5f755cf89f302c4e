"""The equations that a rationale states, with their places in the text: `left = result`, the left side an expression.

Read from calculator marks (`<<48/2=24>>`) and from running text (`12 x 2 = 24`), where a mark is transparent:
`48/2 = <<48/2=24>>24` states one equation twice. Unlike `verifiers.check_steps`, which judges, this says where each
number stands, so that a text can be compared by its calculation or edited. What is not plain arithmetic over + - * /
and parentheses is not an equation here; time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

MAX_TOKENS = 64
"""Longer left sides are not read."""
MAX_DIGITS = 15
"""Longer numbers are not read."""

CONSTANTS = frozenset(map(Fraction, (0, 1, 2, 7, 10, 12, 24, 30, 31, 52, 60, 100, 360, 365, 1000)))
"""Numbers that a solution may bring in without computing them: parts and months of a year, percent, a dozen."""

_MARK = re.compile(r"<<([^<>\n]{1,400})>>")
_TOKEN = re.compile(
    r"(?P<number>(?>\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?|(?<![\d.])\.\d++)(?P<percent>[^\S\n]?%)?"
    r"|(?P<operator>[-+*/−–×·÷]|(?<=[\d)\s])[xX](?=\s{0,3}[$(]?[\d.]))"
    r"|(?P<parenthesis>[()])|(?P<equals>=)|(?P<currency>[$€£])|(?P<space>\s++)|(?P<other>[^\W\d_]++|.)",
    re.DOTALL,
)
_WORDS: dict[str, tuple[int, ...]] = {
    "once": (1,), "one": (1,), "two": (2,), "twice": (2,), "double": (2,), "half": (2,), "pair": (2,), "couple": (2,),
    "three": (3,), "triple": (3,), "thrice": (3,), "third": (3,), "four": (4,), "quarter": (4, 25), "five": (5,),
    "six": (6,), "seven": (7,), "eight": (8,), "nine": (9,), "ten": (10,), "eleven": (11,), "twelve": (12,),
    "dozen": (12,), "fifteen": (15,), "twenty": (20,), "thirty": (30,), "forty": (40,), "fifty": (50,),
    "hundred": (100,), "thousand": (1000,),
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]{3,}")
_ZERO = Fraction(0)
_SIGNS = {"−": "-", "–": "-", "×": "*", "·": "*", "x": "*", "X": "*", "÷": "/"}


class Token(NamedTuple):
    """A piece of a step."""

    kind: str
    """`number`, `operator`, `parenthesis`, `equals` or `other`."""
    text: str
    """As written, without a percent sign; an operator as one of + - * /."""
    value: Fraction
    """Of a number as written; 0 for everything else."""
    percent: bool
    """Whether a percent sign follows the number; it counts in `evaluate` alone."""
    start: int
    """Index of its first character in the step."""
    end: int


@dataclass(frozen=True, slots=True)
class Equation:
    """One stated equation."""

    left: tuple[Token, ...]
    """Numbers, operators and parentheses; at least one operator."""
    result: Token
    """The number behind the sign."""
    marked: bool
    """Whether it stands in a calculator mark."""
    echo: Token | None = None
    """The result once more, in the text behind a mark."""

    @property
    def value(self) -> Fraction:
        """What the left side comes to, in percent where both sides are; `result.value` where the equation is exact."""
        value = evaluate(self.left)
        assert value is not None  # Or it would be no equation.
        return value * self.scale

    @property
    def scale(self) -> int:
        """100 where both sides are percentages, else 1."""
        return 100 if self.result.percent and any(token.percent for token in self.left) else 1

    @property
    def key(self) -> tuple[str | Fraction, ...]:
        """What is computed and what comes out; equal for copies whose numbers are written otherwise."""
        return (*(token.value if token.kind == "number" else token.text for token in self.left), self.result.value)


def equations_of(step: str) -> list[Equation]:
    """Equations of one step: those of its marks first, then those of its text, each in order."""
    found = []
    for mark in _MARK.finditer(step):
        tokens = list(_tokens(step, mark.start(1), mark.end(1)))
        signs = [place for place, token in enumerate(tokens) if token.kind == "equals"]
        if len(signs) == 1 and (equation := _equation(tokens[: signs[0]], tokens[signs[0] + 1 :], marked=True)):
            found.append(replace(equation, echo=_echo(step, mark.end(), equation.result.value)))
    tokens = list(_tokens(without_marks(step), 0, len(step)))
    for place, token in enumerate(tokens):
        if token.kind == "equals" and (
            equation := _equation(_run_before(tokens, place), _run_after(tokens, place), marked=False)
        ):
            found.append(equation)
    return found


def numbers_of(step: str) -> list[Token]:
    """Every number of a step, in marks too, in order."""
    return [token for token in _tokens(step, 0, len(step)) if token.kind == "number"]


def stated_numbers(text: str) -> frozenset[Fraction]:
    """Numbers that a problem states, in digits or in words (`twice`, `a dozen`)."""
    found = {token.value for token in numbers_of(text)}
    for word in _WORD.findall(text.lower()):
        found |= set(map(Fraction, _WORDS.get(word, _WORDS.get(word.removesuffix("s"), ()))))
    return frozenset(found)


def equation_list(steps: Iterable[str]) -> tuple[tuple[str | Fraction, ...], ...]:
    """What a rationale computes, in order: equal for rationales that differ in words alone (RFT, Yuan et al. 2023).

    Marks stand for the text around them; in a step without marks the equations of the text count. 3+4=7 and 4+3=7
    differ, as in the paper.
    """
    found: list[tuple[str | Fraction, ...]] = []
    for step in steps:
        stated = equations_of(step)
        marked = [equation for equation in stated if equation.marked]
        found += [equation.key for equation in marked or stated]
    return tuple(found)


def evaluate(tokens: Sequence[Token]) -> Fraction | None:
    """Value of an expression; None if it is none, or divides by zero."""
    try:
        value, place = _sum(tokens, 0)
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    return value if place == len(tokens) else None


def _tokens(text: str, start: int, end: int) -> Iterator[Token]:
    """Tokens of a part of a text; white space and currency signs are left out."""
    for match in _TOKEN.finditer(text, start, end):
        kind, written = str(match.lastgroup), match[0]
        if match["number"] is not None:
            written, kind = match["number"], "number"
            if len(written) > MAX_DIGITS:
                kind = "other"
        if kind in ("space", "currency"):
            continue
        value = _ZERO
        if kind == "number":
            digits = written.replace(",", "")
            value = Fraction(int(digits) if digits.isdecimal() else digits)
        percent, start = match["percent"] is not None, match.start()
        yield Token(kind, _SIGNS.get(written, written), value, percent, start, start + len(written))


def without_marks(step: str) -> str:
    """The step with spaces for its calculator marks, so that places stay."""
    return _MARK.sub(lambda mark: " " * len(mark[0]), step)


def _echo(step: str, start: int, result: Fraction) -> Token | None:
    """The number right behind a mark, if it is the mark's result."""
    token = next(_tokens(step, start, min(len(step), start + MAX_DIGITS + 5)), None)
    return token if token and token.kind == "number" and token.value == result else None


_EXPRESSION = frozenset(("number", "operator", "parenthesis"))


def _run_before(tokens: Sequence[Token], sign: int) -> Sequence[Token]:
    """What touches the sign from the left, as far as it may be an expression."""
    start = sign
    while start and sign - start <= MAX_TOKENS and tokens[start - 1].kind in _EXPRESSION:
        start -= 1
    run = tokens[start:sign]
    # `S + 3 = 8` and `10 apples + 3 = 13` begin before what can be read here.
    return run if run and run[0].kind != "operator" else ()


def _run_after(tokens: Sequence[Token], sign: int) -> Sequence[Token]:
    """The number behind the sign, unless more belongs to it: `= 4S`, `= 200 - 16`, `= 24/Y`."""
    run, following = tokens[sign + 1 : sign + 2], tokens[sign + 2 : sign + 4]
    if not run or not following:
        return run
    follows = following[0]
    if follows.kind == "operator" and (follows.text == "/" or following[-1].kind in ("number", "parenthesis")):
        return ()
    if follows.kind == "number":
        # `= 1 1/2`
        return ()
    touches = follows.start == run[0].end
    return () if touches and len(follows.text) == 1 and (follows.text.isalpha() or follows.text in "(^_") else run


def _equation(left: Sequence[Token], right: Sequence[Token], *, marked: bool) -> Equation | None:
    if len(right) != 1 or right[0].kind != "number" or len(left) > MAX_TOKENS:
        return None
    if not any(token.kind == "operator" for token in left[1:]) or evaluate(left) is None:
        return None
    return Equation(tuple(left), right[0], marked)


def _sum(tokens: Sequence[Token], place: int) -> tuple[Fraction, int]:
    value, place = _product(tokens, place)
    while place < len(tokens) and tokens[place].text in ("+", "-"):
        term, after = _product(tokens, place + 1)
        value, place = (value + term if tokens[place].text == "+" else value - term), after
    return value, place


def _product(tokens: Sequence[Token], place: int) -> tuple[Fraction, int]:
    value, place = _factor(tokens, place)
    while place < len(tokens) and tokens[place].text in ("*", "/"):
        factor, after = _factor(tokens, place + 1)
        value, place = (value * factor if tokens[place].text == "*" else value / factor), after
    return value, place


def _factor(tokens: Sequence[Token], place: int) -> tuple[Fraction, int]:
    token = tokens[place]
    if token.kind == "number":
        return token.value / (100 if token.percent else 1), place + 1
    if token.text in ("-", "+"):
        value, place = _factor(tokens, place + 1)
        return (-value if token.text == "-" else value), place
    if token.text != "(":
        raise ValueError(token.text)
    value, place = _sum(tokens, place + 1)
    if tokens[place].text != ")":
        raise ValueError(tokens[place].text)
    return value, place + 1
