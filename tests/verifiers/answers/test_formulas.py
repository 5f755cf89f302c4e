"""Formulas: what is equal, what differs, and what is not decided."""

from __future__ import annotations

import pytest

from data.records import Status
from verifiers import check_answers

EQUAL = [
    (r"-80\le g(x)\le 82", r"82\ge g(x)\ge -80"),
    (r"x=k\pi, k\in\mathbb{Z}", r"n\pi"),
    (r"\{x\mid -1<x<1\}", "(-1,1)"),
    (r"(-\infty,1)\cup(1,\infty)", r"x\ne 1"),
    ("f(x)=3x+1", "f(t)=1+3t"),
    ("w=16, d=3", "16, 3"),
    ("2, 1", "x=2, x=1"),
    (r"(\pm\sqrt2, 0)", r"(\sqrt2,0), (-\sqrt2,0)"),
    ("xy=1", r"y=\frac1x"),
    (r"x^2/9+y^2/4=1", "4x^2+9y^2=36"),
    (r"x\equiv 3\pmod 7", r"x\equiv 10 \pmod{7}"),
    (r"p\to q", r"\neg p\lor q"),
    (r"\frac12\begin{pmatrix}2&4\\6&8\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    (r"n!", r"n\cdot(n-1)!"),
    ("x = {3, 4}", "3, 4"),
    ("861_{12}", r"x = \left(861_{12}\right)"),
    ("5:6", "10:12"),
    ("2x+2", "2(x+1)"),
    (r"\sqrt{\frac{1}{m}}", r"\frac{1}{\sqrt{m}}"),
    (r"\frac{\pi}{3}", "pi/3"),
    ("e^{9}-2", "exp(9)-2"),
    (r"3\pi r", "3*pi*r"),
    (r"60^\circ", r"\frac{\pi}{3}"),
    ("1", "cos^2 t + sin^2 t"),
    (r"2\arcsin\sqrt a", r"\arccos(1-2a)"),
    (r"x^{\ln y}", r"y^{\ln x}"),
    (r"(-\infty,7)", "x<7"),
    (r"2<t\le 6", "(2,6]"),
    ("y=3x-1", "3x-y-1=0"),
    (r"\begin{pmatrix}4\\9\end{pmatrix}", "(4,9)"),
    (r"4\pm\sqrt5", r"4+\sqrt5, 4-\sqrt5"),
    (r"\{1,\sqrt{12}\}", r"\{2\sqrt{3}, 1\}"),
    ("(1,i^2)", "(1,-1)"),
    ("4+3i", "3i+4"),
    (r"\frac{\sqrt7}{7}", r"\frac{1}{\sqrt7}"),
    ("720", "6!"),
    ("0.5z", r"\frac{z}{2}"),
    (r"7\sqrt{2}", r"7\sqrt{2}\text{ feet}"),
    ("t^2-9", "(t-3)(t+3)"),
]

DIFFERENT = [
    (r"-80\le g(x)\le 82", r"-83\le g(x)\le 82"),
    ("|x|", "x"),
    ("|x+y|", "|x|+|y|"),
    ("9^{9^{9}}", "9^{9^{8}}"),
    (r"3\mathbf{i}+4\mathbf{j}", r"4\mathbf{i}+3\mathbf{j}"),
    (r"\frac{2}{3}\approx 0.67", r"\frac{2}{7}\approx 0.67"),
    ("(A,B)", "(B,A)"),
    (r"\frac{1}{2^{90}}", r"\frac{1}{2^{89}}"),
    (r"\frac{1}{1001!}", r"\frac{1}{1003!}"),
    (r"2-\frac{1}{\mathrm{e}}", r"2+\frac{1}{\mathrm{e}}"),
    ("PQ", "pq"),
    (r"\sqrt{x^2}", "x"),
    ("14", "14x"),
    ("0", r"\sqrt2-\frac{7}{5}"),
    ("x<7", "x>7"),
    ("y=3x-1", "y=3x+1"),
    (r"\frac{1}{3}", r"\frac{1}{3}+10^{-30}"),
    (r"\pi", "3.14"),
    ("14", "14 - -"),
]

NEVER_EQUAL = [
    (r"\angle XYZ", r"\angle XZY"),
    (r"\vec p+\vec q", r"\vec p-\vec q"),
    (r"\heartsuit 9", r"\diamondsuit 9"),
]


def _statuses(pairs: list[tuple[str, str]]) -> list[Status]:
    return [verdict.status for verdict in check_answers(pairs, kind="answer", timeout_s=60)]


def test_equal_formulas() -> None:
    assert [pair for pair, status in zip(EQUAL, _statuses(EQUAL), strict=True) if status is not Status.CORRECT] == []


def test_different_formulas() -> None:
    statuses = _statuses(DIFFERENT)
    assert [pair for pair, status in zip(DIFFERENT, statuses, strict=True) if status is not Status.INCORRECT] == []


def test_notation_that_others_misread_is_never_equal() -> None:
    assert Status.CORRECT not in _statuses(NEVER_EQUAL)


@pytest.mark.parametrize(
    "payload",
    ['__import__("os").system("touch {0}")', 'open("{0}","w")*\\pi', "eval('open(\"{0}\",\"w\")')",
     "Function('f')('open(\"{0}\",\"w\")')", "\\text{{lambda: open('{0}','w')}}", "[open('{0}','w')]"],
)  # fmt: skip
def test_model_text_is_never_run(payload: str, tmp_path: object) -> None:
    sentinel = f"{tmp_path}/ran"
    text = payload.format(sentinel)
    verdicts = check_answers([("x+1", text), ("5", text), (text, "5"), (text, text + "+0")], kind="answer")
    from pathlib import Path

    assert not Path(sentinel).exists()
    assert all(verdict.status is not Status.CORRECT for verdict in verdicts)
