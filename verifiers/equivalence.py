r"""Whether two bare answers are the same, as far as that shows without algebra: exact, pure, sympy is never imported.

Policy (what counts as the same answer):

- Exact numbers are exact at any size: 50623 is not 50625, 17 is not 17.001, 1/3 is not 0.333.
- A gold decimal with two decimals or more may be a rounded value: a prediction within half a unit of its last digit is
  the same (0.33 accepts 1/3, 3.14 accepts 3.1416). One decimal is exact (2.5 is not 2.54), and so is all else.
- A percent sign may be left out as a unit or carried out (50% = 50 = 0.5), but one side must show it: 50 is not 0.5.
- A unit may be left out. Two known units are converted (1 hour = 60 minutes) or clash (5 cm is not 5 kg).
- A name in front may be left out: `x = 5`, `f(x) = 5` and 5. Two different names are compared as equations.
- Tuples and intervals are ordered and keep their brackets; sets, bare lists and unions are unordered, multiplicity
  counts; a tuple equals a bare list in the same order; `a \pm b` is two answers; `and`, `or` and commas make a list.
- Words are compared without case, article and spaces; numbers in different bases, and 4:30 a.m. and p.m., differ.
- What was not read as a number never equals one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from verifiers import limits, plain
from verifiers.canonical import canonical, was_text
from verifiers.structure import Group, group
from verifiers.wording import is_words, letter, same_time, spoken


class Outcome(StrEnum):
    """What is known about a pair of answers."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class Decision(NamedTuple):
    """An outcome and the rule that reached it; for `UNKNOWN`, why there is none."""

    outcome: Outcome
    rule: str


Algebra = Callable[[str, str], Decision]
"""Decides a pair of canonical formulas that plain rules leave open; only the worker has one (`verifiers.symbolic`)."""

NEEDS_ALGEBRA = Decision(Outcome.UNKNOWN, "needs_algebra")
_MAX_DEPTH = 4
_MAX_ITEMS = 64
_NAME = re.compile(r"((?:[A-Za-z]|\\[a-z]+)'?(?:_\{\w+\})?(?:\([^()=]*\))?|[A-Za-z]{2,}(?: [A-Za-z]+){0,4})=(.+)")
_UNIT_WORDS = re.compile(r"(.*(?:\d|\\).*?) ?(?<![a-zA-Z\\])(?:(?:square|cubic|sq) )?"
                         r"(?!or |and |sin|cos|tan|log|exp)(?:[a-z]{4,}|cm|mm|km|ft|in|mi)(?:\^\{[23]\})?")  # fmt: skip
_BASE = re.compile(r"-?[0-9A-Za-z.]+_\{?\d+\}?")


def decide(gold: str, prediction: str, algebra: Algebra | None = None) -> Decision:
    """Decide whether a bare answer equals the gold.

    Args:
        gold: the right answer.
        prediction: the answer to check, without the solution around it.
        algebra: how to decide formulas; without it they are `UNKNOWN`.

    Returns:
        The outcome and the rule behind it.
    """
    if gold.strip() == prediction.strip():
        return Decision(Outcome.EQUAL, "string")
    ours, theirs = plain.digits(gold), plain.digits(prediction)
    if ours and theirs and "." not in ours:
        return _verdict(ours == theirs, "integer" if "." not in theirs else "decimal")
    if any(len(text) > limits.MAX_CHARS or limits.too_deep(text) for text in (gold, prediction)):
        # Two literals too long to convert still differ as digits.
        return Decision(Outcome.DIFFERENT, "decimal") if ours and theirs else Decision(Outcome.UNKNOWN, "too_large")
    marked = was_text(gold)
    return _canonical(canonical(gold), canonical(prediction), algebra, marked=marked, depth=0)


def _verdict(equal: bool, rule: str) -> Decision:
    return Decision(Outcome.EQUAL if equal else Outcome.DIFFERENT, rule)


