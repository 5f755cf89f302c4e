"""Plain numbers, read exactly: integers, decimals, fractions, mixed and scientific numbers, percent, units.

`read` takes canonical text (`verifiers.answers.canonical`) and returns an exact `Fraction` or nothing; no
float is ever made. `same` compares two of them by the policy stated in `verifiers.answers.equivalence`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from verifiers.answers import numerals, units
from verifiers.answers.canonical import FUNCTIONS

MAX_DIGITS = 4_000
"""Python refuses to convert longer literals; those are compared as digits (`digits`)."""

_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_LITERAL = re.compile(rf"([-+]?)({_DECIMAL})", re.ASCII)
_WRAPPING = re.compile(r"^(?:\s|\\?\$|\\\(|\*\*)+|(?:\s|\$|\\\)|\*\*)+$|(?<=\d)\.(?:\s|\$|\*\*)*$")
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:[eE]([-+]?\d{{1,3}})|\*10\^\{{([-+]?\d{{1,3}})\}})")
_POWER = re.compile(r"(\d{1,6})\^\{(-?\d{1,3})\}")
_RATIO = re.compile(rf"(-?{_DECIMAL})/(-?{_DECIMAL})|\\frac\{{(-?{_DECIMAL})\}}\{{(-?{_DECIMAL})\}}")
_MIXED = re.compile(r"(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+/\d+)")
_UNIT = re.compile(r"(.*?[\d})]) ?(°( ?[CF])?|[a-zA-Z](?:[a-zA-Z. /*]|-(?=[a-z]{3})|\^\{-?\d\}){0,60})")
_COMPOUND = re.compile(r"(\d+(?:\.\d+)?) ?([a-zA-Z]+)(?:,? and |, ?| )(\d+(?:\.\d+)?) ?([a-zA-Z]+)"
                       r"(?:(?:,? and |, ?| )(\d+(?:\.\d+)?) ?([a-zA-Z]+))?")  # fmt: skip
_ARC = re.compile(r"(\d+)° ?(\d+)'(?: ?(\d+)'')?")
_CHANCE = re.compile(r"(\d{1,9}) (?:in|out of) (\d{1,9})")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)(?: [A-Za-z]+)?")
_SPACED_GROUPS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?")
_CONTINENTAL = re.compile(r"-?\d{1,3}(?:\.\d{3})+,\d+|-?\d{1,3}(?:\.\d{3}){2,}")
_NOT_A_UNIT = frozenset(
    {
        "and",
        "or",
        "not",
        "to",
        "by",
        "than",
        "over",
        "times",
        "plus",
        "minus",
        "half",
        "pi",
        "i",
        "e",
        "is",
        "are",
        "was",
        "maybe",
    }
)
_MULTIPLES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A number as it was written."""

    value: Fraction
    rule: str
    """`integer`, `decimal` or `rational`."""
    step: Fraction = Fraction(0)
    """One unit of the last digit shown; 0 for exact notation (integers, fractions, fewer than two decimals)."""
    unit: str = ""
    """The unit as written; empty if none."""
    percent: bool = False


def digits(text: str) -> str:
    """A decimal literal of any length in one spelling (`+007.50`, `$7.5$` -> `7.5`); empty if the text is none."""
    match = _LITERAL.fullmatch(text.strip(" \n\t$") if len(text) > 40 else _WRAPPING.sub("", text))
    if match is None:
        return ""
    whole, _, fraction = match.group(2).replace(",", "").partition(".")
    spelling = (whole.lstrip("0") or "0") + ("." + fraction.rstrip("0") if fraction.rstrip("0") else "")
    return "-" + spelling if match.group(1) == "-" and spelling != "0" else spelling


def read(text: str) -> Plain | None:
    """Read canonical text as one plain number, perhaps with a percent sign or a unit; None if it is anything else."""
    if len(text) > MAX_DIGITS:
        return None
    if match := _CHANCE.fullmatch(text):
        return Plain(value=Fraction(int(match.group(1)), int(match.group(2)) or 1), rule="rational")
    if text[:1].isalpha():
        spoken = numerals.read(text)
        if spoken is None:
            spelled = _with_digits(text)
            return None if spelled == text else _compound(spelled) or _with_unit(spelled)
        return Plain(value=spoken, rule="integer" if spoken.denominator == 1 else "rational")
    if match := _ARC.fullmatch(text):
        degrees, minutes, seconds = (Fraction(part or 0) for part in match.groups())
        return Plain(value=degrees + minutes / 60 + seconds / 3600, rule="rational", unit="°")
    body = re.sub(r" ?(?:%|per ?cent)$", "", text)
    if body != text:
        number = _signed(body)
        return number and replace(number, percent=True)
    return _signed(text) or _regrouped(text) or _with_unit(text) or _compound(text)


def same(gold: Plain, prediction: Plain) -> tuple[bool, str]:
    """Whether the prediction is the gold number, and the rule that said so."""
    scale = units.conversion(gold.unit, prediction.unit)
    if (
        scale is None
        or (gold.percent and units.read(prediction.unit))
        or (prediction.percent and units.read(gold.unit))
    ):
        return False, "unit"
    value = prediction.value * scale
    if gold.percent != prediction.percent:
        # The sign may be left out as a unit (50% = 50) or carried out (50% = 0.5); one of the two must be written.
        other = value / 100 if prediction.percent else value * 100
        return any(_within(gold, candidate) for candidate in (value, other)), "percent"
    return _within(gold, value), "unit" if scale != 1 else _rule(gold, prediction)


