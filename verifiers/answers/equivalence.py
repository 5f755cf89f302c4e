r"""Whether two bare answers are the same, decided in this process in bounded time; sympy is never imported here.

The way of a pair: canonical text, then what is no formula (letters, times, dates, ratios, bases), plain numbers, then
the typed tree of each side and the comparator for their types.

Policy (what counts as the same answer):

- Exact numbers are exact at any size: 50623 is not 50625, 17 is not 17.001, 1/3 is not 0.333.
- A gold decimal with two decimals or more may be a rounded value: a prediction within half a unit of its last digit is
  the same (0.33 accepts 1/3, 3.14 accepts 3.1416). One decimal is exact (2.5 is not 2.54), and so is all else.
- A percent sign may be left out as a unit or carried out (50% = 50 = 0.5), but one side must show it: 50 is not 0.5.
- A unit may be left out. Two known units are converted (1 hour = 60 minutes) or clash (5 cm is not 5 kg).
- A name in front may be left out: `x = 5`, `f(x) = 5` and 5. Two different names are compared as equations.
- Formulas are the same when they have the same values on the reals, whatever their form.
- Tuples are ordered and keep their brackets; sets, bare lists and unions are unordered, and in lists multiplicity
  counts; a tuple equals a bare list in the same order; `a \pm b` is two answers; `and`, `or` and commas make a list.
- Intervals, inequalities, set-builders and their unions are the same when they hold the same numbers.
- Words are compared without case, article, inflection and words that say nothing; numbers in different bases differ,
  and so do 4:30 a.m. and p.m.
- What was not read never equals what was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from verifiers.answers import compare as trees
from verifiers.answers import expressions, limits, literals, numeric, plain, units, words
from verifiers.answers.canonical import canonical, was_text
from verifiers.answers.decision import Decision, Outcome, all_of, different, equal, unknown, verdict
from verifiers.answers.parser import parse
from verifiers.answers.policy import PROFILES, Policy, review
from verifiers.answers.sections import sections
from verifiers.answers.tree import Call, Constant, FiniteSet, Listing, Node, Number, is_expression

Algebra = Callable[[Node, Node], Decision]
"""A second opinion on a pair of trees; only the worker has one (`verifiers.answers.symbolic`)."""

_DEFAULT = PROFILES["default"]
FOR_ALGEBRA = frozenset({"no_value"})
"""Why the comparators were not certain, where a second opinion can help."""
_UNIT_WORDS = re.compile(
    r"(.*(?:\d|\\|[a-z]\^).*?) ?(?<![a-zA-Z\\])(?:(?:square|cubic|sq) )?"
    r"(?!or |and |sin|cos|tan|log|exp)(?:(?:[a-z]{3,} ){0,2}[a-z]{4,}|cm|mm|km|ft|in|mi|rad)(?:\^\{[23]\})?"
)
_VAGUE = re.compile(
    r"(?:(?:approximately|approx\.?|about|roughly|around|exactly|equals?|only|just|at|on|when|if|is|are|then|so|thus|hence"
    r"|therefore|we (?:get|have)) |\\approx|~) ?",
    re.IGNORECASE,
)
_CURRENCIES = {"€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee"}
_INTEGERS = re.compile(
    r",? ?(?:for |where |with |and )?(?:(?:any|all|every|each|some) )?(?:integers? ([a-z])"
    r"|([a-z]) (?:is |being )?(?:(?:an|any|some) )?(?:arbitrary )?integers?)$"
)
_REMARK = re.compile(
    r",? ?(?:for|where) (?:(?:some|any|all|every|each) )?(?:\w+ )?(?:constants?|numbers?|reals?)(?: \w)?$"
    r"|,? ?for (?:all|every|any|each) (?:real )?[a-zA-Z]$"
    r"|,? ?where \w is (?:a|an|any|some)(?: \w+)? constant$"
)
_SUCH_THAT = re.compile(
    r"^(?:all|any|every|each) (?:[a-z]+ )*(?:integers?|numbers?|reals?|values?)(?: of)? "
    r"(?=[a-zA-Z] ?(?:<|>|\\[lgn]e(?![a-z])|=))"
)
_EXCEPT = re.compile(r"all (?:real|reals)\b[a-z ]*?(?: x)? (?:except|but|other than|excluding)(?: for)?(?: x=)? ?(.+)")
_RATIO = re.compile(r"[^:=<>|,]+(?: ?: ?[^:=<>|,]+)+|[\d.]+(?: to [\d.]+)+")
_LABEL = re.compile(r"^[A-Za-z](?:_\{?\w+\}?)? ?= ?(?=[^=]+$)")
_DOMAIN_NOTE = re.compile(r" ?\(([^()]*\\in(?![a-z])[^()]*)\)$")
_REMARK_IN_PARENS = re.compile(r"([-\d.,/]*\d) ?\(((?:[a-zA-Z'’,-]+ )+[a-zA-Z'’-]+|[a-zA-Z]{4,})\)")
_UNIT_IN_PARENS = re.compile(r"(.*[\d})]) ?\(([a-zA-Z°/^{}\d ]{1,20})\)")
_UNION = re.compile(r"(?<=[)\]}]) ?[Uu] ?(?=\(|\[|\\\{)")


def decide(gold: str, prediction: str, algebra: Algebra | None = None, policy: Policy = _DEFAULT) -> Decision:
    """Decide whether a bare answer equals the gold.

    Args:
        gold: the right answer.
        prediction: the answer to check, without the solution around it.
        algebra: whom to ask where the comparators cannot tell.
        policy: what may differ.

    Returns:
        The outcome and the rule behind it; for `UNKNOWN`, why: `too_large`, `gold_unparsed`, `prediction_unparsed`, ...
    """
    if gold.strip() == prediction.strip():
        return equal("string")
    ours, theirs = plain.digits(gold), plain.digits(prediction)
    if ours and theirs and ("." not in ours or ours == theirs):
        return verdict(ours == theirs, "integer" if "." not in theirs else "decimal")
    if (ours_by := sections(gold)) and ours_by.keys() == (theirs_by := sections(prediction)).keys():
        return all_of((decide(ours_by[name], theirs_by[name], algebra, policy) for name in ours_by), "sections")
    if any(limits.refusal(text) for text in (gold, prediction)):
        # Two literals too long to convert still differ as digits.
        return different("decimal") if ours and theirs else unknown("too_large")
    with numeric.budget():
        currencies, marked = (_currency(gold), _currency(prediction)), was_text(gold)
        gold, prediction = canonical(gold), canonical(prediction)
        decision = _canonical(gold, prediction, algebra, currencies, marked=marked)
        return decision if policy is _DEFAULT else review(decision, gold, prediction, policy)


def read(text: str, *, thousands: bool = True) -> Node | None:
    """The typed tree of canonical text; None if it is not understood."""
    if words.means_nothing(text):
        return FiniteSet(())
    if words.means_all_reals(text):
        return Constant("R")
    text = _DOMAIN_NOTE.sub(r", \1", _UNION.sub(r"\\cup ", text))
    text = _INTEGERS.sub(lambda m: f", {m.group(1) or m.group(2)}\\in\\mathbb{{Z}}", text)
    text = _SUCH_THAT.sub("", _REMARK.sub("", text))
    if match := _EXCEPT.fullmatch(text):
        text = rf"\mathbb{{R}}\setminus\{{{match.group(1)}\}}"
    if re.fullmatch(r"\][^\[\]]+\[", text):
        text = f"({text[1:-1]})"  # an open interval as it is written in France
    if r"\cup" in text and re.search(r"[<>]|\\[lg]e(?![a-z])", text) and not re.search(r"[(\[]|\\\{", text):
        text = text.replace(r"\cup", " or ")
    return parse(text, thousands=thousands)


def _currency(text: str) -> str:
    """The money that a sign names, as a unit; a `$` that comes in pairs is a delimiter."""
    for sign, unit in _CURRENCIES.items():
        if sign in text:
            return unit
    return "dollar" if "\\$" in text or (text.count("$") == 1 and re.search(r"\$ ?\d", text)) else ""


def _canonical(
    gold: str, prediction: str, algebra: Algebra | None, currencies: tuple[str, str], *, marked: bool
) -> Decision:
    gold, prediction = _tidy(gold), _tidy(prediction)
    if gold == prediction and not (currencies[0] and currencies[1] and currencies[0] != currencies[1]):
        return equal("string")
    if decision := _plain(gold, prediction, currencies):
        return decision
    for rule in (literals.choice, literals.roman, literals.time, literals.date, literals.base, _ratios):
        if decision := rule(*_bare(gold, prediction)):
            return decision
    if decision := words.compare(gold, prediction, marked=marked):
        return decision
    gold, prediction = _without_units(gold, prediction)
    if decision := _plain(gold, prediction, currencies) or words.compare(gold, prediction, marked=marked):
        return decision
    if gold == prediction:
        return equal("string")
    return _trees(gold, prediction, algebra)


def _bare(gold: str, prediction: str) -> tuple[str, str]:
    """Both sides without `x =` where only one has it, and without parentheses round the whole."""
    if ("=" in gold) != ("=" in prediction):
        gold, prediction = (_LABEL.sub("", side) for side in (gold, prediction))
    gold, prediction = (side[1:-1] if re.fullmatch(r"\([^(),]+\)", side) else side for side in (gold, prediction))
    return gold, prediction


def _tidy(text: str) -> str:
    """Without a word in front that changes nothing, and with the parentheses round a unit or a remark taken off."""
    while match := _VAGUE.match(text):
        text = text[match.end() :]
    if match := _REMARK_IN_PARENS.fullmatch(text):
        return f"{match.group(1)} {match.group(2)}"
    match = _UNIT_IN_PARENS.fullmatch(text)
    return f"{match.group(1)} {match.group(2)}" if match and units.read(match.group(2)) else text


def _plain(gold: str, prediction: str, currencies: tuple[str, str]) -> Decision | None:
    ours, theirs = plain.read(gold), plain.read(prediction)
    if ours is None or theirs is None:
        return None
    ours, theirs = (replace(number, unit=number.unit or money)
                    for number, money in zip((ours, theirs), currencies, strict=True))  # fmt: skip
    if "gbp" in currencies:  # `40 pounds` is money beside `£40`
        ours, theirs = (replace(number, unit="gbp" if number.unit.startswith("pound") else number.unit)
                        for number in (ours, theirs))  # fmt: skip
    return verdict(*plain.same(ours, theirs))


def _without_units(gold: str, prediction: str) -> tuple[str, str]:
    r"""Drop unit words behind a formula (`12\sqrt{13} feet`) that the other side leaves out."""
    ours, theirs = _UNIT_WORDS.fullmatch(gold), _UNIT_WORDS.fullmatch(prediction)
    if ours and theirs:
        units = [match.string[match.end(1) :].strip() for match in (ours, theirs)]
        return (ours.group(1), theirs.group(1)) if units[0] == units[1] else (gold, prediction)
    return (ours.group(1) if ours else gold), (theirs.group(1) if theirs else prediction)


def _trees(gold: str, prediction: str, algebra: Algebra | None) -> Decision:
    ours, theirs = read(gold) or _right_side(gold), read(prediction) or _right_side(prediction)
    if ours is None:
        return unknown("gold_unparsed")
    if theirs is None:
        # Text that is no formula at all is not the number that was asked for; of a formula we cannot be as sure.
        return different("unparsed") if isinstance(ours, Number) else unknown("prediction_unparsed")
    if isinstance(ours, Listing) != isinstance(theirs, Listing):
        # `81,256` is one number beside a number and two beside a list; without spaces only the other side can tell.
        ours, theirs = _cut_alike(gold, ours, theirs), _cut_alike(prediction, theirs, ours)
    decision = trees.compare(ours, theirs)
    if decision.outcome is Outcome.UNKNOWN and decision.rule in FOR_ALGEBRA:
        if not (expressions.moderate(ours) and expressions.moderate(theirs)):
            return unknown("too_large")
        return algebra(ours, theirs) if algebra else decision
    return decision


def _right_side(text: str) -> Node | None:
    r"""What an equation says whose left side is not understood: `\lim ... = 1`."""
    left, _, right = text.rpartition("=")
    return parse(right) if left and not re.search(r"[<>]", left) else None


def _ratios(gold: str, prediction: str) -> Decision | None:
    """`3:4` is 6:8 and 3/4; `1:2:3` is a list up to a factor."""
    ours, theirs = _parts(gold), _parts(prediction)
    if max(len(ours), len(theirs)) < 2:
        return None
    for parts, others in ((ours, theirs), (theirs, ours)):
        if len(parts) == 2 and len(others) == 1:
            others.append(Number(Fraction(1)))
    if len(ours) != len(theirs) or not all(map(is_expression, (*ours, *theirs))):
        return None
    products = ((Call("mul", (left, theirs[0])), Call("mul", (ours[0], right)))
                for left, right in zip(ours[1:], theirs[1:], strict=True))  # fmt: skip
    return all_of((trees.compare(*pair) for pair in products), "ratio")


def _parts(text: str) -> list[Node]:
    pieces = re.split(r" ?: ?| to ", text) if _RATIO.fullmatch(text) else [text]
    found = [parse(piece) for piece in pieces]
    return [part for part in found if part is not None] if None not in found else []


def _cut_alike(text: str, tree: Node, other: Node) -> Node:
    if isinstance(other, Listing) and "," in text:
        return read(text, thousands=False) or tree
    return tree
