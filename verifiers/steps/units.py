"""Units and the words of arithmetic, turned into tokens: `3 hours times 60 min/hour is 180 minutes`.

Only units whose size is certain are known; any other word that stands where a unit does (`3 apples + 4 apples`) is
left out. Months and years have no fixed number of days, and metric and imperial units are not mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from verifiers.steps.latex import words
from verifiers.steps.ratio import Ratio
from verifiers.steps.tokens import Kind, Token

_SIZES: dict[str, dict[str, Fraction | int]] = {
    "time": {
        "second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "hr": 3600, "day": 86400, "week": 604800,
    },
    "calendar": {"month": 1, "year": 12, "decade": 120},
    "length": {"inch": 1, "inche": 1, "foot": 12, "feet": 12, "ft": 12, "yard": 36, "yd": 36, "mile": 63360},
    "metre": {
        "mm": 1, "millimeter": 1, "cm": 10, "centimeter": 10, "meter": 1000, "metre": 1000, "km": 10**6,
        "kilometer": 10**6, "kilometre": 10**6,
    },
    "weight": {"ounce": 1, "oz": 1, "pound": 16, "lb": 16},
    "gram": {"mg": 1, "milligram": 1, "gram": 1000, "kg": 10**6, "kilogram": 10**6},
    "volume": {"cup": 1, "pint": 2, "quart": 4, "gallon": 16},
    "litre": {"ml": 1, "milliliter": 1, "liter": 1000, "litre": 1000},
    "money": {"$": 100, "dollar": 100, "cent": 1, "¢": 1, "penny": 1, "pennie": 1},
    "euro": {"€": 1, "euro": 1},
    "pound sterling": {"£": 1},
    "count": {"dozen": 12},
}  # fmt: skip
_UNITS = {name: (dimension, Fraction(size)) for dimension, sizes in _SIZES.items() for name, size in sizes.items()}

_NO_UNITS = words(
    "of because since on and or to in at for than by is are was were per plus minus times equals equal if then so "
    "which that with as when while but more less fewer the an every from into percent "
    "gives makes leaves has have costs get gets we she he they it you there"
)
_LINKS = frozenset(("of", "in", "per"))
"""What may join the words of a unit: `3 boxes of pens * 2`."""
MAX_WORDS = 5
_OPERATOR_WORDS = {"plus": "+", "minus": "-", "times": "times"}
_BY = {"multiplied": "*", "divided": "/"}


def known_unit(token: Token) -> tuple[str, Fraction] | None:
    """Dimension and size of a unit token; None if its word is no known unit. `/hour` is the size of an hour."""
    name = token.text.lstrip("/").lower()
    return _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))


def unit_value(text: str) -> Ratio:
    """What a unit multiplies the number before it with; 1 for an unknown one."""
    known = known_unit(Token(Kind.UNIT, text, 0, 0, False))
    if known is None:
        return Ratio.of(1)
    value = Ratio.of(known[1]) * (Ratio.of(1) if known[0] == "count" else Ratio.name(f"[{known[0]}]"))
    return Ratio.of(1) / value if text.startswith("/") else value


def with_words(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with the words that are units or arithmetic turned into what they mean."""
    out: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        made, used = _meaning(tokens, place, out)
        out.append(made or token)
        place += used
    return out


def _meaning(tokens: Sequence[Token], place: int, out: Sequence[Token]) -> tuple[Token | None, int]:
    """What the token at `place` means instead of itself, if anything, and how many tokens that takes up."""
    token, before = tokens[place], out[-1] if out else None
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    if token.kind is Kind.NAME and not token.math:
        speed = before is not None and before.kind is Kind.NUMBER and token.text == "m" and after and after.text == "/"
        return token._replace(kind=Kind.UNIT, text="meter") if speed else _single_letter(token, before, after), 1
    if before is None or not ends_value(before):
        return None, 1
    if (
        token.text == "-"
        and after
        and after.kind is Kind.WORD
        and before.end == token.start
        and token.end == after.start
    ):
        # `50-foot`
        return token._replace(kind=Kind.BREAK), 1
    if token.text == "/" and after and not token.math and after.text in ("s", "h", "m") and before.kind is Kind.UNIT:
        return _joined(tokens[place : place + 2], Kind.UNIT, f"/{after.text}"), 2
    if token.text == "/" and after and after.kind is Kind.WORD:
        return _joined(tokens[place : place + 2], Kind.UNIT, f"/{after.text}"), 2
    if token.kind is not Kind.WORD:
        return None, 1
    if token.text == "per" and after and after.kind is Kind.WORD and before.kind is not Kind.NAME:
        return _joined(tokens[place : place + 2], Kind.UNIT, f"/{after.text}"), 2
    return _word(tokens, place, out)


