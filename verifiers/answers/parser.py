r"""Tokens to the answer tree: recursive descent over LaTeX, plain and Unicode notation alike; pure, never raises.

`parse` gives None for whatever is not understood, since unparsed must never equal parsed. Where notation has more than
one convention the usual reading is taken: `1/2x` is (1/2)x, `\sin 2x` is sin(2x), `sin(x)^2` is (sin x)^2, `-x^2` is
-(x^2), `2\frac34` is a mixed number, `log` is natural, `f(x)` with f, g, F or G is a function and `a(x)` a product.
Size is bounded: see `MAX_TOKENS` and `MAX_DEPTH`; time is linear in the tokens.
"""

from __future__ import annotations

from functools import lru_cache

from verifiers.answers.atoms import Atoms
from verifiers.answers.lexer import Token, tokenize
from verifiers.answers.reader import Unreadable
from verifiers.answers.tree import DOMAINS, Call, Constant, Listing, Node, Relation, Symbol, negated

MAX_TOKENS = 1_500

_RELATIONS = {
    "=": "=", "==": "=", ":=": "=", r"\eq": "=",
    r"\parallel": "parallel", r"\perp": "perp",
    "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", r"\le": "<=", r"\ge": ">=",
    r"\ne": "!=", r"\in": "in", r"\notin": "notin", r"\equiv": "cong", r"\approx": "approx", r"\sim": "approx",
    r"\subset": "subset", r"\subseteq": "subset", "~": "approx", r"\simeq": "approx",
}  # fmt: skip
_LOGIC = (
    ("iff", (r"\iff", r"\Leftrightarrow", r"\leftrightarrow", "<=>", "<->", "iff")),
    ("implies", (r"\implies", r"\Rightarrow", r"\rightarrow", r"\to", "=>", "->", "implies")),
    ("xor", (r"\oplus", "xor", r"\veebar")),
    ("or", (r"\lor", r"\vee", "||")),
    ("and", (r"\land", r"\wedge", "&&")),
)
_NOT = (r"\neg", r"\lnot", "not", "!", "~")
_LOGIC_SIGNS = frozenset(_NOT).union(*(signs for _, signs in _LOGIC))
_SET_SIGNS = {r"\cup": "union", r"\cap": "intersection", r"\setminus": "difference", r"\backslash": "difference",
              "union": "union"}  # fmt: skip
_CONDITION_WORDS = frozenset({"for", "where", "if", "when", "with", "all", "any", "but", "except"})


@lru_cache(maxsize=20_000)
def parse(text: str, *, thousands: bool = True) -> Node | None:
    """Read canonical text as an answer.

    Args:
        text: canonical text (`verifiers.answers.canonical`).
        thousands: whether `81,256` is one number; without spaces only the other side can tell.

    Returns:
        The tree, or None.
    """
    tokens = tokenize(text, thousands=thousands)
    if tokens is None or len(tokens) < 2 or len(tokens) > MAX_TOKENS:
        return None
    try:
        return _Parser(tokens).answer()
    except Unreadable:
        return None


