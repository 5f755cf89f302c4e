"""No text breaks the step checker, and none makes it compute for long."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.steps import StepStatus, check_steps
from verifiers.steps.equalities import MAX_CHARS
from verifiers.steps.ratio import Ratio, Unreadable

FRAGMENTS = [
    "(" * 100_000 + "1+1=3",
    "(" * 4000 + "1+1=3",
    "(" * 4000 + "1" + ")" * 4000 + "=2",
    "1+1=3 " * 200_000,
    "9^9^9^9 = 1",
    "*".join(["99999999999^60"] * 50) + "=1",
    "1" * 9000 + " + 1 = 2",
    "(a+b+c+d+e+f)^64 = 1, " * 100,
    " + ".join(f"1/x_{index}" for index in range(90)) + " = 3",
    "1/(x+y)+" * 60 + "1 = 3",
    "\\frac{" * 1500 + "1=1",
    "\\text{" * 1500 + "=",
    "\\sqrt{" + "9" * 300 + "} = 3",
    "\x00" * 5000 + "1+1=3x",
    "\ud800 1+1=3y \udfff",
    "\u202e 1+1=3z \u2066",
    "=" * 9000,
    "$" * 9001 + "=",
    "<<" * 4000 + "=1>>",
    "1 is " * 1900,
    "x_{" * 3000 + "=1",
    "5 x of y of z " * 600 + "= 3",
    "5 feet^ = 3 and 5 feet^{2} = 4 + 1x",
]


@pytest.mark.parametrize("text", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_hostile_text_is_never_called_wrong_nor_raises(text: str) -> None:
    (verdict,) = check_steps(text[:500], [text])
    assert verdict.status in (StepStatus.NOT_CHECKABLE, StepStatus.INCORRECT)
    assert verdict.status is StepStatus.NOT_CHECKABLE or len(text) <= MAX_CHARS


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert len(check_steps(text, [text, f"1+1=2{text}", f"x = {text}", f"2x = 4 {text}"])) == 4


@given(st.text(alphabet="0123456789x+-*/^=(){}.,$%\\ \nabfracsqt&", max_size=60))
def test_no_arithmetic_looking_text_breaks_it(text: str) -> None:
    assert len(check_steps("", [text, text])) == 2


PIECES = [
    "1",
    "2.5",
    "10",
    "x",
    "y",
    "x_1",
    "=",
    "=",
    "+",
    "-",
    "*",
    "/",
    "^",
    "(",
    ")",
    "{",
    "}",
    "\\frac",
    "\\sqrt",
    "\\binom",
    "[3]",
    "$",
    "feet",
    "cents",
    "of",
    "%",
    "is",
    "and",
    "per",
    "hour",
    "times",
    "\\text{cm}",
    "\\[",
    "\\]",
    "\\\\",
    "&",
    "!",
    "²",
    "**",
    "√",
    "≈",
    "0.\\overline{3}",
]


def test_no_jumble_of_the_grammar_breaks_it() -> None:
    rng = random.Random(5)
    for _ in range(2000):
        text = "".join(rng.choice(PIECES) + rng.choice(["", "", " "]) for _ in range(rng.randint(1, 30)))
        assert len(check_steps(text, [text, f"{text}=2", f"x = {text}"])) == 3


def test_what_is_over_a_cap_is_not_computed() -> None:
    x, y = Ratio.name("x"), Ratio.name("y")
    for compute in (
        lambda: Ratio.of(10**50).power(Fraction(60)),
        lambda: (x + y + Ratio.of(1)).power(Fraction(12)),
        lambda: x.power(Fraction(65)),
        lambda: Ratio.of(1) / (x - x),
        lambda: x.sqrt(),
    ):
        with pytest.raises(Unreadable):
            compute()


def test_ratios_are_equal_exactly_when_they_are_the_same_function() -> None:
    x, root = Ratio.name("x"), Ratio.of(2).sqrt()
    one = Ratio.of(1)
    assert ((x * x - one) / (x - one)).same(x + one)
    assert (one / (root - one)).same(root + one)
    assert Ratio.of(Fraction(9, 8)).sqrt().same(Ratio.of(Fraction(3, 4)) * root)
    assert not (x * x).same(x)
    assert (x * x - Ratio.of(2)).substitute({"x": root}).number == 0
