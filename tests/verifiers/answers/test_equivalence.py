"""One case or more for each rule of the declared policy and for each class of failure that other graders show."""

from __future__ import annotations

import pytest

from verifiers.answers.canonical import canonical
from verifiers.answers.equivalence import Outcome, decide
from verifiers.answers.limits import refusal
from verifiers.answers.plain import digits, read

EQUAL, DIFFERENT, UNKNOWN = Outcome.EQUAL, Outcome.DIFFERENT, Outcome.UNKNOWN

CASES = [
    # exact numbers
    ("8191", "8191", EQUAL),
    ("8191", "8192", DIFFERENT),
    ("70000000001", "70000000002", DIFFERENT),
    ("23", "23.0", EQUAL),
    ("23", "23.002", DIFFERENT),
    ("0.0000004", "0.0000003", DIFFERENT),
    ("3/7", "0.428571", DIFFERENT),
    ("2500", "25", DIFFERENT),
    ("-3/8", r"-\frac{3}{8}", EQUAL),
    ("6/4", "3/2", EQUAL),
    ("007", "7", EQUAL),
    # decimals by the digits shown
    ("0.67", "2/3", EQUAL),
    ("0.67", "0.666667", EQUAL),
    ("0.67", "0.66", DIFFERENT),
    ("0.667", "0.67", DIFFERENT),
    ("2.5", "2.54", DIFFERENT),
    ("6.02*10^23", "6.0221*10^{23}", EQUAL),
    ("6.02*10^23", "6.03*10^{23}", DIFFERENT),
    # how numbers are written
    ("12345", "12,345", EQUAL),
    ("12345", "12{,}345", EQUAL),
    ("12345", r"12\,345", EQUAL),
    ("12345", r"12,\!345", EQUAL),
    ("12345", "12\u202f345", EQUAL),
    ("4500", "4.5e3", EQUAL),
    ("4500", r"4.5\times10^{3}", EQUAL),
    ("1/8", r"\dfrac18", EQUAL),
    ("1/8", r"\tfrac{1}{8}", EQUAL),
    ("2.75", r"2\frac{3}{4}", EQUAL),
    ("2.75", "2 3/4", EQUAL),
    ("-2.75", r"-2\frac34", EQUAL),
    ("2.75", "2¾", EQUAL),
    ("64", "４６", DIFFERENT),
    ("46", "４６", EQUAL),
    ("-9", "−9", EQUAL),
    ("9", r"\text{nine}", EQUAL),
    ("1024", "2^{10}", EQUAL),
    ("49", "7²", EQUAL),
    ("72", "7²", DIFFERENT),
    # currency, percent, units, degrees
    ("18", "$18.00", EQUAL),
    ("18", r"\$18", EQUAL),
    ("30", r"30\%", EQUAL),
    (r"30\%", "0.3", EQUAL),
    ("0.3", "30%", EQUAL),
    ("30", "0.3", DIFFERENT),
    ("30", "3000", DIFFERENT),
    ("30%", "30%", EQUAL),
    ("14", "14 marbles", EQUAL),
    ("14", r"14\text{ cm}^2", EQUAL),
    ("14 cm", "14 kg", DIFFERENT),
    ("2 hours", "120 minutes", EQUAL),
    ("2 hours", "2 minutes", DIFFERENT),
    ("25 min", "50 min", DIFFERENT),
    ("14", "14 third-grade boys", EQUAL),
    ("14", "14x", DIFFERENT),
    ("14", "14ab", DIFFERENT),
    ("45", r"45^\circ", EQUAL),
    ("45°", r"45^{\circ}", EQUAL),
    ("3 million", "3,000,000", EQUAL),
    # names, words, letters, times, bases
    ("x = 11", "11", EQUAL),
    ("11", "n=11", EQUAL),
    ("11", "x=12", DIFFERENT),
    ("11", "8+3=11", EQUAL),
    ("11", r"x\approx 11", EQUAL),
    (r"\text{Marie}", "marie", EQUAL),
    (r"\text{Marie}", "Pierre", DIFFERENT),
    ("11", "Marie", DIFFERENT),
    ("D", "(D)", EQUAL),
    ("D", "D. a harbour", EQUAL),
    ("D", "a harbour (D)", EQUAL),
    ("D", "(A)", DIFFERENT),
    ("7:45 a.m.", "7:45 AM", EQUAL),
    ("7:45 a.m.", "7:45 p.m.", DIFFERENT),
    ("110_2", "110_3", DIFFERENT),
    ("52_7", "52", DIFFERENT),
    # tuples, sets, lists, intervals, unions
    ("(4, -1)", "(4,-1)", EQUAL),
    ("(4, -1)", "(-1, 4)", DIFFERENT),
    ("(4, -1)", r"\left( \frac{8}{2}, -1 \right)", EQUAL),
    ("4,-1", "-1, 4", EQUAL),
    (r"\{4,-1\}", r"\{-1,4\}", EQUAL),
    (r"\{4,4,1\}", r"\{4,1,1\}", EQUAL),
    ("4, 4, 1", "4, 1, 1", DIFFERENT),
    (r"\{4,1\}", "(4,1)", DIFFERENT),
    (r"\{4\}", "4", EQUAL),
    ("[2,5)", "[2,5]", DIFFERENT),
    ("[2,5)", "[2, 5)", EQUAL),
    ("125 and 216", "216", DIFFERENT),
    ("x=2 or x=-6", "-6, 2", EQUAL),
    (r"1 \pm 3", "4, -2", EQUAL),
    (r"\pm 3", "3, -3", EQUAL),
    ("34", "3,4", DIFFERENT),
    ("90,180", r"90^\circ, 180^\circ", EQUAL),
    (r"(-\infty,1)\cup(6,\infty)", r"(6,\infty)\cup(-\infty,1)", EQUAL),
    # markup
    ("73", "**73**", EQUAL),
    ("73", "`73`", EQUAL),
    ("73", "<b>73</b>", EQUAL),
    ("73", "7\u200b3.", EQUAL),
    ("73", r"{\color{red}{73}}", EQUAL),
    (r"2\pi r", "2*pi*r", EQUAL),
    (r"\sqrt{29}", "√29", EQUAL),
    (r"\sqrt{29}", "sqrt(29)", EQUAL),
    (r"5\sin x", "5 sin(x)", EQUAL),
    (r"\frac{\pi}{6}", r"\dfrac{\pi}{6}", EQUAL),
]


