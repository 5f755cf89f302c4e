"""A cursor over tokens, with the cap on nesting that keeps recursion shallow whatever a text holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from verifiers.answers.lexer import Token

MAX_DEPTH = 130
"""Deepest nesting; a bracket takes three levels of it, and a dozen frames of Python's stack."""


class Unreadable(Exception):
    """The text is not understood; never raised out of `parse`."""


class Reader:
    """Position in a list of tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._place = self._depth = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token `ahead` places on; the last one is of kind `end`."""
        return self._tokens[min(self._place + ahead, len(self._tokens) - 1)]

    def advance(self, count: int = 1) -> Token:
        """Pass tokens and return the first of them."""
        token = self.peek()
        self._place = min(self._place + count, len(self._tokens) - 1)
        return token

    def take(self, *texts: str) -> str:
        """Pass the next token if it is one of these and return its text; else an empty string."""
        token = self.peek()
        if token.kind != "end" and token.text in texts and token.kind != "name":
            self.advance()
            return token.text
        return ""

    def take_sign(self, *texts: str) -> str:
        """As `take`, for signs only."""
        return self.take(*texts) if self.peek().kind == "sign" else ""

    def take_word(self, *texts: str) -> str:
        """As `take`, for words only."""
        return self.take(*texts) if self.peek().kind == "word" else ""

    def require(self, *texts: str) -> str:
        """Pass the next token, which must be one of these."""
        if text := self.take(*texts):
            return text
        raise Unreadable

    def at(self, *kinds: str) -> bool:
        """Whether the next token is of one of these kinds; `close` is a closing bracket."""
        token = self.peek()
        closes = "close" in kinds and token.text in (")", "]", "}", r"\}", r"\rangle", "|", "&", "\\\\", r"\end")
        return token.kind in kinds or closes

    def expect_end(self) -> None:
        """Raise unless every token was passed."""
        if self.peek().kind != "end":
            raise Unreadable

    def mark(self) -> int:
        """The position, for `back`."""
        return self._place

    def back(self, place: int) -> None:
        """Return to a position."""
        self._place = place

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level further down, up to the cap."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable
        try:
            yield
        finally:
            self._depth -= 1

    def subscript(self) -> str:
        """`_1`, `_{max}`, or the 1 of plain `x1`; empty if there is none."""
        if not self.take("_"):
            follows = self.peek()
            # `x1` in plain text.
            tight = (
                follows.kind == "number" and not follows.space and follows.text.isdigit() and self.peek(1).text != "^"
            )
            return "_" + self.advance().text if tight else ""
        if not self.take("{"):
            return "_" + self.advance().text
        pieces = []
        while self.peek().text != "}":
            if self.peek().kind == "end":
                raise Unreadable
            pieces.append(self.advance().text)
        self.advance()
        return "_" + "".join(pieces)

    def primes(self) -> str:
        """The primes behind a name."""
        count = 0
        while self.take("'"):
            count += 1
        if self.peek().text == "^" and self.peek(2).text in (r"\prime", "'"):
            self.advance(4)
            count += 1
        return "'" * count
