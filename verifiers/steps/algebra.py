"""What a solution's equations say of each other: values carried on, and rewrites that must keep the solutions.

The ledger reads the equalities with letters in their order. It calls one wrong only where its meaning is certain: all
letters have one known value, an equation of one unknown is made from the one before it, or two polynomials are links
of a chain. Letters with two values, suppositions and cases are left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from verifiers.steps.doubt import lead_of
from verifiers.steps.equalities import Equality
from verifiers.steps.expressions import Value
from verifiers.steps.ratio import Ratio, Unreadable
from verifiers.steps.records import Finding, Rule
from verifiers.steps.tokens import Kind

MAX_LETTERS = 50
"""Values that are kept account of."""
_SHOWN_TOLERANCE = 0.02
"""How far a value with decimals may be from the exact one, as a share: it was rounded, maybe twice."""

_CASES = re.compile(
    r"\b(?:if|when|cases?|or|either|at|for|assume|suppose|consider|try|plug\w*|intercepts?|unless|only|lines?|axis|axes|"
    r"roots?|solutions?|zeros?|critical|values? of|possib\w+|pairs?|vertex|equation of|asymptotes?|directrix|"
    r"other|others|respectively|neither|choose|pick|say|test|first|second|third|another|again|similarly|check\w*|"
    r"minimi\w+|maximi\w+|smallest|largest|least|greatest|new|now let|equality|substitut\w+|setting|set)\b",
    re.IGNORECASE,
)
"""Where a letter may take one of several values, or one for a moment."""
_DERIVES = re.compile(
    r"\b(?:solving|simplif\w+|expand\w*|subtract\w*|divid\w+|multipl\w+|add(?:ing|ed)?|combin\w+|collect\w*|isolat\w+|"
    r"rearrang\w+|distribut\w+|which means|becomes|Rightarrow|implies)\b",
    re.IGNORECASE,
)
"""Where an equation is made from the one before it."""
_BEFORE_EQUATIONS = re.compile(
    r"(?:\b(?:produces?|gives?|gets?|have|so|that|then|is|becomes?|means|yields?)|[^\w\s])\s*$|^\s*$"
)
_SEVERAL = re.compile(r"\b(?:cases?|or|first|second|solutions|respectively|roots|values)\b", re.IGNORECASE)
_LET = re.compile(r"\b(?:let|denote|call|define)\b", re.IGNORECASE)
_JOINED = re.compile(r"\b(?:and|or)\W*$")


@dataclass(frozen=True, slots=False)
class Statement:
    """An equality with letters where the solution states it."""

    equality: Equality
    one: Value
    other: Value
    step: int
    """Index of the step."""
    sentence: str
    """The text around it, for what it supposes."""

    @cached_property
    def difference(self) -> Ratio:
        """Left side less right side."""
        return self.one.value - self.other.value

    @cached_property
    def unknown(self) -> str:
        """The one letter that it is an equation of; empty if there are more."""
        names = self.difference.names
        return next(iter(names)) if len(names) == 1 else ""

    @cached_property
    def assigned(self) -> str:
        """The letter that an equality `x = 5` gives a value; empty for others."""
        left = self.equality.left
        bare = len(left) == 1 and left[0].kind is Kind.NAME and not self.other.value.names
        return left[0].text if bare else ""

    @property
    def cut(self) -> bool:
        """Whether a number that opens it may belong to the words before: `spaces in section 2 = x + 200`."""
        bare = len(self.equality.left) == 1 and self.equality.left[0].kind is Kind.NUMBER
        return bare and self.equality.opens and not _BEFORE_EQUATIONS.search(self.equality.lead)

    @cached_property
    def constrained(self) -> frozenset[str]:
        """The letters that it says something of; `y = (x + 1)^2` says nothing of x."""
        left = self.equality.left
        defines = len(left) == 1 and left[0].kind is Kind.NAME and left[0].text not in self.other.value.names
        return frozenset((left[0].text,)) if defines else self.difference.names

    @cached_property
    def certain(self) -> bool:
        """Whether it is stated without a supposition and not as one of several cases."""
        return not _CASES.search(self.sentence)

    @property
    def decimals(self) -> int:
        """Most digits after the point on either side."""
        return max(self.one.decimals, self.other.decimals)


class Ledger:
    """The account of one solution's letters."""

    def __init__(self, constrained: frozenset[str] = frozenset()) -> None:
        """An empty account; `constrained` are the letters of the problem's own equations."""
        self._constrained = set(constrained)
        self._known: dict[str, Ratio] = {}
        self._ambiguous: set[str] = set()
        self._last: Statement | None = None

    def judge(self, statement: Statement) -> Finding | None:
        """Check an equality against what came before, and take it into account; None where that tells nothing."""
        one, other = statement.one, statement.other
        if one.value.same(other.value):
            computes = one.n_operations or other.n_operations
            return Finding(True, Rule.IDENTITY, one.value.names) if computes else None
        names = one.value.names | other.value.names
        # `i` is a number as often as a letter; `20%` may be 20.
        if len(self._known) > MAX_LETTERS or "i" in names or one.percent or other.percent or statement.cut:
            self._last = None
            return None
        if _LET.search(statement.sentence):
            self._known = {name: value for name, value in self._known.items() if name not in names}
        finding = self._identity(statement) or self._carried(statement) or self._rewrite(statement)
        self._record(statement)
        return finding

    def revokes(self, finding: Finding) -> bool:
        """Whether a letter that a finding rests on turned out to take several values."""
        return finding.rule is Rule.CARRIED and not finding.agrees and bool(finding.names & self._ambiguous)

    def _identity(self, statement: Statement) -> Finding | None:
        """A link of a chain of polynomials in one letter, of which nothing else is known."""
        one, other = statement.one, statement.other
        names = one.value.names
        if not (statement.equality.follows and one.n_operations and other.n_operations and statement.certain):
            return None
        if len(names) != 1 or names != other.value.names or names & self._constrained or statement.decimals:
            return None
        return Finding(False, Rule.IDENTITY, names) if one.value.is_whole and other.value.is_whole else None

    def _carried(self, statement: Statement) -> Finding | None:
        """All letters have values."""
        one, other = statement.one.value, statement.other.value
        names = one.names | other.names
        if not names <= self._known.keys():
            return None
        try:
            agrees = _near(one.substitute(self._known), other.substitute(self._known), statement.decimals)
        except Unreadable:
            return None
        if not agrees and (statement.assigned or not statement.certain):
            return None
        return Finding(agrees, Rule.CARRIED, names)

    def _rewrite(self, statement: Statement) -> Finding | None:
        """The equality right before is one of the same unknown."""
        last, name = self._last, statement.unknown
        if last is None or not name or last.unknown != name or statement.step - last.step > 1:
            return None
        agrees = _implies(last, statement)
        if agrees is None or (not agrees and not _is_derived(last, statement)):
            return None
        return Finding(agrees, Rule.REWRITE, frozenset((name,)))

    def _record(self, statement: Statement) -> None:
        self._last = statement
        self._constrained |= statement.constrained
        name = statement.assigned
        if not name:
            return
        before, value = self._known.get(name), statement.other.value
        changed = before is not None and not _near(before, value, statement.decimals)
        if changed or not statement.certain or name in self._ambiguous:
            self._ambiguous.add(name)
            self._known.pop(name, None)
        elif before is None:
            self._known[name] = value


