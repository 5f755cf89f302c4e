r"""Where the two sides of an equality begin and end.

In running text only what touches the sign belongs to the equality, and only where it can be told where it begins and
ends: `75 + 10% of the price = 90` and `5 apples and 1/2 = 6` are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifiers.steps.latex import words
from verifiers.steps.tokens import Kind, Token
from verifiers.steps.units import ends_value, known_unit

_CONTINUES = words("percent thousand thousands hundred hundreds million millions billion remainder r mod modulo k half")
"""After a number, these say that the number is not all of the value."""
_LABELS = words(
    "day week month year step number no hour minute question level part class grade page chapter round case item row "
    "column option figure room week problem example equation method june july"
)
"""A number after one of these says which, not how many."""
_DELIMITERS = frozenset(("$", "(", ")", "[", "]"))
_PASSED = _DELIMITERS | {"\n", "quad", "qquad"}
_VALUE_KINDS = frozenset((Kind.NUMBER, Kind.NAME, Kind.UNIT, Kind.OPERATOR, Kind.FUNCTION))


def _trim(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.kind is not Kind.BREAK]


def left_of(tokens: Sequence[Token], begin: int, sign: int) -> list[Token]:
    """The expression that ends at a sign; empty if something reaches into it."""
    place, depth = sign, 0
    while place > begin:
        token = tokens[place - 1]
        if token.kind not in _VALUE_KINDS and token.text != "\n":
            break
        if token.kind is Kind.OPERATOR and token.text in ")}":
            depth += 1
        if token.kind is Kind.OPERATOR and token.text in "({":
            if depth == 0:
                break
            depth -= 1
        place -= 1
    found = _trim(tokens[place:sign])
    if depth:
        found = _without_numbering(found) if place == 0 or tokens[place - 1].kind is Kind.BREAK else []
    return found if found and _begins_here(tokens, place, found) else []


def _without_numbering(found: list[Token]) -> list[Token]:
    """`1) 5 + 3`: the number of an item is no part of the sum."""
    item = len(found) > 2 and found[0].kind is Kind.NUMBER and found[1].text == ")" and not found[0].math
    return found[2:] if item and sum((t.text == ")") - (t.text == "(") for t in found[2:]) == 0 else []


def _begins_here(tokens: Sequence[Token], place: int, found: Sequence[Token]) -> bool:
    """Whether the expression begins where it seems to, given what stands before it."""
    first, before = found[0], tokens[place - 1] if place else None
    if first.kind is Kind.OPERATOR and first.text not in ("-", "(", "{"):
        return False
    if first.kind is Kind.UNIT and first.text not in ("$", "€", "£"):
        return False
    if before is None or before.text == "\n":
        # A dash that begins a line may be the mark of an item.
        return first.text != "-" or first.math
    earlier = tokens[place - 2] if place > 1 else None
    if first.text == "-" and (before.kind is Kind.WORD or not (first.math or _touches(found))):
        # `apples - 3`, and the dash of a list.
        return False
    if earlier is not None and earlier.kind is Kind.OPERATOR and not ends_value(earlier):
        # `25 + his 1 + 2`
        return False
    if before.kind is Kind.WORD:
        return _begins_after_word(before, earlier, first)
    if before.kind is Kind.OPERATOR:
        return earlier is None or earlier.kind in (Kind.WORD, Kind.BREAK, Kind.RELATION)
    if before.kind is Kind.BREAK and earlier is not None:
        return _begins_after_break(before, earlier, first)
    return before.kind is not Kind.BAD


def _touches(found: Sequence[Token]) -> bool:
    """Whether the sign that begins an expression stands at what it belongs to."""
    return len(found) > 1 and found[0].end == found[1].start


def _begins_after_word(word: Token, earlier: Token | None, first: Token) -> bool:
    text = word.text.lower()
    if earlier is not None and ends_value(earlier) and (text in ("and", "of", "times") or word.math):
        # `5 and 1/2`, `10% of 40 + 2`, `3 \\text{ Y } 2`
        return False
    if first.text == "(":
        # `\\text{lcm}(12, 18)`
        return not word.math and word.end < first.start
    return not (text.removesuffix("s") in _LABELS and first.kind is Kind.NUMBER)


def _begins_after_break(mark: Token, earlier: Token, first: Token) -> bool:
    if mark.text == ",":
        # `14, 400 / 80` is one number to its writer; `\\frac26, \\frac28 = \\frac13, \\frac14` a list.
        return not _splits_number(mark, earlier, first) and not (first.math and ends_value(earlier))
    if mark.text in _DELIMITERS and first.math:
        return earlier.kind is not Kind.FUNCTION and earlier.text not in ("of", "times", "by")
    return True


def _splits_number(comma: Token, earlier: Token, first: Token) -> bool:
    numbers = earlier.kind is Kind.NUMBER and first.kind is Kind.NUMBER
    return numbers and (len(first.text) == 3 or comma.end == first.start)


def right_of(tokens: Sequence[Token], sign: int, end: int) -> list[Token]:
    """The expression that begins after a sign; empty if it goes on beyond what can be read."""
    place, depth = sign, 0
    while place < end:
        token = tokens[place]
        if token.kind not in _VALUE_KINDS and token.text != "\n":
            break
        if token.text == "times" or _begins_money(tokens, sign, place):
            # `20 times 2 people`: a product, or a count of times? `3 $20 bills`
            if token.text == "times":
                return []
            break
        if token.kind is Kind.OPERATOR and token.text in "({":
            if depth == 0 and _is_comment(tokens, sign, place):
                return _trim(tokens[sign:place])
            depth += 1
        if token.kind is Kind.OPERATOR and token.text in ")}":
            if depth == 0:
                break
            depth -= 1
        place += 1
    if depth:
        return []
    found = _trim(tokens[sign:place])
    return found if found and ends_value(found[-1]) and _ends_here(tokens, place, found) else []


def _begins_money(tokens: Sequence[Token], sign: int, place: int) -> bool:
    return place > sign and tokens[place].text == "$" and ends_value(tokens[place - 1]) and not tokens[place].math


def _is_comment(tokens: Sequence[Token], sign: int, place: int) -> bool:
    """`= 15 (5 * 3)`: in running text, a parenthesis after a space explains."""
    if place == sign or tokens[place].math or tokens[place].text == "{":
        return False
    return ends_value(tokens[place - 1]) and tokens[place - 1].end < tokens[place].start


def _ends_here(tokens: Sequence[Token], place: int, found: list[Token]) -> bool:
    """Whether the expression ends where it seems to, given what stands after it; takes in a unit behind a `$`."""
    after = list(tokens[place : place + 5])
    first = after[0] if after else None
    while after and after[0].kind is Kind.BREAK and after[0].text in _PASSED:
        after.pop(0)
    if not after or first is None:
        return True
    if first.kind is Kind.BREAK and after[0].kind is Kind.OPERATOR and first is not after[0]:
        # A sum that goes on in the next row, or behind the delimiter.
        return after[0].text not in "+*/^-" or (after[0].text == "-" and not found[-1].math)
    if after[0].kind is not Kind.WORD:
        return first.kind is not Kind.BAD and not (
            after[0].kind is Kind.BAD and after[0].text in ("pmod", "mod", "bmod")
        )
    if first is not after[0] and after[0].text == "percent":
        return False
    if first is not after[0] and known_unit(after[0]) and first.text in _DELIMITERS:
        found.append(after[0]._replace(kind=Kind.UNIT))
        return True
    return first is not after[0] or _ends_before_word(after, found)


def _ends_before_word(after: Sequence[Token], found: Sequence[Token]) -> bool:
    word, follows = after[0].text.lower(), after[1] if len(after) > 1 else None
    if follows is not None and (follows.text == "^" or (after[0].math and follows.kind is Kind.NUMBER)):
        # `1 \\text{ yd}^3`, `9\\text{C}4`
        return False
    if word == "and" and follows is not None and follows.kind is Kind.NUMBER:
        # `12 and 1/4`, `1 hour and 30 minutes`
        return not (known_unit(found[-1]) or (len(after) > 2 and after[2].text == "/"))
    if word == "of":
        return found[-1].kind in (Kind.UNIT, Kind.NUMBER) and not (len(found) > 1 and found[-2].text == "/")
    if word == "times":
        return follows is None or (follows.kind in (Kind.BREAK, Kind.WORD) and follows.text not in ("as", "the"))
    return word not in _CONTINUES
