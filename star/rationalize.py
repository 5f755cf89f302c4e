"""Rationalization: sample failed problems again with the gold answer as a hint, and forget the hint.

The hint is the bare answer (the letter, for a choice), never a gold solution. It stands in the prompt alone: what is
stored and trained on is the completion, and training renders the plain prompt. A rationale that speaks of the hint is
dropped by name, not kept quietly; `star.leaks` has the other tests of leakage. STaR, section 3.1.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pydantic import Field

from data.config import Config
from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import Kind, Problem, Status
from star.equations import stated_numbers
from verifiers import check_answers


class RationalizationConfig(Config):
    """Settings of rationalization."""

    enabled: bool = True
    p: float = Field(default=1.0, ge=0, le=1)
    """Share of the failed problems that are rationalized, drawn by hash."""
    n: int = Field(default=1, ge=1)
    """Hinted samples of each failed problem."""
    temperature: float = Field(default=0.8, ge=0)
    wrong_hints: int = Field(default=32, ge=0)
    """Problems of a round that are shown a wrong answer as the hint, to see whether the model proves whatever it is
    shown; the completions are measured and never trained on."""


_ANSWER = r"(?:(?:final|correct|right|true|gold|expected|target|intended|reference) ){0,2}(?:answer|solution)"
_GIVEN = r"(?:given|provided|known|stated|supplied|shown|revealed|specified)"
_MENTIONS = re.compile(
    rf"\bas given\b|\bthe hint(?:s|ed)?\b|\bhinted\b|\(CORRECT\)|\banswer key\b|\bground[ -]truth\b"
    rf"|\b{_GIVEN} {_ANSWER}\b|\b(?:gold|expected|target|intended|reference) (?:answer|result)\b"
    rf"|\b{_ANSWER} (?:that )?(?:was|is|has been|we were|we are|you)(?: already| apparently)? {_GIVEN}\b"
    rf"|\b(?:already |we |i )know (?:that )?(?:the |our )?{_ANSWER}\b|\bknowing (?:that )?the {_ANSWER}\b"
    rf"|\b(?:told|given|informed|assured) (?:that )?(?:the )?{_ANSWER} (?:is|was|equals|should|must|to be)\b"
    rf"|\b(?:since|because|as) the {_ANSWER} (?:is|must be|has to be|should be|equals)\W{{1,5}}(?:\d|[A-E]\b)"
    rf"|\bas if (?:i|we|you) (?:did not|didn't|do not|don't) know\b"
    rf"|\b(?:back(?:wards?)?|start(?:ing)?) from (?:the|our|this) {_ANSWER}\b"
    rf"|\bto (?:match|justify|support|agree with) (?:the|this|that) {_ANSWER}\b"
    rf"|\bto (?:reach|get to|get|arrive at|obtain) the (?:correct|right|true|required) answer\b"
    rf"|\b(?:marked|labell?ed|flagged|listed|indicated) (?:as )?(?:the )?(?:correct|right)\b"
    rf"|\b(?:match(?:es)?|agrees? with|fits?|consistent with) the {_ANSWER}\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,6})?")
_REACH = 5
"""A wrong hint is off by at most this much in its last digit, or by the gold answer over this, if that is more."""


def hint_of(problem: Problem) -> str:
    """What the hinted prompt shows: the gold answer, or nothing where there is none to show."""
    return "" if problem.kind is Kind.CODE else problem.answer


def hint_phrase(text: str, problem: Problem) -> str:
    """The first words by which a completion speaks of the hint, or the hint's mark, e.g. `=? (42)`; empty if none."""
    mark = f"=? ({problem.answer})"
    found = _MENTIONS.search(text)
    return found[0] if found else mark if mark in text else ""


def mentions_hint(text: str, problem: Problem) -> bool:
    """Whether a completion speaks of the hint or repeats its mark."""
    return bool(hint_phrase(text, problem))


def has_failed(statuses: Collection[Status]) -> bool:
    """Whether none of a problem's samples is right; with nothing but undecided checks it did not fail."""
    return Status.CORRECT not in statuses and any(status is not Status.UNDECIDED for status in statuses)


