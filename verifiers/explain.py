"""Why a verdict is what it is: the way of one pair of answers from text to outcome, for people to read."""

from __future__ import annotations

from typing import NamedTuple

from data.records import Verdict
from verifiers.answers import plain
from verifiers.answers.canonical import canonical
from verifiers.answers.equivalence import read
from verifiers.answers.extract import extract_answer
from verifiers.answers.tree import Node, children
from verifiers.checking import check_answer

_MAX_SHOWN = 160


class Explanation(NamedTuple):
    """A verdict and the steps that led to it."""

    verdict: Verdict
    steps: tuple[tuple[str, str], ...]
    """Name and content of each step, in order."""


def explain(gold: str, prediction: str, *, kind: str = "auto", policy: str = "default") -> Explanation:
    """Check one answer and say how: what was extracted, how each side was read, which rule decided.

    Raises:
        UserError: unknown kind or policy.
    """
    verdict = check_answer(gold, prediction, kind=kind, policy=policy)
    found = extract_answer(prediction, kind=kind)
    bare = extract_answer(gold, kind="answer").answer
    steps = [("extracted", f"{found.answer or '(nothing)'}  [{found.how}]")]
    for name, text in (("gold", bare), ("prediction", found.answer)):
        steps.append((f"{name} read as", _reading(text)))
    steps.append(("decided by", verdict.method or "(nothing)"))
    if verdict.detail:
        steps.append(("detail", verdict.detail))
    return Explanation(verdict, tuple((name, _short(text)) for name, text in steps))


def _reading(text: str) -> str:
    spelled = canonical(text[:2_000])
    number = plain.read(spelled)
    if number is not None:
        unit = " percent" if number.percent else f" {number.unit}" if number.unit else ""
        return f"{number.rule} {number.value}{unit}"
    tree = read(spelled)
    return f"text {spelled!r}" if tree is None else _outline(tree)


def _outline(node: Node) -> str:
    """A tree on one line: `add(mul(2, x), 1)`."""
    name = getattr(node, "name", "") or type(node).__name__.lower()
    inside = children(node)
    if hasattr(node, "value"):
        return str(node.value)
    signs = getattr(node, "signs", None)
    if signs:
        first, *rest = map(_outline, inside)
        return first + "".join(f" {sign} {side}" for sign, side in zip(signs, rest, strict=True))
    return f"{name}({', '.join(map(_outline, inside))})" if inside else name


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
