"""Twins with one premise turned round: `9 more than` becomes `9 fewer than`, `lost 9` becomes `found 9`, + becomes -.

A change adds or takes away a number, so turning it round changes that number's sign in the equation and nothing else,
whatever is asked for: the amount at the end, at the start, or of the one who is compared with. This is done only where
nothing is left to doubt: an equation of one addition or subtraction of two numbers, both stated once; a number that
follows a verb or a comparison known here; a question about an amount, not about the change. So few problems have such a
twin (`twins.twin` changes the numbers of most), but its gold answer is as sure as the original's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from fractions import Fraction

from data.ids import derive_seed
from data.records import Problem
from pipelines.evaluation.twins import BARE_PROMPT, equation_of, places_of, variant, written
from star.equations import Equation, equations_of, evaluate

_LOSSES = {"lost": "found", "sold": "bought", "ate": "bought", "used": "bought", "threw away": "found",
           "deleted": "added", "removed": "added", "gave": "got"}  # fmt: skip
_GAINS = {"found": "lost", "bought": "sold", "received": "lost", "collected": "lost", "added": "removed"}
_VERB = re.compile(r"(?<!only )\b(" + "|".join([*_LOSSES, *_GAINS]) + r")\s+$")
_GIFT = re.compile(r"((?:\s+(?!of\b)\w+){1,4}?)\s+to\s+(\w+(?:\s+\w+)?)(?=[.,])")
"""What was given, and to whom."""
_QUESTION = re.compile(r"\bhow (?:many|much)\b[^.?!]*\?\s*$", re.IGNORECASE)
_AMOUNT = re.compile(
    r"\b(?:have|has|had|there|are|were|is|was)\b.*\b(?:left|now|at first|(?:in|at) the (?:beginning|start)|"
    r"to (?:start|begin) with|initially)\s*\?\s*$",
    re.IGNORECASE,
)
"""A question about an amount at the end or at the start."""
_COMPARED = re.compile(r"\s+(more|fewer|less)\b(?:(?=(\s+than)\b)|(?=[^.?!,]*\bthan\b))")
_COMPARING = re.compile(
    r"\b(?:more|fewer|less|than|difference|total|altogether|together|all|both|sum)\b", re.IGNORECASE
)
_ELSEWHERE = re.compile(
    r"\b(?:to|from|for|on|with|of|left|remain\w*|rest|still|half|each|every|another)\b", re.IGNORECASE
)
"""Words behind a change that bind it to something else, or that stand for what its result would be."""
_RESULT = re.compile(r"\b(?:left|still|remain\w*|rest|total|altogether|in all)\b", re.IGNORECASE)
"""Words before the question that say what a change, as it was, led to."""
_SIGN = re.compile(r"(?<=[\d)])\s*([+-])\s*(?=[\d(])")


def premise_twin(problem: Problem, seed: int) -> Problem | None:
    """The problem with one premise turned round and the gold answer that follows; None where none surely can be.

    Args:
        problem: with the equation that solves it as its solution, or a bare expression as its prompt.
        seed: the draw among several ways depends on it and on the problem alone.
    """
    equation = equation_of(problem)
    if equation is None:
        return None
    bare = BARE_PROMPT.fullmatch(problem.prompt.strip())
    ways = list(_other_signs(problem.prompt) if bare else _turned(problem.prompt, equation))
    random.Random(derive_seed("premise", seed, problem.id)).shuffle(ways)
    for prompt, value in ways:
        if value != equation.value and (value > 0 or equation.value <= 0):
            return variant(problem, prompt, written(value))
    return None


def _other_signs(prompt: str) -> Iterator[tuple[str, Fraction]]:
    """A bare expression with one + or - the other way round, and its value."""
    for sign in _SIGN.finditer(prompt):
        changed = prompt[: sign.start(1)] + "+-"[sign[1] == "+"] + prompt[sign.end(1) :]
        for equation in equations_of(changed.replace("?", "0")):
            value = evaluate(equation.left)
            if value is not None:
                yield changed, value


def _turned(text: str, equation: Equation) -> Iterator[tuple[str, Fraction]]:
    """A word problem with a comparison or a change turned round, and the answer that follows."""
    question = _QUESTION.search(text)
    numbers = [token.value for token in equation.left if token.kind == "number"]
    signs = [token.text for token in equation.left if token.kind == "operator"]
    if question is None or len(numbers) != 2 or signs not in (["+"], ["-"]) or numbers[0] == numbers[1]:
        return
    stated = [value for value, _, _ in places_of(text)]
    if any(stated.count(value) != 1 for value in numbers):
        return
    for value, start, end in places_of(text[: question.start()]):
        # What is subtracted from is the whole of it, not a change.
        if value not in numbers or (signs == ["-"] and value == numbers[0]):
            continue
        other = numbers[numbers[0] == value]
        changed = _compared(text, end, question.start()) or _done(text, start, end, question.start())
        if changed:
            yield changed, other - value if signs == ["+"] else other + value


def _compared(text: str, end: int, question: int) -> str:
    """The text with the comparison behind a number turned round; empty if there is none, or another beside it."""
    found = _COMPARED.match(text, end)
    if not found or _COMPARING.search(text, question) or len(re.findall(r"\bthan\b", text)) != 1:
        return ""
    if len(re.findall(r"\b(?:more|fewer|less)\b", text)) != 1:
        return ""
    fewer = "less" if found[2] else "fewer"
    return text[: found.start(1)] + (fewer if found[1] == "more" else "more") + text[found.end(1) :]


def _done(text: str, start: int, end: int, question: int) -> str:
    """The text with the verb before a number turned round; empty if it is none that we know, or is bound otherwise."""
    asked, behind = text[question:], text[end:question]
    if not _AMOUNT.search(asked) or _COMPARING.search(asked) or _RESULT.search(text[:question]):
        return ""
    before, gift = _VERB.search(text[:start]), _GIFT.match(behind)
    # Where the verb stands twice, the other one may speak of the same change.
    if not before or len(re.findall(rf"\b{before[1]}\b", text)) > 1:
        return ""
    if before[1] == "gave":
        behind = f"{gift[1]} from {gift[2]}{behind[gift.end() :]}" if gift else ""
    elif _ELSEWHERE.search(re.split(r"[.,;!?]", behind)[0]):
        behind = ""
    elif before[1] in _GAINS:
        behind = behind.removeprefix(" more")
    asked = re.sub(r"\b(were )?left(?=\s*\?)", lambda at: f"{'were there ' * bool(at[1])}in the end", asked)
    turned = (_LOSSES | _GAINS)[before[1]]
    return text[: before.start(1)] + turned + text[before.end(1) : end] + behind + asked if behind else ""