class _Parser(Atoms):
    """Statements and formulas; what a single factor is, `Atoms` knows."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self._speaks_logic = any(token.text in _LOGIC_SIGNS for token in tokens)

    def answer(self) -> Node:
        answer = self.listing()
        self.expect_end()
        return answer

    def listing(self) -> Node:
        """Clauses joined by commas, `and`, `or` and condition words."""
        items, joiners = [self.statement()], set[str]()
        while True:
            joined = self._joiner()
            if joined in ("or", "and") and self.at("end", "close"):
                raise Unreadable
            if not joined or self.at("end", "close"):
                break
            joiners.add(joined)
            items.append(self.statement())
        if len(items) == 1:
            return items[0]
        joiner = "or" if "or" in joiners else "and" if "and" in joiners else ","
        return Listing(tuple(items), joiner)

    def _joiner(self) -> str:
        """What joins the next clause: the strongest of a run of separators; empty if there is none."""
        found = ""
        while True:
            if self.take_sign(",", ";"):
                found = found or ","
            elif word := self.take_word("or", "and"):
                found = word
            elif self.peek().kind == "word" and self.peek().text in _CONDITION_WORDS:
                self.advance()
                found = found or ","
            else:
                return found

    def skip_condition_words(self) -> None:
        """Pass `if`, `for`, `when` in front of a condition."""
        while self.peek().kind == "word" and self.peek().text in _CONDITION_WORDS:
            self.advance()

    def statement(self) -> Node:
        return self._logic(0) if self._speaks_logic else self._relation()

    def _logic(self, level: int) -> Node:
        if level == len(_LOGIC):
            return self._negation()
        name, signs = _LOGIC[level]
        left = self._logic(level + 1)
        while self.take(*signs):
            left = Call(name, (left, self._logic(level + 1)))
        return left

    def _negation(self) -> Node:
        if self.take(*_NOT):
            with self.deeper():
                return Call("not", (self._negation(),))
        return self._relation()

    def _relation(self) -> Node:
        sides, signs = [self.set_expression()], []
        if isinstance(sides[0], Symbol) and not self._bars and self.take(":"):
            return Relation((sides[0], self.set_expression()), ("=",))
        while sign := self.take(*_RELATIONS):
            signs.append(_RELATIONS[sign])
            side = self.set_expression()
            is_domain = signs[-1] == "in" and isinstance(side, Symbol) and side.name in DOMAINS
            sides.append(Constant(side.name) if is_domain and isinstance(side, Symbol) else side)
        if not signs:
            modulus = self._modulus()
            return Call("congruent", (sides[0], modulus)) if modulus else sides[0]
        if signs == ["cong"]:
            return self._congruence(sides[0], sides[1])
        return Relation(tuple(sides), tuple(signs))

    def _congruence(self, left: Node, right: Node) -> Node:
        if isinstance(right, Call) and right.name == "mod":
            return Call("congruent", (left, *right.args))
        modulus = self._modulus()
        return Call("congruent", (left, right, modulus)) if modulus else Relation((left, right), ("=",))

    def _modulus(self) -> Node | None:
        if self.take(r"\pmod", r"\bmod", r"\mod", "mod"):
            return self.factor()
        if self.peek().text == "(" and self.peek(1).text in ("mod", r"\mod", r"\bmod"):
            self.advance(2)
            modulus = self.expression()
            self.require(")")
            return modulus
        return None

    def set_expression(self) -> Node:
        left = self.expression()
        while sign := self.take(*_SET_SIGNS):
            left = Call(_SET_SIGNS[sign], (left, self.expression()))
        # `R - {1}` and `R \ {1}` take away from a set.
        return left

    def expression(self) -> Node:
        r"""A sum; `a \pm b` keeps its sign as a node, for it is two answers."""
        with self.deeper():
            terms = [self._term()]
            while sign := self.take("+", "-", r"\pm", r"\mp", "+-", "+/-"):
                term = self._term()
                if sign in ("+", "-"):
                    terms.append(term if sign == "+" else negated(term))
                else:
                    left = terms[0] if len(terms) == 1 else Call("add", tuple(terms))
                    terms = [Call("mp" if sign == r"\mp" else "pm", (left, term))]
            return terms[0] if len(terms) == 1 else Call("add", tuple(terms))

    def _term(self) -> Node:
        sign = self.take("-", "+", r"\pm", r"\mp", "+-", "+/-")
        if sign:
            with self.deeper():
                inner = self._term()
            if sign in ("+", "-"):
                return inner if sign == "+" else negated(inner)
            return Call("mp" if sign == r"\mp" else "pm", (inner,))
        return self._product()

    def _product(self) -> Node:
        result = self._signed_factor()
        while True:
            if self.take("*", r"\cdot"):
                result = Call("mul", (result, self._signed_factor()))
            elif self.take("/", r"\div"):
                result = Call("div", (result, self._signed_factor()))
            elif self.take(r"\bmod", r"\mod", "mod"):
                result = Call("mod", (result, self._signed_factor()))
            elif self.starts_factor():
                result = Call("mul", (result, self.factor()))
            else:
                return result

    def _signed_factor(self) -> Node:
        """`2*-3` and `2^{-x}` may carry a sign in front of a factor."""
        if self.take("-"):
            with self.deeper():
                return negated(self._signed_factor())
        self.take("+")
        return self.factor()


def infinite(node: Node) -> bool:
    """Whether this is plus or minus infinity."""
    inner = node.args[0] if isinstance(node, Call) and node.name == "neg" else node
    return inner == Constant("infinity")