def is_drawn(problem: Problem, config: RationalizationConfig, seed: int, round_: int) -> bool:
    """Whether a failed problem is rationalized in this round; depends on its id, not on the order."""
    return random.Random(derive_seed("rationalize", seed, round_, problem.id)).random() < config.p


def wrong_hint(problem: Problem, seed: int) -> str:
    """A wrong answer near the gold one, for the hint-swap test: does the model "prove" whatever it is shown?

    Args:
        problem: with its gold answer.
        seed: the draw depends on it and on the problem alone.

    Returns:
        For a choice another letter; for a number one up to a fifth away, of the same sign and decimals, that the
        problem itself does not state. Empty where there is none, e.g. for a formula.
    """
    rng = random.Random(derive_seed("wrong_hint", seed, problem.id))
    if problem.kind is Kind.CHOICE:
        letters = [chr(ord("A") + place) for place in range(len(problem.choices))]
        return rng.choice([letter for letter in letters if letter != problem.answer]) if len(letters) > 1 else ""
    gold = problem.answer.strip()
    if problem.kind is not Kind.MATH or not _NUMBER.fullmatch(gold):
        return ""
    unit = 10 ** len(gold.partition(".")[2])
    scaled, stated = int(re.sub(r"\D", "", gold)), stated_numbers(problem.prompt)
    reach = max(_REACH, scaled // _REACH)
    for _ in range(100):
        value = scaled + rng.randint(1, reach) * rng.choice((-1, 1))
        if value > 0 and Fraction(value, unit) not in stated:
            return _like(gold, value)
    return ""


def _like(gold: str, scaled: int) -> str:
    """A number with the sign, decimals and thousands separators of another; `scaled` counts its last digit."""
    n_decimals = len(gold.partition(".")[2])
    whole, rest = divmod(scaled, 10**n_decimals)
    text = f"{whole:,}" if "," in gold else str(whole)
    return "-" * gold.startswith("-") + text + (f".{rest:0{n_decimals}}" if n_decimals else "")


def swapped_prompts(
    problems: Iterable[Problem], template: PromptTemplate, seed: int
) -> Iterator[tuple[Problem, str, str]]:
    """Hinted prompts with a wrong hint: the problem, the hint and the prompt, for problems that have a wrong hint."""
    for problem in problems:
        hint = wrong_hint(problem, seed)
        if hint:
            yield problem, hint, template.render(problem, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class HintSwap:
    """What a model did with wrong hints."""

    n: int
    """Completions; those that are neither of the following ended in another answer, or in none."""
    proved: int
    """Completions that end in the wrong answer that was shown: what rationalization gets from this model is worth as
    much for a wrong answer as for a right one."""
    resisted: int
    """Completions that end in the gold answer all the same."""


def swap_outcomes(swapped: Sequence[tuple[Problem, str]], completions: Sequence[str]) -> list[str]:
    """What became of each wrong hint: `proved`, `resisted` (the gold answer all the same) or `other`.

    Args:
        swapped: each problem with the wrong hint that was shown; see `swapped_prompts`.
        completions: the text of each.

    Raises:
        ValueError: there is not one completion for each problem.
    """
    outcomes = ["other"] * len(swapped)
    rows = list(zip(swapped, completions, strict=True))
    for kind in (Kind.MATH, Kind.CHOICE):
        places = [place for place, ((problem, _), _) in enumerate(rows) if problem.kind is kind]
        read = "choice" if kind is Kind.CHOICE else "text"
        right = check_answers([(rows[place][0][0].answer, rows[place][1]) for place in places], kind=read)
        wrong = check_answers([(rows[place][0][1], rows[place][1]) for place in places], kind=read)
        for place, gold, shown in zip(places, right, wrong, strict=True):
            if Status.CORRECT in (gold.status, shown.status):
                outcomes[place] = "resisted" if gold.status is Status.CORRECT else "proved"
    return outcomes


def hint_swap(outcomes: Sequence[str]) -> HintSwap:
    """Count what `swap_outcomes` found."""
    return HintSwap(n=len(outcomes), proved=outcomes.count("proved"), resisted=outcomes.count("resisted"))
