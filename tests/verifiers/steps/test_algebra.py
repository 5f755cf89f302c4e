"""Steps with letters: values carried on, equations rewritten, polynomials expanded."""

from __future__ import annotations

import pytest

from verifiers.steps import Rule, StepStatus, check_steps

CORRECT, INCORRECT, NOT = StepStatus.CORRECT, StepStatus.INCORRECT, StepStatus.NOT_CHECKABLE


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        (["2x + 3 = 11", "2x = 8", "x = 5"], Rule.REWRITE),
        ([r"We have \[3(x - 2) = 2x + 5\]", r"Expanding, \[3x - 6 = 2x + 6.\]"], Rule.REWRITE),
        (["x^2 - 5x + 6 = 0", "so x = 4"], Rule.REWRITE),
        (["x^2 - 5x + 6 = 0", "(x - 2)(x - 4) = 0"], Rule.REWRITE),
        (["X = 669 - 223", "Which means that X = 447."], Rule.REWRITE),
        (["53 - B = 8", "Adding B to both sides produces 52 = B + 8"], Rule.REWRITE),
        (["Let x = 5.", "Then 2x + 1 = 12."], Rule.CARRIED),
        (["$AB = 20$ and so on.", "$BC = 15$", "$AB + BC = 36$"], Rule.CARRIED),
        (["The area is $A = (x+1)^2 = x^2 + 2x + 2$."], Rule.IDENTITY),
        (["$A = (x + y)(x - y) + y^2 = x^2$", "$B = (x+1)(x-1) = x^2 + 1$"], Rule.IDENTITY),
    ],
)
def test_the_last_step_is_flagged_by_its_rule(steps: list[str], rule: Rule) -> None:
    verdicts = check_steps("", steps)
    assert [row.status is INCORRECT for row in verdicts] == [False] * (len(steps) - 1) + [True]
    assert verdicts[-1].rule is rule


@pytest.mark.parametrize(
    "steps",
    [
        ["2x + 3 = 11", "2x = 8", "x = 4"],
        [r"\[\frac{x}{3} + 1 = 5\]", r"\[x + 3 = 15\]", r"\[x = 12\]"],
        [r"$\pi r^2 = 64\pi$", "$r^2 = 64$", "$r = 8$"],
        ["x^2 - 5x + 6 = 0", "(x - 2)(x - 3) = 0", "x = 3"],
        ["3x = 10", "x = 3.33"],
        ["x = 3 + 4 = 7", "2x = 14", "x + 3 = 10"],
    ],
)
def test_rewrites_and_carried_values_that_hold_are_correct(steps: list[str]) -> None:
    verdicts = check_steps("", steps)
    assert {row.status for row in verdicts[1:]} == {CORRECT}


def test_identities_are_exact_over_roots_and_fractions() -> None:
    steps = [
        r"$(x+1)^2 = x^2+2x+1$",
        r"$\frac{1}{n-2} - \frac{1}{n+2} = \frac{4}{n^2-4}$",
        r"$(x - \sqrt{2})(x + \sqrt{2}) = x^2 - 2$",
    ]
    assert {(row.status, row.rule) for row in check_steps("", steps)} == {(CORRECT, Rule.IDENTITY)}


@pytest.mark.parametrize(
    "steps",
    [
        ["x^2 = 2x + 3"],
        ["$(t-6)(2t-5) = 2t^2 - 11t + 30$"],
        ["|x - 5| = 12", "$x - 5 = 12$ and $x - 5 = -12$", "$x = 17$ or $x = -7$"],
        ["x = 2 or x = 3", "When x = 2, y = 4.", "When x = 3, y = 9."],
        ["If x = 5, then 2x = 10.", "If x = 6, then 2x = 12."],
        ["Let x = 5.", "Now let x = 6.", "2x = 12"],
        ["Let x = 3.", "Solving $-x + 3 = 1.8$ yields $x = 1.2$."],
        ["$49+4c=1$", "$c=-12$", "$49+4c=9$", "$c=-10$"],
        ["Thus $2n-7=3$ and $2n-7=-3$", "we find the solutions $n=5$ and $n=2$"],
        ["For the first case $4x = 32$; for the second, $4x = -32$", "so $x = -8$ or $x = 8$"],
        [r"Hence $\frac{x}{y} = \frac{8}{k - 1} = \frac{k - 1}{2}$."],
        ["$12 = x^2 - y^2 = (x+y)(x-y) = 6(x-y)$"],
        ["The number of spaces in section 2 = x + 200.", "We know that 320 + x + 200 + x = 1000."],
        ["$i^2 = 3 - 4$"],
        ["$x = 50\\%$", "$2x = 100$"],
        [r"$\mathbf{b} \times \mathbf{a} = -\mathbf{a} \times \mathbf{b}$"],
    ],
)
def test_equations_cases_and_new_values_are_not_flagged(steps: list[str]) -> None:
    assert INCORRECT not in {row.status for row in check_steps("", steps)}


def test_letters_that_the_problem_binds_are_no_free_letters() -> None:
    chain = ["$E = x^2 + x = 6x$"]
    assert check_steps("", chain)[0].status is INCORRECT
    assert check_steps("Given $x^2 = 5x$, find $x^2 + x$.", chain)[0].status is NOT
