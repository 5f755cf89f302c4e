"""Steps that compute with numbers: what is flagged is wrong, and what cannot be read with certainty is not judged."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources.arithmetic import draw_problem
from verifiers.steps import Rule, StepStatus, check_steps

CORRECT, INCORRECT, NOT = StepStatus.CORRECT, StepStatus.INCORRECT, StepStatus.NOT_CHECKABLE


def status(step: str, problem: str = "") -> StepStatus:
    (verdict,) = check_steps(problem, [step])
    return verdict.status


@pytest.mark.parametrize(
    "step",
    [
        "12+3=15",
        "She has <<3*4=12>>12 eggs.",
        "2*3+4 = 6+4 = 10",
        "A third is 100/3 = 33.3, about 33",
        "100 / 3 = 33",
        "The discount is 20% * 50 = $10.",
        "That is 10/50 = 20%.",
        "3 apples + 4 apples = 7 apples",
        "There are 3 boxes of pens * 4 pens per box = 12 pens.",
        "He pays 1,200 x 3 = 3,600 dollars",
        ".25*4 = 1",
        "(2+3)×4 = 20",
        "2^5 - 1 = 31",
        "$5.50 + $4.50 = $10",
        "1) 5 + 3 = 8",
        "She has 20-9 = 11 more shoes",
        # Units
        "2 ft = 24 inches",
        "3 hours * 60 min/hour = 180 min",
        "3 hours * 60 = 180 minutes",
        "$5 + 50 cents = $5.50",
        "$1 / 2 = 50 cents",
        "Lazlo = 4 pounds - 6 ounces = 58 ounces",
        "It goes 96/12 = 8 m/s",
        r"The area is $15 \times 40 = 600\; \text{ft}^2$.",
        # Percent and fractions
        "20% of 150 = 30",
        "150 * 20% = 30",
        "75 + 10% of 150 = 90",
        "150 + 10% = 165",
        "1/3 of 60 = 20",
        "2 1/2 + 1/2 = 3",
        r"$2\frac13 + \frac{2}{3} = 3$",
        # LaTeX
        r"So \(\frac{1}{2} \cdot 12 = 6\) dollars",
        r"\[ \text{Total cost} = \$30 + \$18 = \$48 \]",
        r"$\left(2 + 3\right) \times 4 \div 2 = 10$",
        r"$\sqrt{50} = 5\sqrt{2}$ and $2^{10} = 1024$",
        r"$\frac{1}{\sqrt{2}} = \frac{\sqrt{2}}{2}$",
        r"$\binom{5}{2} = 10 = \frac{5!}{2! \cdot 3!}$",
        "\\begin{align*} 2(3 + 4) &= 2 \\cdot 7 \\\\ &= 14 \\end{align*}",
        r"$\pi \cdot 5^2 = 78.5$",
        r"$27 \text{ ft}^3 = 1 \text{ yd}^3$",
        r"$10 + 3 \approx 12$",
        # Words
        "3 times 4 is 12.",
        "3 plus 4 equals 7.",
        "15 divided by 3 = 5",
    ],
)
def test_a_true_equality_is_correct(step: str) -> None:
    assert status(step) is CORRECT


@pytest.mark.parametrize(
    ("step", "span"),
    [
        ("12+3=16", "12+3=16"),
        ("She has <<3*4=13>>13 eggs.", "3*4=13"),
        ("2*3+4 = 6+4 = 11", "6+4 = 11"),
        ("7/2 = 3.4", "7/2 = 3.4"),
        ("100/3 = 35", "100/3 = 35"),
        ("99999999999999999999 + 1 = 100000000000000000001", "99999999999999999999 + 1 = 100000000000000000001"),
        ("3 apples + 4 apples = 8 apples", "3 apples + 4 apples = 8"),
        ("so it costs 192*100=$1920", "192*100=$1920"),
        ("2 ft = 25 inches", "2 ft = 25 inches"),
        ("3 hours * 60 min/hour = 190 min", "3 hours * 60 min/hour = 190 min"),
        ("$5 + 50 cents = $5.60", "$5 + 50 cents = $5.60"),
        ("20% of 150 = 31", "20% of 150 = 31"),
        ("150 + 10% = 170", "150 + 10% = 170"),
        ("1/3 of 60 = 21", "1/3 of 60 = 21"),
        (r"So \(\frac{1}{2} \cdot 12 = 7\)", r"\frac{1}{2} \cdot 12 = 7"),
        (r"$\sqrt{50} = 4\sqrt{2}$", r"\sqrt{50} = 4\sqrt{2}"),
        ("3 times 4 is 13.", "3 times 4 is 13"),
        ("That means he needs to wait 18+21=40 days", "18+21=40 days"),
    ],
)
def test_a_false_equality_is_incorrect_and_named_as_written(step: str, span: str) -> None:
    (verdict,) = check_steps("", [step])
    assert (verdict.status, verdict.span, verdict.rule) == (INCORRECT, span, Rule.ARITHMETIC)


@pytest.mark.parametrize(
    "step",
    [
        "",
        "She thinks hard.",
        "There are 5 more = 8",
        "x = 5",
        "20 minutes = (60+20) minutes",
        "f(3) + 1 = 8",
        "75 + 10% of the price = 90",
        "20% of 30 + 10 = 8",
        "3*30 = 30 + M",
        "6 km / 1/30 = 180",
        "12 x 1 and 1/4 = 15",
        "0900-0130 = 0730",
        "1/0 = 3",
        "9^9^9^9 = 1",
        "4 <= 5 + 1",
        "19+4==3",
        "-2-4=58",
        # Read wrongly once, on real solutions
        "There have been 100 / 5 = 20 times 2 people",
        "They read 180 pages because 14, 400 / 80 = 180",
        "13,200 seconds is 13,2000 / 60 = 220 minutes",
        "Weeks 1-2 = 96 - 70",
        "10 pages on day 1 * 2 = 20",
        ".8 + . 84 + .82 = 2.46",
        "4/15 is 4/15*$75",
        "2/5 is equal to 12.8 hectares",
        "7 minutes x 60 seconds per minute = 420 seconds + 23 seconds",
        "his 25 classmates + his 1 teacher + 1 himself = 27",
        "20 + 10 to the 29 + 24 decorations already up = 83",
        "$45 is (($45/$300)*100)% = 15% of $300",
        "2x4x10 boards = 10 * $10",
        r"\(3 \text{ boxes} + 2 \text{ loose pencils} = 26\)",
        r"\(3 \text{ miles} = 3 \times 5281\)",
        r"\[\text{Corey's age} - 2 = 11 - 2\]",
        r"the conversion factor $\frac{7\text{ knicks}}{2\text{ knacks}} = 1$",
        r"$3 \text{ Y } 2 = 3^2 - 2$",
        r"$9\textbf{C}4=9\cdot7\cdot2$",
        r"$\frac{15}{25}=60$ percent",
        r"$\frac 26, \frac 28 = \frac 13, \frac 14$",
        r"$\text{lcm}(100,120) = 2^3 \cdot 3$",
        r"$(\frac{3}{2})^24 = 1$",
        r"$f^{-1}(2) + 1 = 5$",
        r"a $6-8-10 = 3-4-5$ triangle",
        "\\begin{align*} 100 &= 1 + 2 \\\\ &\\quad + 97 \\end{align*}",
        r"$7 + 5 = 2 \pmod{10}$",
        r"Then $0 + 1 = 2$, a contradiction.",
        "$101_2 + 1 = 6$",
    ],
)
def test_what_cannot_be_read_with_certainty_is_not_judged(step: str) -> None:
    assert status(step) is NOT


def test_a_problem_that_gives_signs_or_digits_another_meaning_keeps_steps_from_being_flagged() -> None:
    assert status("$3*2 = 3^2 + 1$", "If $a*b$ means $a^2+1$, find $3*2$.") is not INCORRECT
    assert status("4 + 4 = 11", "Add the numbers in base 7.") is NOT
    assert status("4 + 4 = 11", "Add the numbers.") is INCORRECT


def test_one_verdict_a_step_in_order() -> None:
    verdicts = check_steps("12+3-4=?", ["12+3=15\n", "15-4=12\n", "#### 12"])
    assert [row.status for row in verdicts] == [CORRECT, INCORRECT, NOT]
    assert [row.n_checked for row in verdicts] == [1, 1, 0]
    assert [row.rule for row in verdicts] == [Rule.ARITHMETIC, Rule.ARITHMETIC, None]


def test_drawn_arithmetic_is_correct_and_any_other_result_incorrect() -> None:
    rng = random.Random(0)
    for _ in range(100):
        problem = draw_problem(rng.randint(1, 20), rng)
        assert problem.solution is not None
        *steps, answer = problem.solution.splitlines(keepends=True)
        assert {row.status for row in check_steps(problem.prompt, steps)} == {CORRECT}
        assert status(answer) is NOT
        place = rng.randrange(len(steps))
        left, result = steps[place].split("=")
        wrong = [*steps[:place], f"{left}={int(result) + rng.choice([-10, -1, 1, 2, 100])}\n", *steps[place + 1 :]]
        verdicts = check_steps(problem.prompt, wrong)
        assert [row.status is INCORRECT for row in verdicts] == [at == place for at in range(len(steps))]


@given(st.lists(st.integers(0, 999), min_size=2, max_size=6), st.lists(st.sampled_from("+-*"), min_size=5, max_size=5))
def test_results_agree_with_python_on_its_own_integers(numbers: list[int], operators: list[str]) -> None:
    text = str(numbers[0]) + "".join(f" {sign} {number}" for sign, number in zip(operators, numbers[1:], strict=False))
    value = eval(text)  # noqa: S307 - our own digits
    assert status(f"{text} = {value}") is CORRECT
    assert status(f"{text} = {value + 1}") is INCORRECT