def _is_derived(last: Statement, statement: Statement) -> bool:
    """Whether an equation is meant to follow from the one before, rather than to stand beside it."""
    if last.assigned and not statement.assigned:
        return False
    sides = [[token.text for token in row.equality.left] for row in (last, statement)]
    if sides[0] == sides[1] and not (last.other.n_operations and not statement.other.n_operations):
        # `x - 5 = 12` and `x - 5 = -12` are cases; `x = 12 / 3` and `x = 5` are not.
        return False
    lead = lead_of(statement.equality)
    if _JOINED.search(lead):
        return False
    return (bool(_DERIVES.search(lead)) and not _SEVERAL.search(statement.sentence)) or (
        last.certain and statement.certain
    )


def _implies(last: Statement, statement: Statement) -> bool | None:
    """Whether the second equation follows from the first; None where that cannot be told."""
    before, after, name = last.difference, statement.difference, statement.unknown
    decimals = max(last.decimals, statement.decimals)
    if _proportional(before, after, name):
        return True
    old, new = before.degree(name), after.degree(name)
    try:
        if old == new == 1:
            return _near(before.root(name), after.root(name), decimals)
        if new == 1:
            agrees = _vanishes(before, name, after.root(name))
        elif old == 1:
            agrees = _vanishes(after, name, before.root(name))
        else:
            agrees = old != 2 or new != 2
            return None if agrees or decimals else False
    except Unreadable:
        return None
    return agrees or (None if decimals else False)


def _near(one: Ratio, other: Ratio, decimals: int) -> bool:
    """Whether two numbers are equal, or close to each other where decimals are shown."""
    if one.same(other):
        return True
    try:
        first, second = one.approximate(), other.approximate()
    except Unreadable:
        return True
    return decimals > 0 and abs(first - second) <= _SHOWN_TOLERANCE * max(abs(first), abs(second))


def _proportional(before: Ratio, after: Ratio, name: str) -> bool:
    """Whether the numerators differ by a factor without the letter."""
    one, other = before.numerator, after.numerator
    try:
        return (one * other.leading(name)).same(other * one.leading(name))
    except Unreadable:
        return False


def _vanishes(equation: Ratio, name: str, value: Ratio) -> bool:
    return not equation.substitute({name: value}).top
