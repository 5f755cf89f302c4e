"""The equalities that a step states: chains of expressions, in calculator marks and in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verifiers.steps.boundaries import left_of, right_of
from verifiers.steps.tokens import Kind, Token, tokens_of
from verifiers.steps.units import with_words

MAX_CHARS = 10_000
"""Longer steps are not read."""
NEAR = 160
"""How far from an equality its sentence is looked at, in characters."""

_VERBAL = re.compile(r"\d[^.\n]{0,80}\b(?:is|equals?)\b")
_MARK = re.compile(r"<<([^<>\n]{1,400})>>")


@dataclass(frozen=True, slots=True)
class Equality:
    """Two neighbouring parts of a chain `a = b = c`.

    Example: `x = 3 + 4 = 7` has the equalities `x = 3 + 4` and `3 + 4 = 7`, of which the second follows the first.
    """

    left: Sequence[Token]
    right: Sequence[Token]
    span: str
    """The text of both, as written."""
    start: int
    """Where the span begins in the step; -1 inside a calculator mark."""
    opens: bool
    """Whether the left side is the first of its chain, in running text."""
    lead: str
    """The text before it."""
    tail: str
    """The text after it."""
    follows: bool
    """Whether the left side is the right side of the equality before it."""
    loose: bool
    """Whether the sign says `approximately`."""
    verbal: bool
    """Whether the sign is a word."""


def equalities(step: str) -> Iterator[Equality]:
    """Every equality of a step: those of calculator marks first, then those of the text, in order."""
    if len(step) > MAX_CHARS or ("=" not in step and "\\approx" not in step and not _VERBAL.search(step)):
        return
    for mark in _MARK.finditer(step):
        yield from _of_tokens(with_words(tokens_of(mark.group(1))), mark.group(1), whole=True)
    text = _MARK.sub("", step) if "<<" in step else step
    yield from _of_tokens(with_words(tokens_of(text)), text, whole=False)


def _of_tokens(tokens: Sequence[Token], text: str, *, whole: bool) -> Iterator[Equality]:
    for chain in _chains(tokens):
        yield from _of_chain(chain, tokens, text, whole=whole)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Places in the token list: where the chain begins and ends, and its relation signs."""

    begin: int
    end: int
    signs: Sequence[int]


def _chains(tokens: Sequence[Token]) -> Iterator[_Chain]:
    """Runs of tokens without a break that hold a relation sign."""
    begin, signs = 0, []
    for place, token in enumerate(tokens):
        if token.kind is Kind.RELATION:
            signs.append(place)
        if token.kind is Kind.BREAK and not _joins_lines(tokens, place):
            if signs:
                yield _Chain(begin, place, signs)
            begin, signs = place + 1, []
    if signs:
        yield _Chain(begin, len(tokens), signs)


def _joins_lines(tokens: Sequence[Token], place: int) -> bool:
    """Whether a line break stands beside a relation sign, so that the chain goes on."""
    if tokens[place].text != "\n":
        return False
    before = tokens[place - 1 : place] if place and tokens[place].math else []
    return any(
        token.kind is Kind.RELATION and token.text != "is" for token in [*before, *tokens[place + 1 : place + 2]]
    )


def _of_chain(chain: _Chain, tokens: Sequence[Token], text: str, *, whole: bool) -> Iterator[Equality]:
    if any(tokens[place].text in ("mod", "pmod", "bmod", "equiv") for place in range(chain.begin, chain.end)):
        return
    bounds = [chain.begin - 1, *chain.signs, chain.end]
    kept = -1
    for index, sign in enumerate(chain.signs):
        left = left_of(tokens, bounds[index] + 1, sign)
        right = right_of(tokens, sign + 1, bounds[index + 2])
        if not left or not right:
            continue
        start, end = left[0].start, right[-1].end
        if whole and (left[0] is not tokens[bounds[index] + 1] or right[-1] is not tokens[bounds[index + 2] - 1]):
            continue
        yield Equality(
            left=left,
            right=right,
            span=text[start:end],
            start=-1 if whole else start,
            opens=not whole and (left[0] is not tokens[bounds[index] + 1] or (index == 0 and not left[0].math)),
            lead=text[max(0, start - NEAR) : start],
            tail=text[end : end + NEAR],
            follows=kept == left[0].start,
            loose=tokens[sign].text == "~",
            verbal=tokens[sign].text == "is",
        )
        kept = right[0].start
