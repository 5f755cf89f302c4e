"""The arithmetic source: steps are right, splits are disjoint, draws are repeatable."""

from __future__ import annotations

import re

import pytest

from data.errors import InputError
from data.sources.arithmetic import read_arithmetic


def test_every_worked_step_is_true_and_leads_to_the_answer() -> None:
    for problem in read_arithmetic({"n": 50, "difficulty": [1, 2, 5, 9]}):
        *steps, last = problem.solution.split("\n")
        assert last == f"#### {problem.answer}"
        assert len(steps) == int(problem.difficulty)
        value = None
        for step in steps:
            left, operator, operand, result = re.fullmatch(r"(\d+)([+-])(\d+)=(\d+)", step).groups()  # type: ignore[union-attr]
            assert value in (None, int(left))
            value = int(left) + int(operand) * (1 if operator == "+" else -1)
            assert value == int(result)
        assert problem.prompt.endswith("=?")
        assert eval(problem.prompt[:-2]) == int(problem.answer)  # noqa: S307 - our own digits


def test_no_seed_puts_a_problem_on_both_sides() -> None:
    train = {row.prompt for seed in range(5) for row in read_arithmetic({"n": 100, "difficulty": [1], "seed": seed})}
    test = {
        row.prompt for seed in range(5) for row in read_arithmetic({"n": 60, "difficulty": [1], "seed": seed}, "test")
    }
    assert not train & test


def test_equal_options_draw_equal_problems_without_repeats() -> None:
    options = {"n": 200, "difficulty": [2, 3], "seed": 4}
    drawn = list(read_arithmetic(options))
    assert drawn == list(read_arithmetic(options))
    assert len({row.id for row in drawn}) == 400
    assert drawn != list(read_arithmetic(options | {"seed": 5}))


@pytest.mark.parametrize("options", [{"difficulty": [0]}, {"difficulty": []}, {"n": 1500, "difficulty": [1]}])
def test_options_out_of_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="arithmetic"):
        list(read_arithmetic(options))
