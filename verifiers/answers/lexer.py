r"""Canonical answer text to tokens; one linear scan, pure.

Runs of letters are cut by what is known: functions and connectives are one token, short runs are products of
single-letter variables (`ab`, `2xy`), and longer unknown runs are words, which no formula contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FUNCTION_NAMES = """sin cos tan cot sec csc
    asin acos atan acot asec acsc sinh cosh tanh coth sech csch asinh acosh atanh log ln
    log10 log2 exp sqrt cbrt abs floor ceil sign max min gcd lcm det factorial binomial binom mod Re Im arg ratio"""
_GREEK_NAMES = """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma
    tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell"""


class Token(NamedTuple):
    """A piece of an answer."""

    kind: str
    """`number`, `name`, `function`, `word`, `command`, `sign` or `end`."""
    text: str
    space: bool
    """Whether white space stands in front of it."""


ALIASES = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "arsinh": "asinh", "arcosh": "acosh",
    "artanh": "atanh", "tg": "tan", "ctg": "cot", "arctg": "atan", "cosec": "csc", "ceiling": "ceil",
    "sgn": "sign", "cbrt": "cbrt", "lg": "log10", "Abs": "abs", "Rational": "ratio", "Fraction": "ratio",
    "fraction": "ratio", "nCr": "binom", "comb": "binom", "choose": "binom", "Gamma": "gamma",
}  # fmt: skip
FUNCTIONS = frozenset(_FUNCTION_NAMES.split()) | frozenset(ALIASES)
_CONNECTIVE_WORDS = """or and not for where if when with in otherwise xor union implies iff mod to else all any over but
    except is are"""
_CONNECTIVES = frozenset(_CONNECTIVE_WORDS.split())
_CONSTANTS = frozenset({"pi", "infinity", "infty", "inf", "oo", "DNE"})
GREEK = frozenset(_GREEK_NAMES.split())
_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?(?:\.(?!\d|\.))?|\.\d+)"
    r"|(?P<command>\\(?:[a-zA-Z]+|[{}|\\]))"
    r"|(?P<letters>[a-zA-Z]+)"
    r"|(?P<sign><=>|<->|<=|>=|!=|==|=>|->|:=|\+/?-|\*\*|&&|!!|[-+*/^_=<>(){}\[\]|,;:!%'&°~?])",
    re.ASCII,
)
_EXPONENT = re.compile(r"[eE]([-+]?\d{1,4})(?![\d.a-zA-Z])")
_GLUED = re.compile(r"(\w{1,2}?)(sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi)")
_MAX_PRODUCT = 3


def tokenize(text: str, *, thousands: bool = True) -> list[Token] | None:
    """Cut canonical text into tokens.

    Args:
        text: canonical text.
        thousands: whether `81,256` is one number where no bracket stands round it.

    Returns:
        The tokens, closed by one of kind `end`; None if a sign is unknown.
    """
    tokens: list[Token] = []
    place, depth = 0, 0
    while place < len(text):
        space = text[place].isspace()
        if space:
            while place < len(text) and text[place].isspace():
                place += 1
            continue
        space = place > 0 and text[place - 1].isspace()
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        place = match.end()
        piece = match.group()
        depth += (piece in ("(", "[", r"\{")) - (piece in (")", "]", r"\}"))
        if match.lastgroup == "number":
            if "," in piece and (depth > 0 or not thousands):
                piece = re.match(r"\d+", piece).group()  # type: ignore[union-attr]
                place = match.start() + len(piece)
            elif exponent := _EXPONENT.match(text, place):
                piece, place = piece + "e" + exponent.group(1), exponent.end()
            tokens.append(Token("number", piece.replace(",", ""), space))
        elif match.lastgroup == "letters":
            tokens += _letters(piece, space)
        else:
            tokens.append(Token(str(match.lastgroup), piece, space))
    return [*tokens, Token("end", "", False)]


def _letters(run: str, space: bool) -> Iterator[Token]:
    lower = run if run in FUNCTIONS or run in _CONSTANTS else run.lower()
    if lower in FUNCTIONS and (len(run) > 2 or run in FUNCTIONS):
        yield Token("function", ALIASES.get(lower, lower), space)
    elif lower in _CONNECTIVES and (run.islower() or run.isupper()):
        yield Token("word", lower, space)
    elif lower in _CONSTANTS or run in GREEK:
        yield Token("command", "\\" + ("infty" if lower in ("infinity", "inf", "oo") else run), space)
    elif len(run) <= _MAX_PRODUCT and not (glued := _GLUED.fullmatch(run)):
        for place, letter in enumerate(run):
            yield Token("name", letter, space and place == 0)
    elif (glued := _GLUED.fullmatch(run)) is not None:
        for place, letter in enumerate(glued.group(1)):
            yield Token("name", letter, space and place == 0)
        yield from _letters(glued.group(2), False)
    else:
        yield Token("word", run, space)
