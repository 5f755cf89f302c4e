r"""Single factors: numbers, names, functions, fractions, roots, brackets, matrices, sums; the lower half of the parser.

`Atoms` needs the upper half (`expression`, `listing`, `statement`), which `verifiers.answers.parser` adds.
"""

from __future__ import annotations

from fractions import Fraction

from verifiers.answers.brackets import OTHERWISE
from verifiers.answers.digits import Digits
from verifiers.answers.lexer import ALIASES, FUNCTIONS, GREEK
from verifiers.answers.reader import Unreadable
from verifiers.answers.tree import (
    DOMAINS,
    Call,
    Constant,
    FiniteSet,
    Group,
    Node,
    Number,
    Relation,
    Symbol,
    negated,
)

_ACCENTS = frozenset({r"\vec", r"\hat", r"\bar", r"\overline", r"\overrightarrow", r"\tilde", r"\dot", r"\mathbf",
                      r"\mathcal", r"\widehat", r"\widetilde", r"\angle", r"\triangle", r"\underline"})  # fmt: skip
_FENCES = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil")}
_INVERSES = {"sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot", "sec": "asec", "csc": "acsc",
             "sinh": "asinh", "cosh": "acosh", "tanh": "atanh"}  # fmt: skip
_CALLABLE = frozenset("fgFG")
_APPLIED_GREEK = frozenset({"phi", "varphi", "zeta", "sigma", "tau", "mu", "psi"})
_MAYBE_CALLABLE = frozenset("hHpPqQTSRu")
_ARITY = {"ratio": (2, 2), "binom": (2, 2), "binomial": (2, 2), "mod": (2, 2), "log": (1, 2), "sqrt": (1, 2),
          "max": (1, 20), "min": (1, 20), "gcd": (2, 20), "lcm": (2, 20)}  # fmt: skip
_QUANTITY_WORDS = """mean median mode range variance deviation rank nullity vertex center centre radius diameter slope
    intercept maximum minimum area perimeter volume distance length width height period amplitude degree order dimension
    focus directrix sum product difference quotient remainder probability speed mass weight total cost price"""
_QUANTITIES = frozenset(_QUANTITY_WORDS.split())
_STARTS = frozenset({"(", "{"})
_COMMAND_ATOMS = frozenset(
    [r"\frac", r"\sqrt", r"\pi", r"\infty", r"\binom", r"\lfloor", r"\lceil", r"\mathbb", r"\emptyset", r"\begin",
     r"\{", r"\langle", r"\sum", r"\prod", r"\int", r"\lim", r"\partial", r"\hbar", r"\ell", r"\mathrm", r"\|"]
) | _ACCENTS | {"\\" + name for name in (*GREEK, *FUNCTIONS)}  # fmt: skip


