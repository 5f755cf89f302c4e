r"""Numbers as they are written: decimals, repeating and scientific ones, mixed numbers; exact."""

from __future__ import annotations

from fractions import Fraction

from verifiers.answers.brackets import Brackets
from verifiers.answers.reader import Unreadable
from verifiers.answers.tree import Node, Number

_MAX_EXPONENT = 5_000


class Digits(Brackets):
    """Reads what follows the digits of a number, as far as it belongs to it."""

    def number(self, text: str) -> Node:
        """The number that starts with these digits."""
        digits, _, exponent = text.partition("e")
        whole, _, fraction = digits.partition(".")
        value, step = Fraction(int(whole + fraction or "0"), 10 ** len(fraction)), Fraction(1, 10 ** len(fraction))
        if "." in digits and (period := self._period(fraction)):
            nines = (10 ** len(period) - 1) * 10 ** len(fraction)
            return Number(value + Fraction(int(period), nines))
        if exponent:
            if abs(int(exponent)) > _MAX_EXPONENT:
                raise Unreadable
            value, step = value * Fraction(10) ** int(exponent), step * Fraction(10) ** int(exponent)
        number = Number(value, step if len(fraction) >= 2 else Fraction(0))
        return self._mixed(number) if not fraction and not exponent else number

    def _period(self, digits: str) -> str:
        r"""The repeating digits behind a decimal: `0.\overline{3}`, `0.(3)`; empty if there are none."""
        marked = self.peek().text in (r"\overline", r"\bar", r"\dot") and self.peek(1).text == "{"
        if self.peek().text in (r"\ldots", r"\dots", r"\cdots"):
            return self._period_shown(digits)
        if not marked and self.peek().text != "(":
            return ""
        inside, close = self.peek(2 if marked else 1), self.peek(3 if marked else 2)
        if inside.kind != "number" or not inside.text.isdigit() or close.text not in ("}", ")"):
            return ""
        self.advance(4 if marked else 3)
        return inside.text

    def _period_shown(self, digits: str) -> str:
        r"""What goes on in `0.333\ldots`: the shortest run of digits that was written twice or more, up to the end."""
        for length in range(1, len(digits) // 2 + 1):
            period = digits[-length:]
            if digits.endswith(period * (3 if length == 1 else 2)):
                self.advance()
                return period
        raise Unreadable

    def _mixed(self, whole: Number) -> Node:
        r"""`2\frac34` is 2.75; a fraction that is not proper and made of digits is a factor as any other."""
        if self.peek().text != r"\frac":
            return whole
        parts = [self.peek(place) for place in (2, 5)]
        if not all(part.kind == "number" and part.text.isdigit() for part in parts) or self.peek(6).text != "}":
            return whole
        top, bottom = (int(part.text) for part in parts)
        if not 0 < top < bottom:
            return whole
        self.advance(7)
        return Number(whole.value + Fraction(top, bottom))
