r"""sympy's opinion on formulas that sampling could not compare, inside a worker process only: no time limit of its own.

A tree becomes a formula node by node; no text ever reaches `eval`, `sympify`, `parse_expr` or `lambdify`.
"""

from __future__ import annotations

from typing import Any

import sympy

from verifiers.answers.decision import Decision, equal, unknown
from verifiers.answers.tree import Call, Constant, Node, Number, Symbol, is_expression

_TRIGONOMETRIC = """sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth asinh acosh atanh"""
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infinity": sympy.oo}
_FUNCTIONS: dict[str, Any] = {
    "add": sympy.Add, "mul": sympy.Mul, "pow": sympy.Pow, "div": lambda a, b: a / b, "neg": lambda a: -a,
    "root": lambda a, n: sympy.real_root(a, n), "abs": sympy.Abs, "factorial": sympy.factorial, "binom": sympy.binomial,
    "percent": lambda a: a / 100, "degree": lambda a: a * sympy.pi / 180, "ln": sympy.log, "log": sympy.log,
    "floor": sympy.floor, "ceil": sympy.ceiling, "max": sympy.Max, "min": sympy.Min, "gamma": sympy.gamma,
    "mod": sympy.Mod, "sign": sympy.sign,
    **{name: getattr(sympy, name) for name in
       _TRIGONOMETRIC.split()},
}  # fmt: skip


def compare(gold: Node, prediction: Node) -> Decision:
    """Equal if sympy simplifies the difference to zero; that it does not proves nothing."""
    if not (is_expression(gold) and is_expression(prediction)):
        return unknown("types")
    ours, theirs = formula(gold), formula(prediction)
    if ours is None or theirs is None:
        return unknown("no_value")
    return equal("symbolic") if sympy.simplify(ours - theirs) == 0 else unknown("no_value")


def formula(node: Node) -> sympy.Expr | None:
    """A tree as sympy's formula; None where it holds what has no counterpart."""
    if isinstance(node, Number):
        return sympy.Rational(node.value.numerator, node.value.denominator)
    if isinstance(node, Symbol):
        return sympy.Symbol(node.name, real=True)
    if isinstance(node, Constant):
        return _CONSTANTS.get(node.name)
    if not isinstance(node, Call):
        return None
    if node.name in ("sum", "prod"):
        return _series(node)
    if node.name not in _FUNCTIONS:
        return None
    arguments = [formula(argument) for argument in node.args]
    return None if None in arguments else _FUNCTIONS[node.name](*arguments)


def _series(node: Call) -> sympy.Expr | None:
    counter, *rest = node.args
    lower, upper, body = (formula(part) for part in rest)
    if not isinstance(counter, Symbol) or lower is None or upper is None or body is None:
        return None
    index = sympy.Symbol(counter.name, integer=True)
    kind = sympy.Sum if node.name == "sum" else sympy.Product
    return kind(body.subs(sympy.Symbol(counter.name, real=True), index), (index, lower, upper)).doit()
