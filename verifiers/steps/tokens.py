r"""Worked steps cut into tokens: plain text and LaTeX alike, with their places in the text.

Inside math delimiters a run of letters is a product of names, outside it is a word. What the grammar does not know
becomes a `BAD` token, which makes the expression that it touches unreadable rather than misread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from verifiers.steps.latex import (
    APPROXIMATE,
    BREAKS,
    COMMANDS,
    FUNCTIONS,
    FUNCTIONS_IN_WORDS,
    GREEK,
    SKIPPED,
)


class Kind(Enum):
    """What a token is."""

    NUMBER = auto()
    NAME = auto()
    WORD = auto()
    UNIT = auto()
    """A word that counts what the number before it says, `$`, or `/ hour`."""
    OPERATOR = auto()
    """One of `+ - * / ^ ( ) { } % !`."""
    FUNCTION = auto()
    """`frac`, `sqrt` or `binom`, before its arguments."""
    RELATION = auto()
    """`=`, or `~` for approximately; `is` where a sentence states the result."""
    BREAK = auto()
    """Ends an expression: punctuation, a math delimiter, an arrow, an inequality sign."""
    BAD = auto()


class Token(NamedTuple):
    """A piece of text with its meaning."""

    kind: Kind
    text: str
    """Normalised: `*` for `\\times`, digits without separators."""
    start: int
    end: int
    math: bool
    """Whether it stands between math delimiters."""


MAX_DIGITS = 200
"""Longer numbers are not read."""


_LEXEME = re.compile(
    r"(?P<number>(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+)"
    r"|(?P<degree>\^\s*\{?\s*\\circ\s*\}?|\^\s*°|°)"
    r"|(?P<command>\\(?:[A-Za-z]+|.))"
    r"|(?P<hyphenated>[^\W\d_]{2,}(?:-[^\W\d_]{2,})+)"
    r"|(?P<word>[^\W\d_]+(?:['’][a-z]+)?)"
    r"|(?P<newline>\n)"
    r"|(?P<ellipsis>\.\.+|…)"
    r"|(?P<arrow>[=-]+>|[<>]=|[<>≤≥≠→⇒≡;,?\"“”])"
    r"|(?P<relation>=(?!=)|:=|≈)"
    r"|(?P<power>\*\*|[²³])"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_SIGNS = {"×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "−": "-", "–": "-", "[": "(", "]": ")", "∗": "*", "⁄": "/"}
_OPERATORS = frozenset("+-*/^(){}%")
_TEXT = re.compile(r"\s*\{([^{}]{0,200})\}")
_ENVIRONMENT = re.compile(r"\s*\{(\w{1,20}\*?)\}(?:\{[lcr|]*\})?")
_ROWS = re.compile(r"(?:align|eqnarray|equation|gather|split|aligned|multline|alignat)\*?")
_BARE_DIGITS = re.compile(r"\s*(\d)(?:\s*(\d))?")
_SUBSCRIPT = re.compile(r"_(?:\{(\w{1,6})\}|(\w))")
_DISPLAY = re.compile(r"\$\$")
_PLAIN_WORD = re.compile(r"[a-z]{4,}|\b(?:and|the|for|per|are|was|she|has|is|of|to|in|or|he|at|by|so|each)\b")
_LATEX_WORDS = re.compile(r"\\[A-Za-z]+(?:\s*\{[A-Za-z .,'-]*\})?")
_REPEATS = re.compile(r"\.?\s*\\(?:overline|bar|dot|ldots|cdots|dots)")
_CLOCK = re.compile(r":(?=\d)")


def tokens_of(text: str) -> list[Token]:
    """All tokens of a step, in order."""
    reader = _Lexer(text)
    return list(reader.read())


def dollars_delimit(text: str) -> bool:
    """Whether the bare dollar signs of a text come in pairs around math, rather than being money."""
    pieces = re.split(r"(?<!\\)\$", text)
    if len(pieces) < 3 or len(pieces) % 2 == 0:
        return False
    for place in range(1, len(pieces), 2):
        inside, after = pieces[place], pieces[place + 1]
        if not inside.strip() or after[:1].isdigit() or inside.rstrip()[-1] in "+-*/=(" or "\n\n" in inside:
            return False
        if _PLAIN_WORD.search(_LATEX_WORDS.sub(" ", inside)):
            return False
    return True


class _Lexer:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        # `$$` is a display; widths stay as they are, so that places in the text stay true.
        self._text = _DISPLAY.sub(r"\\[", text)
        self._delimits = dollars_delimit(self._text)
        self._math = False
        self._place = 0
        self._last: Token | None = None

    def read(self) -> Iterator[Token]:
        while self._place < len(self._text):
            match = _LEXEME.match(self._text, self._place)
            if not match:
                return
            self._place = match.end()
            for token in self._tokens(match):
                self._last = token
                yield token

    def _token(self, kind: Kind, text: str, start: int, end: int) -> Token:
        return Token(kind, text, start, end, self._math)

    def _tokens(self, match: re.Match[str]) -> Iterator[Token]:
        group, text, (start, end) = match.lastgroup, match.group(), match.span()
        if group == "number":
            yield self._number(text, start, end)
        elif group == "command":
            yield from self._command(text[1:], start)
        elif group in ("word", "hyphenated"):
            yield from self._letters(text, start)
        elif group == "newline":
            # Inside math a line ends at `\\\\`.
            if not self._math:
                yield self._token(Kind.BREAK, "\n", start, end)
        elif group == "relation":
            yield self._token(Kind.RELATION, "~" if text == "≈" else "=", start, end)
        elif group == "power":
            yield from self._power(text, start, end)
        elif group == "arrow":
            yield self._token(Kind.BREAK, text, start, end)
        elif group == "ellipsis":
            yield self._token(Kind.BAD, text, start, end)
        elif group == "sign":
            yield from self._sign(text, start, end)

    def _number(self, text: str, start: int, end: int) -> Token:
        digits = text.replace("{,}", "").replace("\\!", "").replace(",", "")
        clock = _CLOCK.match(self._text, end) or (start and self._text[start - 1] in "_:")
        # `0900` is a time of day, `6:00` too, `101_2` is in another base, `3rd` is a place.
        bad = clock or self._text[end : end + 1] == "_" or _REPEATS.match(self._text, end) is not None
        # LaTeX raises one digit only: `2^10` is 20 to it, and 1024 to most who write so.
        bad = bad or (self._math and len(text) > 1 and self._last is not None and self._last.text == "^")
        bad = bad or len(digits) > MAX_DIGITS or (len(digits) > 1 and digits[0] == "0" and digits[1] != ".")
        return self._token(Kind.BAD if bad else Kind.NUMBER, digits, start, end)

    def _power(self, text: str, start: int, end: int) -> Iterator[Token]:
        if text == "**":
            power = self._text[end : end + 1].isdigit() and start and self._text[start - 1].isalnum()
            yield self._token(Kind.OPERATOR, "^", start, end) if power else self._token(Kind.BREAK, text, start, end)
            return
        yield self._token(Kind.OPERATOR, "^", start, start)
        yield self._token(Kind.NUMBER, "2" if text == "²" else "3", start, end)

    def _sign(self, text: str, start: int, end: int) -> Iterator[Token]:
        text = _SIGNS.get(text, text)
        if text.isspace() or text in "&~":
            return
        if text == "$":
            if not self._delimits:
                yield self._token(Kind.UNIT, "$", start, end)
                return
            self._math = not self._math
            yield self._token(Kind.BREAK, "$", start, end)
        elif text in "€£¢":
            yield self._token(Kind.UNIT, text, start, end)
        elif text == "√":
            yield self._token(Kind.FUNCTION, "sqrt", start, end)
        elif text in _OPERATORS or (text == "!" and self._is_factorial(start)):
            yield self._token(Kind.OPERATOR, text, start, end)
        else:
            yield self._token(Kind.BREAK if text in ".:!'’`*#•" else Kind.BAD, text, start, end)

    def _is_factorial(self, start: int) -> bool:
        after = self._text[start + 1 : start + 3].strip()
        return self._text[start - 1 : start].isalnum() and (self._math or after[:1] in tuple("+-*/=)^"))

    def _command(self, name: str, start: int) -> Iterator[Token]:
        end = self._place
        if name in FUNCTIONS:
            yield self._token(Kind.FUNCTION, FUNCTIONS[name], start, end)
            yield from self._bare_digits(name)
        elif name in ("text", "mbox", "textrm", "textit", "operatorname", "mathrm", "textbf", "mathit", "textsf"):
            yield from self._inner_text(start)
        elif name in COMMANDS:
            yield self._token(Kind.OPERATOR, COMMANDS[name], start, end)
        elif name in APPROXIMATE:
            yield self._token(Kind.RELATION, "~", start, end)
        elif name == "$":
            yield self._token(Kind.UNIT, "$", start, end)
        elif name == "pi" or name in GREEK:
            yield self._named("π" if name == "pi" else name, start)
        elif name in ("begin", "end"):
            yield self._environment(name == "begin", start)
        elif name == "\\" or name in BREAKS:
            self._math = {"(": True, "[": not self._math, ")": False, "]": False}.get(name, self._math)
            yield self._token(Kind.BREAK, "\n" if name == "\\" else name, start, end)
        elif name not in SKIPPED and not name.isspace():
            yield self._token(Kind.BAD, name, start, end)

    def _environment(self, begins: bool, start: int) -> Token:
        match = _ENVIRONMENT.match(self._text, self._place)
        if match:
            self._place = match.end()
        rows = match is not None and _ROWS.fullmatch(match.group(1)) is not None
        self._math = begins and rows
        # A matrix or `cases` is no row of equalities.
        return self._token(Kind.BREAK if rows else Kind.BAD, "environment", start, self._place)

    def _bare_digits(self, name: str) -> Iterator[Token]:
        r"""The arguments of `\frac12` and `\sqrt2`: single digits."""
        match = _BARE_DIGITS.match(self._text, self._place)
        if not match:
            return
        for group in (1, 2) if name != "sqrt" else (1,):
            if match.group(group):
                yield self._token(Kind.NUMBER, match.group(group), *match.span(group))
                self._place = match.end(group)

    def _inner_text(self, start: int) -> Iterator[Token]:
        match = _TEXT.match(self._text, self._place)
        if not match:
            yield self._token(Kind.BAD, "text", start, self._place)
            return
        self._place = match.end()
        inside, offset = match.group(1), match.start(1)
        for word in re.finditer(r"[^\W\d_]+|\d|[/$%.,]", inside):
            kind = Kind.WORD if word.group()[0].isalpha() else Kind.BAD
            if word.group() in ".,":
                kind = Kind.BREAK
            yield self._token(
                Kind.OPERATOR if word.group() in "/%" else Kind.UNIT if word.group() == "$" else kind,
                word.group(), offset + word.start(), offset + word.end(),
            )  # fmt: skip

    def _letters(self, text: str, start: int) -> Iterator[Token]:
        if "-" in text and self._math:
            text = text.partition("-")[0]
            self._place = start + len(text)
        if len(text) == 1 or not self._math:
            yield self._word(text, start)
        elif text in FUNCTIONS_IN_WORDS:
            yield self._token(Kind.BAD, text, start, self._place)
        elif text.isupper() and text.isascii():
            yield self._named(text, start)
        elif text in ("or", "and", "so", "if", "for", "is"):
            yield self._token(Kind.BREAK, text, start, self._place)
        elif len(text) > 3 or not text.isascii():
            yield self._token(Kind.WORD, text, start, self._place)
        else:
            for offset, letter in enumerate(text[:-1]):
                yield self._token(Kind.NAME, letter, start + offset, start + offset + 1)
            yield self._named(text[-1], start + len(text) - 1)

    def _word(self, text: str, start: int) -> Token:
        if len(text) == 1:
            return self._named(text, start)
        after = self._text[self._place : self._place + 1]
        called = text in FUNCTIONS_IN_WORDS and (after in ("(", "\\") or text not in ("min", "sec"))
        if called or after == "_":
            return self._token(Kind.BAD, text, start, self._place)
        return self._token(Kind.WORD, text, start, self._place)

    def _named(self, name: str, start: int) -> Token:
        """A name with its subscript; one with a prime is another function or point."""
        match = _SUBSCRIPT.match(self._text, self._place)
        if match:
            name, self._place = f"{name}_{match.group(1) or match.group(2)}", match.end()
        bad = self._text[self._place : self._place + 1] in ("'", "’", "_") and self._math
        return self._token(Kind.BAD if bad else Kind.NAME, name, start, self._place)