@pytest.mark.parametrize(("gold", "prediction", "expected"), CASES)
def test_policy_decides_as_declared(gold: str, prediction: str, expected: Outcome) -> None:
    assert decide(gold, prediction).outcome is expected


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"), [case for case in CASES if case[2] is DIFFERENT and "." not in case[1]]
)
def test_difference_is_symmetric_but_for_decimals(gold: str, prediction: str, expected: Outcome) -> None:
    assert decide(prediction, gold).outcome is not EQUAL


def test_integers_are_exact_at_a_hundred_thousand_digits() -> None:
    large = "7" * 100_000
    assert decide(large, "0" + large).outcome is EQUAL
    assert decide(large, large[:-1] + "8").outcome is DIFFERENT


def test_plain_reading_makes_no_float() -> None:
    number = read("0.1")
    assert number is not None
    assert number.value * 10 == 1
    assert read(r"\frac{1}{0}") is None
    assert digits("+0012.500") == "12.5"


def test_golds_squeezed_by_a_well_known_script_are_mended() -> None:
    assert canonical(r"\frac{\pir}{2}") == canonical(r"\frac{\pi r}{2}")
    assert canonical(r"\begin{pmatrix}4\-3\end{pmatrix}") == canonical(r"\begin{pmatrix} 4 \\ -3 \end{pmatrix}")
    assert canonical(r"\sinh x") != canonical(r"\sin h x")


@pytest.mark.parametrize("text", ["{" * 100_000, "(" * 60 + "x" + ")" * 60, "1" * 5000 + "x", "x" * 3000])
def test_size_caps_refuse(text: str) -> None:
    assert refusal(text) == "too_large"


@pytest.mark.parametrize("text", ["e^{x^{2}}", "2^{2004}", "10!", r"\binom{20}{7}", r"\sqrt{2+\sqrt{2+\sqrt{2}}}"])
def test_size_caps_let_ordinary_answers_through(text: str) -> None:
    assert refusal(text) == ""
