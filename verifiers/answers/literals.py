"""Answers that are no formulas: option letters, times, dates, ratios, numbers in a base, Roman numerals.

Every comparator takes canonical text of both sides and returns a decision, or None where it has nothing to say.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.answers import plain
from verifiers.answers.decision import Decision, verdict

_MONTH_NAMES = """jan feb mar apr may jun jul aug sep oct nov dec"""
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?(?::(\d\d))?(?: ?([ap])\.? ?m\.?)?(?: (noon|midnight))?", re.IGNORECASE)
_LETTER = re.compile(r"(?:[A-Za-z ,'-]{3,}(?=\())?\(?([A-J])(?:[).:](?: .*)?|)", re.DOTALL)
_MONTHS = {month: number for number, month in enumerate(
    _MONTH_NAMES.split(), start=1)}  # fmt: skip
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_DATES = (
    re.compile(rf"{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?"),
    re.compile(rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}}))?"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
)
_WEEKDAY = re.compile(r"(?:mon|tues|wednes|thurs|fri|satur|sun)day,? ?", re.IGNORECASE)
_BASE = re.compile(
    r"\(?(-?[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)\)?(?:_\{?(\d+)\}?|_\{?\(?([a-z]+)\)?\}?| ?\(?(?:in )?base ?(\d+)\)?)"
)
_ROMAN = re.compile(r"(?=[IVXLCDM]{2,}$)(?=.*[IVX]|.{3})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
               "twelve": 12, "sixteen": 16, "hex": 16, "bin": 2, "oct": 8}  # fmt: skip


def letter(text: str) -> str:
    """The option letter that an answer is, begins or ends with (`B`, `(B)`, `B. water`, `water (B)`); else empty."""
    match = _LETTER.fullmatch(text.strip())
    return match.group(1) if match else ""


def choice(gold: str, prediction: str) -> Decision | None:
    """A gold `A` may be an option or a variable; either way another single letter is another answer."""
    ours, theirs = letter(gold), letter(prediction)
    return verdict(ours == theirs, "choice") if ours and theirs else None


def time(gold: str, prediction: str) -> Decision | None:
    """Times of day, in halves or in 24 hours; a.m. or p.m. may be left out on one side."""
    ours, theirs = _read_time(gold), _read_time(prediction)
    if ours is None or theirs is None or not (ours[2] or theirs[2]):
        return None  # without any sign of the clock, perhaps a ratio
    if ours[1] and theirs[1]:
        return verdict(ours[0] == theirs[0], "time")
    return verdict((ours[0] - theirs[0]) % (12 * 3600) == 0, "time")


def _read_time(text: str) -> tuple[int, bool, bool] | None:
    """Seconds since midnight, whether the half of the day is certain, and whether this can only be a time."""
    if text.lower() in ("noon", "midnight"):
        return (12 * 3600 if text.lower() == "noon" else 0), True, True
    match = _TIME.fullmatch(re.sub(r" ?o'?clock", ":00", text, flags=re.IGNORECASE))
    if match is None or not (match.group(2) or match.group(4) or match.group(5)):
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups()[:3])
    if hours > 24 or minutes > 59 or seconds > 59:
        return None
    half = (match.group(4) or {"noon": "p", "midnight": "a"}.get((match.group(5) or "").lower(), "")).lower()
    if half and hours <= 12:
        hours = hours % 12 + (12 if half == "p" else 0)
    return hours * 3600 + minutes * 60 + seconds, bool(half) or hours > 12, bool(half) or hours > 12 or "clock" in text


def date(gold: str, prediction: str) -> Decision | None:
    """Calendar dates in words or ISO form; the year and the weekday may be left out on one side."""
    ours, theirs = _read_date(gold), _read_date(prediction)
    if ours is None or theirs is None:
        return None
    years = {year for year in (ours[2], theirs[2]) if year}
    return verdict(ours[:2] == theirs[:2] and len(years) < 2, "date")


def _read_date(text: str) -> tuple[int, int, int] | None:
    text = _WEEKDAY.sub("", text).strip().removeprefix("the ")
    for pattern in _DATES:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        name = match["month"].lower()
        month = int(name) if name.isdigit() else _MONTHS.get(name[:3], 0)
        if month:
            return int(match["day"]), month, int(match["year"] or 0)
    return None


def roman(gold: str, prediction: str) -> Decision | None:
    """`XIV` is no product of letters; beside a number it is its value."""
    ours, theirs = _ROMAN.fullmatch(gold), _ROMAN.fullmatch(prediction)
    if ours and theirs:
        return verdict(gold == prediction, "roman")
    number = plain.read(prediction if ours else gold) if ours or theirs else None
    return verdict(number.value == _roman_value(gold if ours else prediction), "roman") if number else None


def _roman_value(text: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}[sign] for sign in text]
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))


def base(gold: str, prediction: str) -> Decision | None:
    """`1011_2` is its value; a numeral that names no base is in base ten, so 40 is not 40_9."""
    ours, theirs = _read_base(gold), _read_base(prediction)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        return verdict(ours == theirs, "base")
    found, number = (ours, plain.read(prediction)) if ours is not None else (theirs, plain.read(gold))
    return None if found is None or number is None else verdict(found == number.value, "base")


def _read_base(text: str) -> Fraction | None:
    """The value of a numeral that names its base."""
    if match := re.fullmatch(r"0([xob])([0-9A-Fa-f]+)", text):
        text = f"{match.group(2)}_{ {'x': 16, 'o': 8, 'b': 2}[match.group(1)] }"
    match = _BASE.fullmatch(text.strip())
    if match is None or not any(char.isdigit() for char in text[: match.end(1)] + text[match.end(1) :]):
        return None
    number = int(match.group(2) or match.group(4) or _BASE_NAMES.get(match.group(3) or "", 0))
    whole, _, fraction = match.group(1).removeprefix("-").partition(".")
    if not 2 <= number <= 36 or any(int(char, 36) >= number for char in whole + fraction):
        return None
    value = Fraction(int(whole + fraction, number), number ** len(fraction))
    return -value if match.group(1).startswith("-") else value