class Atoms(Digits):
    """Reads one factor with its exponent and what is written behind it."""

    def starts_factor(self) -> bool:
        """Whether the next token begins a factor, so that it is multiplied without a sign."""
        token = self.peek()
        if token.text == "(" and self.peek(1).text in ("mod", r"\mod", r"\bmod", r"\in"):
            return False
        if token.kind in ("name", "function") or token.text in _STARTS:
            return token.text != "mod"
        if token.kind == "number":
            before = self._tokens[self._place - 1]
            return before.text in (")", "}", "]", "!") or (before.kind == "name" and not token.space)
        if token.text == "|":
            return self._bars == 0
        return token.kind == "command" and token.text in _COMMAND_ATOMS and token.text != r"\{"

    def factor(self) -> Node:
        """An atom, its postfix signs and its power."""
        with self.deeper():
            node = self._postfix(self.atom())
            if self.take("^", "**"):
                node = Call("pow", (node, self._exponent()))
                node = self._postfix(node)
            return node

    def _exponent(self) -> Node:
        if self.take("-"):
            with self.deeper():
                return negated(self._exponent())
        self.take("+")
        return self.factor()

    def _postfix(self, node: Node) -> Node:
        while True:
            if self.peek().text in ("!", "!!") and self.peek(1).text != "=":
                node = Call("factorial" if self.advance().text == "!" else "factorial2", (node,))
            elif self.take("°"):
                node = Call("degree", (node,))
            elif self.take("%"):
                node = Call("percent", (node,))
            else:
                return node

    def atom(self) -> Node:
        """A factor without what is written behind it."""
        token = self.advance()
        if token.kind == "number":
            return self.number(token.text)
        if token.kind == "name":
            return self._name(token.text)
        if token.kind == "function":
            return self._function(token.text)
        if token.text in ("(", "["):
            return self._group(token.text)
        if token.text == "{":
            return self._braced()
        if token.text == "|":
            self._bars += 1
            inner = self.expression()
            self.require("|")
            self._bars -= 1
            return Call("abs", (inner,))
        if token.kind == "command":
            return self._command(token.text)
        if token.text in ("otherwise", "else"):
            return OTHERWISE
        if token.kind == "word":
            return self._worded(token.text)
        raise Unreadable

    def _worded(self, word: str) -> Node:
        """`Minimum: 1`, `median 7`, `John is 12`, `rank(A) = 2`: words name a value, and stand in no other formula."""
        words = [word.lower()]
        while (
            self.peek().kind in ("word", "name", "function")
            and len(words) < 6
            and self.peek().text not in ("is", "are")
        ):
            words.append(self.advance().text.lower())
        if self.peek().text == "(" and self.peek(2).text == ")" and self.peek(3).text == "=":
            self.advance(3)
        if self.take_word("is", "are") or self.peek().text in (":", "="):
            named = True
        else:
            named = words[-1] in _QUANTITIES and not self.at("end", "close")
        if not named:
            raise Unreadable
        label = Symbol(" ".join(word for word in words if word != "the"))
        return label if self.peek().text in (":", "=") else Relation((label, self.expression()), ("=",))

    def _name(self, letter: str) -> Node:
        name = letter + self.subscript() + self.primes()
        if name in ("e", "i"):
            return Constant(name)
        if name in _CALLABLE and self.peek().text == "^" and self.peek(3).text == "1" and self.peek(5).text == "(":
            self.advance(5)
            name += "^-1"
        if self.peek().text == "(" and not self.peek().space and letter in _CALLABLE | _MAYBE_CALLABLE:
            return self._applied(name, certain=letter in _CALLABLE)
        if self.peek().text == "(" and name in ("C", "P") and (chosen := self._chosen(name)) is not None:
            return chosen
        if self.peek().text == "(" and letter.isupper() and self._place == 1:
            return self._point(name)
        return Symbol(name)

    def _chosen(self, name: str) -> Node | None:
        """`C(6, 2)` and `P(6, 2)`: combinations and permutations of numbers."""
        place = self.mark()
        self.advance()
        items = self._items(")")
        if self.take(")") and len(items) == 2 and all(isinstance(item, Number) for item in items):
            chosen = Call("binom", items)
            return chosen if name == "C" else Call("mul", (chosen, Call("factorial", (items[1],))))
        self.back(place)
        return None

    def _point(self, name: str) -> Node:
        """`A(1, 2)`: a point and its name."""
        place = self.mark()
        group = self._group(self.advance().text)
        if isinstance(group, Group) and group.brackets == "()":
            return Relation((Symbol(name), group), ("=",))
        self.back(place)
        return Symbol(name)

    def _applied(self, name: str, *, certain: bool) -> Node:
        """`f(x)`; for letters that are as often a factor (`h(a+b)`) only with a bare argument."""
        place = self.mark()
        self.advance()
        inner = self._items(")")
        closed = self.take(")")
        bare = all(isinstance(item, (Symbol, Number, Relation)) for item in inner)
        if closed and (certain or bare):
            return Call(f"f:{name}", inner)
        self.back(place)
        return Symbol(name)

    def _function(self, name: str) -> Node:
        if self.peek().text in ("=", ":"):
            return Symbol(name)  # `max = 7`
        base = self._braced_or_factor() if self.take("_") else None
        power = None
        if self.take("^"):
            power = self._braced_or_factor()
            if name in _INVERSES and power == Number(Fraction(-1)):
                name, power = _INVERSES[name], None
        arguments = self._arguments(name)
        if base is not None:
            arguments = (*arguments, base)
        call = _call(name, arguments)
        return call if power is None else Call("pow", (call, power))

    def _arguments(self, name: str) -> tuple[Node, ...]:
        if self.take("("):
            items = self._items(")")
            self.require(")")
            return items
        if name == "sqrt" and self.take("["):
            index = self.expression()
            self.require("]")
            return (self._braced_or_factor(), index)
        if self.peek().text == "{":
            return (self._braced_or_factor(),)
        return (self._bare_argument(),)

    def _bare_argument(self) -> Node:
        r"""`\sin 2x`: factors up to the next function or operator; `\sin \pi/6` takes the division with it."""
        if self.take("-"):
            with self.deeper():
                return negated(self._bare_argument())
        node = self.factor()
        while (
            self.starts_factor() and self.peek().kind != "function" and self.peek().text.lstrip("\\") not in FUNCTIONS
        ):
            node = Call("mul", (node, self.factor()))
        tight = self.peek().text == "/" and self.peek(1).kind == "number"
        if tight and (node == Constant("pi") or (isinstance(node, Call) and Constant("pi") in node.args)):
            self.advance()
            node = Call("div", (node, self.factor()))
        return node

    def _command(self, command: str) -> Node:
        name = command[1:]
        if name == "frac":
            return Call("div", (self._braced_or_factor(), self._braced_or_factor()))
        if name in ("pi", "infty", "emptyset"):
            return {"pi": Constant("pi"), "infty": Constant("infinity")}.get(name, FiniteSet(()))
        if name == "binom":
            return Call("binom", (self._braced_or_factor(), self._braced_or_factor()))
        if name in FUNCTIONS:
            return self._function(ALIASES.get(name, name))
        if command == r"\{":
            return self._set()
        if command in _FENCES:
            inner = self.expression()
            self.require(_FENCES[command][0])
            return Call(_FENCES[command][1], (inner,))
        if command == r"\mathbb" or (command == r"\mathrm" and self.peek(1).text in DOMAINS):
            return self._domain()
        if command in _ACCENTS:
            return self._accented(name)
        special = {r"\langle": self._angled, r"\begin": self._environment, r"\sum": self._sum, r"\prod": self._sum,
                   r"\|": self._norm}.get(command)  # fmt: skip
        if special is not None:
            return special(name)
        if name in GREEK:
            greek = name + self.subscript() + self.primes()
            if name in _APPLIED_GREEK and self.peek().text == "(" and not self.peek().space:
                return self._applied(greek, certain=False)
            return Symbol(greek)
        raise Unreadable


def _call(name: str, arguments: tuple[Node, ...]) -> Node:
    fewest, most = _ARITY.get(name, (1, 1))
    if not fewest <= len(arguments) <= most:
        raise Unreadable
    one = {"exp": lambda x: Call("pow", (Constant("e"), x)), "factorial": lambda x: Call("factorial", (x,))}
    if name in one and len(arguments) == 1:
        return one[name](arguments[0])
    if name == "ratio":
        return Call("div", arguments)
    if name == "sqrt":
        index = arguments[1] if len(arguments) > 1 else Number(Fraction(2))
        return Call("root", (arguments[0], index))
    if name == "cbrt":
        return Call("root", (arguments[0], Number(Fraction(3))))
    if name in ("log10", "log2"):
        return Call("log", (arguments[0], Number(Fraction(int(name[3:])))))
    return Call({"binomial": "binom"}.get(name, name), arguments)
