"""Plain numbers, read exactly: integers, decimals, fractions, mixed and scientific numbers, percent, units.

`read` takes canonical text (`verifiers.canonical`) and returns an exact `Fraction` or nothing; no float is ever made.
`same` compares two of them by the policy stated in `verifiers.equivalence`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from verifiers.canonical import FUNCTIONS

MAX_DIGITS = 4_000
"""Python refuses to convert longer literals; those are compared as digits (`digits`)."""

_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_LITERAL = re.compile(rf"([-+]?)({_DECIMAL})", re.ASCII)
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:[eE]([-+]?\d{{1,3}})|\*10\^\{{([-+]?\d{{1,3}})\}})")
_POWER = re.compile(r"(\d{1,6})\^\{(-?\d{1,3})\}")
_RATIO = re.compile(rf"(-?{_DECIMAL})/(-?{_DECIMAL})|\\frac\{{(-?{_DECIMAL})\}}\{{(-?{_DECIMAL})\}}")
_MIXED = re.compile(r"(\d+) ?(\\frac\{\d+\}\{\d+\}|(?<= )\d+/\d+)")
_UNIT = re.compile(r"(.*?[\d})]) ?(°( ?[CF])?|[a-zA-Z](?:[a-zA-Z. /]|-(?=[a-z]{3})){0,60}(?:\^\{[23]\})?)")
_NOT_A_UNIT = frozenset({"and", "or", "not", "to", "by", "than", "over", "times", "plus", "minus", "half", "pi", "i"})
_SPOKEN = "zero one two three four five six seven eight nine ten eleven twelve"
_WORDS = {word: number for number, word in enumerate(_SPOKEN.split())}
_MULTIPLES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_TABLE = """
length: mm millimeter=1/1000; cm centimeter centimetre=1/100; m meter metre=1; km kilometer kilometre=1000;
  in inch inches=127/5000; ft foot feet=381/1250; yd yard=1143/1250; mi mile=201168/125
time: s sec second=1; min minute=60; h hr hour=3600; day=86400; week=604800
mass: mg milligram=1/1000; g gram=1; kg kilogram=1000; ton tonne=1000000
volume: ml milliliter millilitre=1/1000; l liter litre=1
money: cent=1/100; dollar usd=1
angle: ° degree deg=1
"""
_UNITS = {alias: (line.split(":")[0], Fraction(entry.split("=")[1].strip()))
          for line in _TABLE.replace(";\n ", ";").strip().splitlines()
          for entry in line.split(":")[1].split(";")
          for alias in entry.split("=")[0].split()}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A number as it was written."""

    value: Fraction
    rule: str
    """`integer`, `decimal` or `rational`."""
    step: Fraction = Fraction(0)
    """One unit of the last digit shown; 0 for exact notation (integers, fractions, fewer than two decimals)."""
    unit: str = ""
    """The unit as written, lower case; empty if none."""
    percent: bool = False


def digits(text: str) -> str:
    """A decimal literal of any length in one spelling (`+007.50` -> `7.5`); empty if the text is no such literal."""
    match = _LITERAL.fullmatch(text.strip())
    if match is None:
        return ""
    whole, _, fraction = match.group(2).replace(",", "").partition(".")
    spelling = (whole.lstrip("0") or "0") + ("." + fraction.rstrip("0") if fraction.rstrip("0") else "")
    return "-" + spelling if match.group(1) == "-" and spelling != "0" else spelling


def read(text: str) -> Plain | None:
    """Read canonical text as one plain number, perhaps with a percent sign or a unit; None if it is anything else."""
    if len(text) > MAX_DIGITS:
        return None
    if text.lower() in _WORDS:
        return Plain(value=Fraction(_WORDS[text.lower()]), rule="integer")
    body = re.sub(r" ?(?:%|per ?cent)$", "", text)
    if body != text:
        number = _signed(body)
        return number and replace(number, percent=True)
    return _signed(text) or _with_unit(text)


def same(gold: Plain, prediction: Plain) -> tuple[bool, str]:
    """Whether the prediction is the gold number, and the rule that said so."""
    scale = _conversion(gold.unit, prediction.unit)
    if scale is None:
        return False, "unit"
    value = prediction.value * scale
    if gold.percent != prediction.percent:
        # The sign may be left out as a unit (50% = 50) or carried out (50% = 0.5); one of the two must be written.
        other = value / 100 if prediction.percent else value * 100
        return any(_within(gold, candidate) for candidate in (value, other)), "percent"
    return _within(gold, value), "unit" if scale != 1 else _rule(gold, prediction)


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


def _with_unit(text: str) -> Plain | None:
    match = _UNIT.fullmatch(text) if len(text) <= 200 else None
    number = _signed(match.group(1)) if match else None
    if match is None or number is None:
        return None
    unit = match.group(2).strip().lower().rstrip(".")
    words = re.findall(r"[a-z]+|°", unit)
    # `min` is a unit as well as a function; a known unit is never a function of something.
    clash = _NOT_A_UNIT.intersection(words) or (not _known(unit) and FUNCTIONS.intersection(words))
    if clash or not _is_unit(text, unit, words):
        return None
    if words[0] in _MULTIPLES:
        factor = _MULTIPLES[words[0]]
        return replace(number, value=number.value * factor, step=number.step * factor, unit=" ".join(words[1:]))
    return replace(number, unit=unit)


def _is_unit(text: str, unit: str, words: list[str]) -> bool:
    """Known units count with and without a space; other words need one and three letters, so that `5ab` is algebra."""
    if _known(unit) or unit.startswith("°"):
        return len(unit) > 1 or unit == "°" or " " in text
    apart = re.search(r"[\d})] [a-zA-Z]", text) is not None
    return apart and len(words[0]) >= 2 and any(len(word) >= 3 or word in _UNITS for word in words)


def _known(unit: str) -> tuple[str, Fraction] | None:
    return _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))


def _conversion(gold: str, prediction: str) -> Fraction | None:
    """What turns the prediction's unit into the gold's: 1 if either is missing or unknown, None if they clash."""
    ours, theirs = _known(gold), _known(prediction)
    if ours is None or theirs is None or ours == theirs:
        return Fraction(1)
    return theirs[1] / ours[1] if ours[0] == theirs[0] else None
