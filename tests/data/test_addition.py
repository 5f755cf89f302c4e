"""The addition source: lines are true and carry over, splits are disjoint, draws are repeatable."""

from __future__ import annotations

import re

import pytest

from data.errors import InputError
from data.sources import read_problems
from data.sources.addition import read_addition
from data.steps import split_steps
from verifiers import StepStatus, check_answer, check_steps

LENGTHS = {1: 40, 2: 40, 3: 40, 5: 40, 9: 40}


def test_lines_add_the_digits_from_the_right_and_carry_to_the_answer() -> None:
    for problem in read_addition({"difficulty": LENGTHS}):
        *lines, last = problem.solution.split("\n")
        left, right = problem.prompt.removesuffix("=?").split("+")
        assert len(lines) == len(left) == len(right) == int(problem.difficulty)
        carry, digits = 0, ""
        for place, line in enumerate(lines, 1):
            *terms, result = map(int, re.split(r"[+=]", line))
            assert terms == [int(left[-place]), int(right[-place]), carry]
            assert result == sum(terms)
            assert len(line) == len("9+9+1=19")
            carry, digits = result // 10, f"{result % 10}{digits}"
        assert last == f"#### {problem.answer}"
        assert int(f"{carry}{digits}") == int(problem.answer) == int(left) + int(right)


def test_every_line_is_a_step_that_the_checker_confirms_and_the_answer_verifies() -> None:
    for problem in read_addition({"difficulty": {5: 20}}):
        steps = split_steps(problem.solution)
        *lines, last = [verdict.status for verdict in check_steps(problem.prompt, steps)]
        assert len(steps) == 6
        assert lines == [StepStatus.CORRECT] * 5
        assert last is not StepStatus.INCORRECT
        assert check_answer(problem.answer, problem.solution, kind="text").status == "correct"


def test_a_wrong_digit_is_found_in_its_line() -> None:
    verdicts = check_steps("624+259=?", ["4+9+0=13\n", "2+5+1= 9\n", "6+2+0= 8\n", "#### 893"])
    assert [verdict.status is StepStatus.INCORRECT for verdict in verdicts] == [False, True, False, False]


def test_no_seed_puts_a_problem_on_both_sides() -> None:
    def drawn(split: str, counts: dict[int, int]) -> set[str]:
        return {row.prompt for seed in range(5) for row in read_addition({"difficulty": counts, "seed": seed}, split)}

    assert not drawn("train", {1: 60, 2: 500}) & drawn("test", {1: 5, 2: 50})


def test_equal_options_draw_equal_problems_without_repeats() -> None:
    # As a recipe hands them on: JSON has no integer keys.
    options = {"difficulty": {"1": 60, "4": 100}, "seed": 4}
    drawn = list(read_problems("addition", options=options))
    assert drawn == list(read_problems("addition", options=options))
    assert len({row.id for row in drawn}) == 160
    assert drawn != list(read_problems("addition", options=options | {"seed": 5}))


@pytest.mark.parametrize(
    "options",
    [{}, {"difficulty": [2]}, {"difficulty": {0: 5}}, {"difficulty": {2: True}}, {"difficulty": {"x": 5}},
     {"difficulty": {21: 5}}, {"difficulty": {1: 500}}, {"difficulty": {2: 5}, "seed": "x"}, {"digits": {2: 5}}],
)  # fmt: skip
def test_options_out_of_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="addition"):
        list(read_addition(options))
