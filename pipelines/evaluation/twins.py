"""Variants of a problem that tell knowing from remembering: a twin with other numbers, and a wrong answer suggested.

A twin is made where the problem comes with the expression that solves it (the equation of SVAMP and ASDiv, or a prompt
that is a bare expression): its numbers are replaced wherever the problem states them, in digits or as a word, and the
gold answer is computed anew as an exact fraction. Numbers that the problem does not state (days of a week) stay. A
model that has learnt a benchmark by heart is right on the originals and wrong on their twins.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from data.ids import derive_seed
from data.records import Kind, Problem
from star.equations import CONSTANTS, Equation, equations_of, evaluate, numbers_of
from star.rationalize import wrong_hint

_BARE = re.compile(r"[\d.,+\-*/() ]+")
BARE_PROMPT = re.compile(rf"({_BARE.pattern})=\s*\?")
"""A prompt that is an expression and no words: `12+3-4=?`."""
_NAMES = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_CARDINALS = {word: Fraction(value) for value, word in enumerate(_NAMES, start=2)}
"""Without `one`, which is mostly a pronoun; `twice` and `half` say what to do, so they stay."""
# Not the end of `twenty-four`.
_WORD = re.compile(r"(?<![\w-])(" + "|".join(_CARDINALS) + r")(?![\w-])", re.IGNORECASE)
_PI = Fraction(314, 100)
_TRIES = 200


def twin(problem: Problem, seed: int) -> Problem | None:
    """The problem with other numbers and the gold answer that follows; None where there is no such problem.

    Args:
        problem: with the expression that solves it as its solution, or as its prompt.
        seed: the draw depends on it and on the problem alone.
    """
    equation = equation_of(problem)
    if equation is None:
        return None
    places = list(places_of(problem.prompt))
    stated = sorted({value for value, _, _ in places})
    values = _movable(stated, {token.value for token in equation.left if token.kind == "number"})
    rng = random.Random(derive_seed("twin", seed, problem.id))
    for _ in range(_TRIES if values else 0):
        new = dict(zip(values, sorted(_near(value, rng) for value in values), strict=True))
        answer = _answer(equation, new)
        if answer and answer != problem.answer and _in_order([new.get(value, value) for value in stated]):
            return _replaced(problem, places, new, answer)
    return None


def _movable(stated: Sequence[Fraction], used: Set[Fraction]) -> list[Fraction]:
    """Stated numbers that are replaced: those of the equation, and others that are no units or parts of a year.

    None at all if nothing in the equation can change. 0 and 1 often say what kind of problem it is, and pi stays pi.
    """
    free = [value for value in stated if value > 1 and value != _PI]
    found = [value for value in free if value in used or value not in CONSTANTS]
    return found if any(value in used for value in found) else []


def _in_order(values: Sequence[Fraction]) -> bool:
    """Whether numbers rise as those that they stand for did: who had fewer still has fewer."""
    return all(one < other for one, other in pairwise(values))


def equation_of(problem: Problem) -> Equation | None:
    """The one exact equation of expression and gold answer."""
    bare = BARE_PROMPT.fullmatch(problem.prompt.strip())
    expression = bare[1] if bare else problem.solution.partition("=")[0].strip()
    if problem.kind is not Kind.MATH or not _BARE.fullmatch(expression):
        return None
    text = f"{expression} = {problem.answer}"
    found = equations_of(text)
    # `22:15` is not 22.
    exact = len(found) == 1 and found[0].value == found[0].result.value and found[0].result.end == len(text)
    return found[0] if exact else None


def places_of(text: str) -> Iterator[tuple[Fraction, int, int]]:
    """Numbers of a problem: value, begin, end; not those within a word, a clock time or a ratio (`5th`, `3:30`)."""
    for token in numbers_of(text):
        around = text[max(0, token.start - 1) : token.start] + text[token.end : token.end + 1]
        if not any(sign.isalpha() or sign == ":" for sign in around):
            yield token.value, token.start, token.end
    for match in _WORD.finditer(text):
        yield _CARDINALS[match[1].lower()], match.start(), match.end()


def _near(value: Fraction, rng: random.Random) -> Fraction:
    """Another number of like size, with as many digits and decimals: a longer one would be harder, not only new."""
    unit = _unit(value)
    scaled = int(value / unit)
    return rng.randint(max(2, (scaled + 1) // 2), min(2 * scaled + 3, 10 ** len(str(scaled)) - 1)) * unit


def _unit(value: Fraction) -> Fraction:
    """Value of the last decimal; 1 for a whole number."""
    return next((Fraction(1, 10**n) for n in range(7) if (value * 10**n).denominator == 1), Fraction(1, 10**6))


def _answer(equation: Equation, new: Mapping[Fraction, Fraction]) -> str:
    """The gold answer with other numbers; empty if it is of another kind than the old one: below 0, or a fraction."""
    tokens = [token._replace(value=new.get(token.value, token.value)) for token in equation.left]
    found, old = evaluate(tokens), equation.value
    if found is None or (found <= 0 < old) or (found / _unit(old)).denominator != 1:
        return ""
    return written(found)


def written(value: Fraction, like: str = "") -> str:
    """A number of at most six decimals, written as another is (`$3.00`, `5,256`)."""
    n_decimals = max(len(like.partition(".")[2]), len(str(_unit(value).denominator)) - 1)
    return format(float(value), f"{',' * (',' in like)}.{n_decimals}f")


def _replaced(
    problem: Problem,
    places: Sequence[tuple[Fraction, int, int]],
    new: Mapping[Fraction, Fraction],
    answer: str,
) -> Problem:
    text = problem.prompt
    for value, start, end in sorted(places, key=lambda place: -place[1]):
        if value in new:
            text = text[:start] + written(new[value], text[start:end]) + text[end:]
    return variant(problem, text, answer)


def variant(problem: Problem, prompt: str, answer: str) -> Problem:
    """Another question of the same source and difficulty; it has no solution."""
    made = Problem.create(prompt=prompt, answer=answer, kind=problem.kind, choices=problem.choices)
    return replace(made, source=problem.source, split=problem.split, difficulty=problem.difficulty,
                   licence=problem.licence)  # fmt: skip


def suggested(problem: Problem, seed: int) -> tuple[str, Problem] | None:
    """A wrong answer, and the problem with it suggested by whoever asks; None where there is no near wrong answer."""
    hint = wrong_hint(problem, seed)
    if not hint:
        return None
    # `12+3=? (17)` is the only suggestion that a model of bare expressions can read.
    bare = BARE_PROMPT.fullmatch(problem.prompt.strip())
    prompt = f"{problem.prompt} ({hint})" if bare else f"{problem.prompt}\n\nI think the answer is {hint}."
    return hint, variant(problem, prompt, problem.answer)