def _word(tokens: Sequence[Token], place: int, out: Sequence[Token]) -> tuple[Token | None, int]:
    token, word = tokens[place], tokens[place].text.lower()
    follows = [other.text.lower() for other in tokens[place + 1 : place + 3]]
    if word in _BY and follows[:1] == ["by"] and _begins_value(tokens, place + 2):
        return _joined(tokens[place : place + 2], Kind.OPERATOR, _BY[word]), 2
    if word in ("is", "are") and follows == ["equal", "to"]:
        return _joined(tokens[place : place + 3], Kind.RELATION, "is"), 3
    if word in ("equals", "equal") and _begins_value(tokens, place + 1):
        return token._replace(kind=Kind.RELATION, text="is"), 1
    if word in _OPERATOR_WORDS and _begins_value(tokens, place + 1):
        return token._replace(kind=Kind.OPERATOR, text=_OPERATOR_WORDS[word]), 1
    if word == "is" and _begins_value(tokens, place + 1):
        return token._replace(kind=Kind.RELATION, text="is"), 1
    if word == "percent":
        return token._replace(kind=Kind.OPERATOR, text="%"), 1
    if word == "of":
        fraction = _begins_value(tokens, place + 1) and _is_fraction(out)
        return (token._replace(kind=Kind.OPERATOR, text="of") if fraction else None), 1
    if word in _NO_UNITS or out[-1].kind is Kind.NAME:
        return None, 1
    return _unit(tokens, place)


def _unit(tokens: Sequence[Token], place: int) -> tuple[Token | None, int]:
    """A known unit, or one or two other words with arithmetic on both sides."""
    token = tokens[place]
    if known_unit(token):
        return token._replace(kind=Kind.UNIT), 1
    in_a_row = 0
    for width in range(1, MAX_WORDS + 1):
        words, after = tokens[place : place + width], tokens[place + width : place + width + 1]
        last = words[-1]
        if last.kind is not Kind.WORD or not after or (last.text.lower() in _NO_UNITS and last.text not in _LINKS):
            break
        in_a_row = 0 if last.text in _LINKS else in_a_row + 1
        if not in_a_row:
            continue
        if in_a_row > 2:
            break
        times = after[0].text in ("x", "X", "times") and _begins_value(tokens, place + width + 1)
        if (
            times
            or after[0].kind is Kind.RELATION
            or (after[0].kind is Kind.OPERATOR and after[0].text in "+-*/)}")
            or (after[0].text == "per" and width + place + 1 < len(tokens))
        ):
            return _joined(words, Kind.UNIT, last.text), width
    return None, 1


def _single_letter(token: Token, before: Token | None, after: Token | None) -> Token | None:
    """`x` between numbers is a sign; `a`, `A` and `I` among words are words."""
    if token.text in ("x", "X") and before and after:
        apart = after.text == "(" and token.end < after.start
        counted = before.kind is Kind.WORD or (ends_value(before) and before.kind is not Kind.NAME)
        if counted and (after.kind in (Kind.NUMBER, Kind.UNIT) or apart):
            return token._replace(kind=Kind.OPERATOR, text="*")
    if token.text in ("a", "A", "I", "s", "t"):
        sides = [side for side in (before, after) if side is not None]
        if not sides or any(side.kind in (Kind.WORD, Kind.BREAK) for side in sides):
            return token._replace(kind=Kind.WORD)
    return None


def ends_value(token: Token) -> bool:
    """Whether an expression may end with this token."""
    return token.kind in (Kind.NUMBER, Kind.NAME, Kind.UNIT) or (
        token.kind is Kind.OPERATOR and token.text in (")", "}", "%", "!")
    )


def _begins_value(tokens: Sequence[Token], place: int) -> bool:
    if place >= len(tokens):
        return False
    token = tokens[place]
    prefix = token.kind is Kind.UNIT and token.text in ("$", "€", "£")
    return prefix or token.kind in (Kind.NUMBER, Kind.FUNCTION) or token.text == "("


def _is_fraction(out: Sequence[Token]) -> bool:
    """Whether what was read last is `20%`, `1/3` or a fraction of LaTeX."""
    if out[-1].text in ("%", "}"):
        return True
    kinds = [token.kind is Kind.NUMBER or token.text == "/" for token in out[-3:]]
    return len(kinds) == 3 and all(kinds) and out[-2].text == "/"


def _joined(tokens: Sequence[Token], kind: Kind, text: str) -> Token:
    return Token(kind, text, tokens[0].start, tokens[-1].end, tokens[0].math)
