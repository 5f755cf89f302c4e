r"""Bracketed notation: groups, sets and set-builders, matrices, piecewise functions, sums; the base of the parser.

`Brackets` needs what stands inside brackets (`statement`, `listing`, `expression`, `factor`), which
`verifiers.answers.atoms` and `verifiers.answers.parser` add.
"""

from __future__ import annotations

from verifiers.answers.reader import Reader, Unreadable
from verifiers.answers.tree import (
    DOMAINS,
    Builder,
    Call,
    Cases,
    Constant,
    FiniteSet,
    Group,
    Listing,
    Matrix,
    Node,
    Relation,
    Symbol,
    negated,
)

_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "smallmatrix", "Bmatrix", "array", "vmatrix", "Vmatrix"})
OTHERWISE = Symbol("otherwise")
"""The condition of a last branch."""


class Brackets(Reader):
    """Reads what stands in brackets of any kind."""

    _bars = 0
    """How many bars of absolute values are open, so that the next bar closes one."""

    def expression(self) -> Node:
        """A sum; see `verifiers.answers.parser`."""
        raise NotImplementedError

    def listing(self) -> Node:
        """Statements side by side; see `verifiers.answers.parser`."""
        raise NotImplementedError

    def statement(self) -> Node:
        """One statement; see `verifiers.answers.parser`."""
        raise NotImplementedError

    def skip_condition_words(self) -> None:
        """Pass `if`, `for`, `when`; see `verifiers.answers.parser`."""
        raise NotImplementedError

    def factor(self) -> Node:
        """One factor; see `verifiers.answers.atoms`."""
        raise NotImplementedError

    def starts_factor(self) -> bool:
        """Whether a factor follows; see `verifiers.answers.atoms`."""
        raise NotImplementedError

    def atom(self) -> Node:
        """A factor without its power; see `verifiers.answers.atoms`."""
        raise NotImplementedError

    def _items(self, *closing: str) -> tuple[Node, ...]:
        """Statements up to a closing bracket, which is not passed."""
        if self.peek().text in closing:
            return ()
        with self.deeper():
            items = [self.statement()]
            while self.take_sign(",", ";") or self.take_word("and", "or"):
                items.append(self.statement())
        return tuple(items)

    def _group(self, opening: str) -> Node:
        bars, self._bars = self._bars, 0
        items = self._items(")", "]")
        self._bars = bars
        brackets = opening + self.require(")", "]")
        if len(items) == 1 and brackets in ("()", "[]"):
            return items[0] if brackets == "()" or not isinstance(items[0], Group) else Group(items, brackets)
        if not items:
            raise Unreadable
        return Group(items, brackets)

    def _braced(self) -> Node:
        if self.take("}"):
            raise Unreadable
        bars, self._bars = self._bars, 0
        items = self._items("}")
        self._bars = bars
        if len(items) == 1 and self.take(r"\choose"):
            items = (Call("binom", (items[0], self.expression())),)
        self.require("}")
        return items[0] if len(items) == 1 else FiniteSet(items)

    def _braced_or_factor(self) -> Node:
        if self.take("{"):
            return self._braced()
        if self.take("-"):
            with self.deeper():
                return negated(self._braced_or_factor())
        return self.atom()

    def _set(self) -> Node:
        if self.take(r"\}"):
            return FiniteSet(())
        bars, self._bars = self._bars, 1
        items = self._items(r"\}", "|", ":")
        self._bars = bars
        if len(items) == 1 and self.take("|", ":"):
            condition = self.listing()
            self.require(r"\}")
            return Builder(items[0], condition)
        self.require(r"\}")
        return FiniteSet(items)

    def _domain(self) -> Node:
        letter = self.require_letter()
        sign = self._domain_sign()
        constant = Constant(letter)
        return Call(f"domain{sign}", (constant,)) if sign else constant

    def require_letter(self) -> str:
        """The letter of a number set, in braces or bare."""
        braced = self.take("{")
        token = self.advance()
        if token.text not in DOMAINS:
            raise Unreadable
        if braced:
            self.require("}")
        return token.text

    def _domain_sign(self) -> str:
        if self.peek().text in ("^", "_") and self.peek(2).text in ("+", "-", "*") and self.peek(1).text == "{":
            sign = self.peek(2).text
            self.advance(4)
            return sign
        if self.peek().text in ("^", "_") and self.peek(1).text in ("+", "-", "*"):
            return self.advance(2) and self._tokens[self._place - 1].text
        return ""

    def _accented(self, name: str) -> Node:
        place = self.mark()
        braced = self.take("{")
        letters = []
        while self.peek().kind in ("name", "number") or (braced and self.peek().text in ("_", "{", "'")):
            letters.append(self.advance().text)
            if not braced and name not in ("angle", "triangle"):
                break
        if braced and name in ("overline", "bar") and self.peek().text != "}":
            self.back(place)
            return Call("conj", (self._braced_or_factor(),))
        if not letters:
            raise Unreadable
        if braced:
            self.require("}")
        joined = "".join(letters)
        if name in ("angle", "triangle", "overline"):
            # Angle ABC is angle CBA, segment AB is BA, and a triangle has no first corner.
            joined = "".join(sorted(joined)) if name == "triangle" else min(joined, joined[::-1])
        return Symbol(f"{name} {joined}" + self.subscript() + self.primes())

    def _angled(self, _: str) -> Node:
        items = self._items(r"\rangle")
        self.require(r"\rangle")
        return Group(items, "<>")

    def _norm(self, _: str) -> Node:
        inner = self.expression()
        self.require(r"\|")
        return Call("norm", (inner,))

    def _sum(self, name: str) -> Node:
        self.require("_")
        lower = self._braced_or_factor()
        self.require("^")
        upper = self._braced_or_factor()
        if (
            not isinstance(lower, Relation)
            or lower.signs != ("=",)
            or not isinstance(lower.sides[0], (Symbol, Constant))
        ):
            raise Unreadable
        body = self.factor()
        while self.starts_factor() or self.peek().text in ("*", "/"):
            operator = "div" if self.take("/") else "mul"
            self.take("*")
            body = Call(operator, (body, self.factor()))
        return Call(name, (lower.sides[0], lower.sides[1], upper, body))

    def _environment(self, _: str) -> Node:
        self.require("{")
        name = "".join(self.advance().text for _ in range(12) if self.peek().text != "}")
        self.require("}")
        if name == "array" and self.take("{"):
            while self.advance().text not in ("}", ""):
                continue
        if name not in _MATRICES | {"cases"}:
            raise Unreadable
        rows = self._rows()
        self.require("{")
        while self.advance().text not in ("}", ""):
            continue
        if name == "cases":
            return _cases(rows)
        if len({len(row) for row in rows}) != 1:
            raise Unreadable
        return Call("det", (Matrix(rows),)) if name == "vmatrix" else Matrix(rows)

    def _rows(self) -> tuple[tuple[Node, ...], ...]:
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while True:
            self.skip_condition_words()
            row.append(self.listing())
            if self.take("&"):
                continue
            rows.append(tuple(row))
            row = []
            if self.take("\\\\") and self.peek().text != r"\end":
                continue
            self.require(r"\end")
            return tuple(rows)


def _cases(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """A piecewise function, or a system of equations."""
    if all(len(row) == 1 for row in rows) and all(isinstance(row[0], Relation) for row in rows):
        return Listing(tuple(row[0] for row in rows), "and")
    branches = []
    for row in rows:
        value, test = (row[0], row[1]) if len(row) == 2 else _split_case(row[0])
        branches.append((value, None if test == OTHERWISE else test))
    return Cases(tuple(branches))


def _split_case(node: Node) -> tuple[Node, Node | None]:
    if isinstance(node, Listing) and len(node.items) == 2:
        return node.items[0], node.items[1]
    return node, None