def _canonical(gold: str, prediction: str, algebra: Algebra | None, *, marked: bool, depth: int) -> Decision:
    if gold == prediction:
        return Decision(Outcome.EQUAL, "string")
    gold, prediction = _approximate(gold), _approximate(prediction)
    for rule in (_choice, _time, _plain, _base):
        if decision := rule(gold, prediction):
            return decision
    gold, prediction = _without_units(*_unname(gold, prediction))
    for rule in (_plain, _base):
        if decision := rule(gold, prediction):
            return decision
    if gold == prediction:
        return Decision(Outcome.EQUAL, "string")
    return (
        _words(gold, prediction, marked=marked)
        or (_groups(gold, prediction, algebra, depth) if depth < _MAX_DEPTH else None)
        or (algebra(gold, prediction) if algebra else NEEDS_ALGEBRA)
    )


def _approximate(text: str) -> str:
    r"""`\frac13 \approx 0.33` states the exact value first; `x \\approx 3.14` names it."""
    left, mark, right = text.partition(r"\approx")
    if not mark or not right.strip():
        return text
    return right.strip() if re.fullmatch(r"[A-Za-z]?", left.strip()) else left.strip()


def _choice(gold: str, prediction: str) -> Decision | None:
    ours = letter(gold)
    theirs = letter(prediction)
    # A gold `A` may be an option or a variable; either way another single letter is another answer.
    return _verdict(ours == theirs, "choice") if ours and theirs else None


def _time(gold: str, prediction: str) -> Decision | None:
    same = same_time(gold, prediction)
    return None if same is None else _verdict(same, "time")


def _plain(gold: str, prediction: str) -> Decision | None:
    ours, theirs = plain.read(gold), plain.read(prediction)
    return _verdict(*plain.same(ours, theirs)) if ours and theirs else None


def _base(gold: str, prediction: str) -> Decision | None:
    """`1011_2`: the digits and the base are compared as written, for the parser would drop the base."""
    ours, theirs = (_BASE.fullmatch(text) and re.match(r"-?\d", text) is not None for text in (gold, prediction))
    if not ours and not theirs:
        return None
    if ours and theirs:
        return _verdict(gold.replace(" ", "") == prediction.replace(" ", ""), "base")
    return Decision(Outcome.DIFFERENT, "base") if plain.read(prediction if ours else gold) else None


def _unname(gold: str, prediction: str) -> tuple[str, str]:
    """Drop `x =` where one side has it or both have the same; an arithmetic left side (`2+3=5`) counts as a name."""
    ours, theirs = _named(gold), _named(prediction)
    if (ours and theirs and ours[0] != theirs[0]) or (not (ours and theirs) and "=" in gold and "=" in prediction):
        return gold, prediction
    return (ours[1] if ours else gold), (theirs[1] if theirs else prediction)


def _named(text: str) -> tuple[str, str] | None:
    if re.search(r"[<>]|\\[lg]e(?![a-z])", text):
        return None
    match = _NAME.fullmatch(text)
    if match and "=" not in match.group(2):
        return match.group(1), match.group(2)
    left, mark, right = text.rpartition("=")
    return ("", right) if mark and not re.search(r"[A-Za-z,]", left) else None


def _without_units(gold: str, prediction: str) -> tuple[str, str]:
    r"""Drop unit words behind a formula (`12\sqrt{13} feet`) that the other side leaves out."""
    ours, theirs = _UNIT_WORDS.fullmatch(gold), _UNIT_WORDS.fullmatch(prediction)
    if (ours is None) == (theirs is None):
        return gold, prediction
    return (ours.group(1) if ours else gold), (theirs.group(1) if theirs else prediction)