def exactly_same(gold: Plain, prediction: Plain) -> bool:
    """Whether two numbers are equal with no allowance for rounding."""
    return same(replace(gold, step=Fraction(0)), prediction)[0]


def _rule(gold: Plain, prediction: Plain) -> str:
    return next(rule for rule in ("rational", "decimal", "integer") if rule in (gold.rule, prediction.rule))


def _within(gold: Plain, value: Fraction) -> bool:
    return abs(gold.value - value) <= gold.step / 2


def _signed(text: str) -> Plain | None:
    text = text.strip()
    while len(text) > 2 and text[0] + text[-1] in ("()", "{}") and _unsigned(text[1:-1].lstrip("+-")):
        text = text[1:-1]
    negative = text.startswith("-")
    number = _unsigned(text[1:].strip() if text[:1] in ("-", "+") and text[:1] else text)
    return replace(number, value=-number.value) if number and negative else number


def _unsigned(text: str) -> Plain | None:
    if re.fullmatch(_DECIMAL, text):
        return _decimal(text)
    if match := _SCIENTIFIC.fullmatch(text):
        base, power = _decimal(match.group(1)), Fraction(10) ** int(match.group(2) or match.group(3))
        return replace(base, value=base.value * power, step=base.step * power)
    if match := _POWER.fullmatch(text):
        base_value, exponent = int(match.group(1)), int(match.group(2))
        return Plain(value=Fraction(base_value) ** exponent, rule="integer") if base_value else None
    if match := _MIXED.fullmatch(text):
        part = _ratio(match.group(2))
        return part and replace(part, value=int(match.group(1)) + part.value)
    return _ratio(text)


def _decimal(text: str) -> Plain:
    whole, _, fraction = text.replace(",", "").partition(".")
    value = Fraction(int((whole + fraction) or "0"), 10 ** len(fraction))
    # One decimal is as a rule the exact value (2.5 hours); from two on it may be a rounded one.
    step = Fraction(1, 10 ** len(fraction)) if len(fraction) >= 2 else Fraction(0)
    return Plain(value=value, rule="decimal" if fraction else "integer", step=step)


def _ratio(text: str) -> Plain | None:
    match = _RATIO.fullmatch(text)
    if match is None:
        return None
    top, bottom = (Fraction(part.replace(",", "")) for part in match.groups() if part is not None)
    return Plain(value=top / bottom, rule="rational") if bottom else None


def _with_digits(text: str) -> str:
    """`twelve dollars and fifty cents` with its numbers in digits; the text itself where no unit follows."""
    if len(text) > 120 or not re.fullmatch(r"[A-Za-z -]+", text):
        return text
    pieces, run = [], list[str]()
    for word in [*text.split(), ""]:
        if word and numerals.read(" ".join([*run, word])) is not None:
            run.append(word)
            continue
        if run:
            pieces.append(str(numerals.read(" ".join(run))))
            run = []
            if word and numerals.read(word) is not None:
                run = [word]
                continue
        pieces.append(word)
    return " ".join(piece for piece in pieces if piece) if any(piece.isalpha() for piece in pieces) else text


def _regrouped(text: str) -> Plain | None:
    """Other ways to group digits: `1 234 567`, `12,34,567`, `1.234.567,8`; and ordinals."""
    if match := _ORDINAL.fullmatch(text):
        return Plain(value=Fraction(int(match.group(1))), rule="integer")
    if _SPACED_GROUPS.fullmatch(text):
        return _signed(text.replace(" ", ""))
    if _INDIAN.fullmatch(text):
        return _signed(text.replace(",", ""))
    if _CONTINENTAL.fullmatch(text):
        return _signed(text.replace(".", "").replace(",", "."))
    return None


def _with_unit(text: str) -> Plain | None:
    match = _UNIT.fullmatch(text) if len(text) <= 200 else None
    number = (_signed(match.group(1)) or _regrouped(match.group(1))) if match else None
    if match is None or number is None:
        return None
    unit = match.group(2).strip().rstrip(".").replace("° ", "°")
    words = re.findall(r"[a-z]+|°", unit.lower())
    known = units.read(unit) is not None
    # `min` is a unit as well as a function; a known unit is never a function of something.
    clash = _NOT_A_UNIT.intersection(words) or (not known and FUNCTIONS.intersection(words))
    if clash or not _is_unit(text, unit, words, known=known):
        return None
    if words[0] in _MULTIPLES:
        factor = _MULTIPLES[words[0]]
        rest = unit.split(" ", 1)[1] if " " in unit else ""
        return replace(number, value=number.value * factor, step=number.step * factor, unit=rest)
    return replace(number, unit=unit)


def _is_unit(text: str, unit: str, words: list[str], *, known: bool) -> bool:
    """Known units count with and without a space; other words need one and three letters, so that `5ab` is algebra."""
    apart = re.search(r"[\d})] [a-zA-Z]", text) is not None
    if known:
        return len(unit) > 1 or unit == "°" or apart
    return apart and len(words[0]) >= 2 and any(len(word) >= 3 or units.read(word) for word in words)


def _compound(text: str) -> Plain | None:
    """`1 hour 30 minutes`, `5 ft 3 in`: a sum of quantities of one kind."""
    match = _COMPOUND.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        return None
    amounts, names = match.groups()[::2], match.groups()[1::2]
    found = [units.read(name) for name in names if name]
    if None in found or len({unit.dimensions for unit in found if unit}) != 1:
        return None
    first = found[0]
    assert first is not None
    total = sum(
        Fraction(amount) * unit.factor / first.factor for amount, unit in zip(amounts, found, strict=False) if unit
    )
    return Plain(value=Fraction(total), rule="rational", unit=str(names[0]))
