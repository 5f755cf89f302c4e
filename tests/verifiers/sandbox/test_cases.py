"""What of a model's text is run, and how it is joined with the problem's prompt."""

from __future__ import annotations

import json

import pytest

from data.errors import UserError
from data.records import Kind, Problem
from verifiers.sandbox.cases import StdioCase, program_case

PROMPT = 'import math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Do it."""\n'


def _problem(**changes: str) -> Problem:
    fields = {"prompt": PROMPT, "tests": "def check(c):\n    assert c(1) == 1\n\ncheck(f)\n"} | changes
    return Problem.create(answer="", kind=Kind.CODE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("    return x\n", PROMPT + "    return x\n"),
        ("return x\n", PROMPT + "    return x\n"),
        ("```python\n    return x\n```", PROMPT + "    return x\n"),
        ("def f(x):\n    return x\n", PROMPT + "\ndef f(x):\n    return x\n"),
        (
            "Try:\n```\nprint(1)\n```\nBetter:\n```py\ndef f(x): return x\n```\nUse:\n```\nf(1)\n```",
            PROMPT + "\ndef f(x): return x\n",
        ),
        ("```python\r\ndef f(x): return x\r\n", PROMPT + "\ndef f(x): return x\n"),
        ("```bash\nls\n```\n```python\ndef f(x): return x\n```", PROMPT + "\ndef f(x): return x\n"),
    ],
)  # fmt: skip
def test_completion_goes_on_from_a_prompt_that_is_code(completion: str, program: str) -> None:
    case = program_case(_problem(), completion)
    assert (case.program, case.trusted_setup, case.entry_points) == (program, PROMPT, ())


def test_prompt_in_words_is_no_part_of_the_program() -> None:
    problem = _problem(
        prompt="Write sum.", tests="assert sum(1, 2) == 3\n", solution="def sum(a, b):\n    return a + b\n"
    )
    case = program_case(problem, "Sure.\n\n```python\ndef sum(a, b): return a + b\n```\nDone.")
    assert (case.program, case.trusted_setup, case.entry_points) == ("def sum(a, b): return a + b\n", "", ("sum",))


def test_tests_in_json_are_inputs_and_outputs() -> None:
    case = program_case(_problem(tests=json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})), "print(2)")
    assert case.tests == [StdioCase(stdin="1\n", stdout="2\n")]


@pytest.mark.parametrize(
    "tests", ['{"inputs": ["1"], "outputs": []}', "{", '{"a": 1}', '{"inputs": [[1]], "outputs": [1]}']
)
def test_tests_in_broken_json_are_refused(tests: str) -> None:
    with pytest.raises(UserError, match="tests of problem"):
        program_case(_problem(tests=tests), "print(2)")


def test_other_kinds_of_problem_are_refused() -> None:
    with pytest.raises(UserError, match="kind"):
        program_case(Problem.create(prompt="1+1?", answer="2"), "2")