def _words(gold: str, prediction: str, *, marked: bool) -> Decision | None:
    ours, theirs = is_words(gold, marked=marked), is_words(prediction)
    if spoken(gold) == spoken(prediction) and re.fullmatch(r"[^\\^_]*[a-zA-Z]{4}[^\\^_]*", gold):
        return Decision(Outcome.EQUAL, "text")
    if ours and (theirs or not re.search(r"[\d\\]", prediction) or marked):
        return _verdict(spoken(gold) == spoken(prediction), "text")
    if (ours and plain.read(prediction)) or (theirs and plain.read(gold)):
        return Decision(Outcome.DIFFERENT, "text")
    return None


def _groups(gold: str, prediction: str, algebra: Algebra | None, depth: int) -> Decision | None:
    """Compare tuples, sets, lists and unions element by element; None where that is not the way to compare them."""
    ours, theirs = group(gold), group(prediction)
    if ours is None and theirs is not None and theirs.kind == "list":
        ours = group(gold, thousands=False)
    elif theirs is None and ours is not None and ours.kind == "list":
        theirs = group(prediction, thousands=False)
    if ours is None or theirs is None:
        return _group_with_atom(ours or theirs, prediction if ours else gold, algebra, depth, swap=ours is None)
    if "union" in (ours.kind, theirs.kind) and ours.kind != theirs.kind:
        return None
    if len(ours.items) > _MAX_ITEMS or len(theirs.items) > _MAX_ITEMS:
        return Decision(Outcome.UNKNOWN, "too_large")
    ordered = "tuple" in (ours.kind, theirs.kind)
    if ordered and ("set" in (ours.kind, theirs.kind) or not _same_brackets(ours, theirs)):
        return Decision(Outcome.DIFFERENT, ours.kind)
    if len(ours.items) != len(theirs.items):
        # Lists of relations and unions may be cut differently and still be one set.
        loose = ours.kind == "union" or re.search(r"[<>]|\\[lg]e(?![a-z])", gold + prediction)
        return None if loose else Decision(Outcome.DIFFERENT, ours.kind)

    def compare(left: str, right: str) -> Decision:
        return _canonical(left, right, algebra, marked=False, depth=depth + 1)

    match = _in_order if ordered else _in_any_order
    return Decision(match(ours.items, theirs.items, compare), ours.kind)


def _same_brackets(ours: Group, theirs: Group) -> bool:
    return ours.brackets == theirs.brackets or not (ours.brackets and theirs.brackets)


def _group_with_atom(found: Group | None, atom: str, algebra: Algebra | None, depth: int, *, swap: bool
                     ) -> Decision | None:  # fmt: skip
    """A set of one is its element; a group is never a plain number or a word."""
    if found is None:
        return None
    if found.kind == "set" and len(found.items) == 1:
        pair = (atom, found.items[0]) if swap else (found.items[0], atom)
        return _canonical(*pair, algebra, marked=False, depth=depth + 1)
    known = plain.read(atom) is not None or is_words(atom)
    return Decision(Outcome.DIFFERENT, found.kind) if known else None


def _in_order(ours: Sequence[str], theirs: Sequence[str], compare: Algebra) -> Outcome:
    outcomes = {compare(left, right).outcome for left, right in zip(ours, theirs, strict=True)}
    return next(outcome for outcome in (Outcome.DIFFERENT, Outcome.UNKNOWN, Outcome.EQUAL) if outcome in outcomes)


def _in_any_order(ours: Sequence[str], theirs: Sequence[str], compare: Algebra) -> Outcome:
    """Match the elements one to one; sorting would need an order that formulas do not have."""
    left, unsure, missing = list(theirs), False, False
    for item in ours:
        outcomes = [compare(item, other).outcome for other in left]
        if Outcome.EQUAL in outcomes:
            del left[outcomes.index(Outcome.EQUAL)]
            continue
        missing = True
        unsure = unsure or Outcome.UNKNOWN in outcomes
    if not missing:
        return Outcome.EQUAL
    return Outcome.UNKNOWN if unsure else Outcome.DIFFERENT
