"""Values of formulas: exact fractions as long as possible, else many digits; bounded in time, never through eval.

`Evaluator` computes over the reals (or over the complex numbers where a formula speaks of i). Where a formula has no
value (division by zero, a root of a negative number) it raises `Undefined`; where the value would cost too much,
`TooCostly` (`verifiers.answers.operations`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from typing import Any

from verifiers.answers.functions import EXACT, TRANSCENDENTAL, Functions
from verifiers.answers.operations import TooCostly, Undefined, Value
from verifiers.answers.tree import Call, Cases, Constant, Matrix, Node, Number, Relation, Symbol

MAX_STEPS = 150_000
"""Operations spent on one pair of answers, the terms of sums included."""

_local = threading.local()


@contextmanager
def budget() -> Iterator[None]:
    """Give the evaluations of this thread inside the block `MAX_STEPS` operations between them."""
    _local.steps = 0
    try:
        yield
    finally:
        del _local.steps


class Evaluator(Functions):
    """Evaluates trees at one point.

    Args:
        point: value of each free variable.
        digits: decimal digits carried.
        complex_numbers: whether roots and logarithms of negative numbers have values.
        degrees: whether a degree sign turns into radians; else it is a unit and dropped.
        decimal_log: whether a `log` without a base is that to base ten.
    """

    def __init__(
        self, point: Mapping[str, Fraction], digits: int, *, complex_numbers: bool = False, degrees: bool = True,
        decimal_log: bool = False,
    ) -> None:  # fmt: skip
        self._point: dict[str, Value] = dict(point)
        super().__init__(digits, complex_numbers=complex_numbers, degrees=degrees, decimal_log=decimal_log)

    def value(self, node: Node) -> Value:
        """The value of a formula.

        Raises:
            Undefined: it has none here.
            TooCostly: it is beyond the caps.
        """
        if (steps := getattr(_local, "steps", None)) is not None:
            if steps > MAX_STEPS:
                raise TooCostly
            _local.steps = steps + 1
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Symbol):
            if node.name not in self._point:
                raise Undefined
            return self._point[node.name]
        if isinstance(node, Constant):
            return self._constant(node.name)
        if isinstance(node, Cases):
            return self._cases(node)
        if not isinstance(node, Call):
            raise Undefined
        if node.name in ("sum", "prod"):
            return self._series(node)
        if node.name == "det" and isinstance(node.args[0], Matrix):
            return self._determinant([[self.value(item) for item in row] for row in node.args[0].rows])
        arguments = [self.value(argument) for argument in node.args]
        return self._call(node.name, arguments)

    def _constant(self, name: str) -> Value:
        if name == "pi":
            return +self._context.pi
        if name == "e":
            return +self._context.e
        if name == "infinity":
            return self._context.inf
        if name == "i":
            if "i" in self._point:
                return self._point["i"]
            if self._complex:
                return self._context.mpc(0, 1)
        raise Undefined

    def _call(self, name: str, arguments: list[Value]) -> Value:
        operation = EXACT.get(name)
        if operation is not None:
            return operation(self, *arguments)
        if name.startswith("f:"):
            return self._unknown(name, arguments)
        function = TRANSCENDENTAL.get(name)
        if function is None:
            raise Undefined
        numbers = [self.number(argument) for argument in arguments]
        if not all(self._context.isfinite(number) for number in numbers):
            raise Undefined
        try:
            return self._checked(function(self, *numbers))
        except (ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
            raise Undefined from error

    def _series(self, node: Call) -> Value:
        counter, lower, upper, body = node.args
        first, last = self.value(lower), self.value(upper)
        ends = all(isinstance(end, Fraction) and end.denominator == 1 for end in (first, last))
        name = counter.name if isinstance(counter, (Symbol, Constant)) else ""
        if not ends:
            raise Undefined
        if last - first > 2_000:
            raise TooCostly
        outer = self._point.get(name)
        result: Value = Fraction(int(node.name == "prod"))
        for index in range(int(first), int(last) + 1):
            self._point[name] = Fraction(index)
            term = self.value(body)
            result = self.add(result, term) if node.name == "sum" else self.mul(result, term)
        if outer is None:
            self._point.pop(name, None)
        else:
            self._point[name] = outer
        return result

    def _cases(self, node: Cases) -> Value:
        for branch, test in node.branches:
            if test is None or self._holds(test):
                return self.value(branch)
        raise Undefined

    def _holds(self, test: Node) -> bool:
        if not isinstance(test, Relation):
            raise Undefined
        values = [self.number(self.real(self.value(side))) for side in test.sides]
        if not _ORDER.keys() >= set(test.signs):
            raise Undefined
        return all(_ORDER[sign](*pair) for sign, pair in zip(test.signs, pairwise(values), strict=True))

    def _determinant(self, rows: list[list[Value]]) -> Value:
        if len(rows) > 6 or any(len(row) != len(rows) for row in rows):
            raise Undefined
        if len(rows) == 1:
            return rows[0][0]
        total: Value = Fraction(0)
        for column, head in enumerate(rows[0]):
            minor = self._determinant([row[:column] + row[column + 1 :] for row in rows[1:]])
            term = self.mul(head, minor)
            total = self.add(total, term if column % 2 == 0 else self.mul(Fraction(-1), term))
        return total

    def _unknown(self, name: str, arguments: list[Value]) -> Value:
        """Some value of an unknown function: the same for the same arguments."""
        shown = [self._context.nstr(self.number(argument), 25) for argument in arguments]
        digest = hashlib.blake2b(f"{name}|{shown}".encode(), digest_size=6).digest()
        return Fraction(int.from_bytes(digest, "big") + 1, 1 << 46)


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip
