"""Programming problems: MBPP, HumanEval. Each function reads one raw row.

`tests` is a program to run after the candidate's; it passes if it ends without an exception. `solution` is a whole
reference program. `answer` is empty: the tests decide.
"""

from __future__ import annotations

from data.records import Kind, Problem
from data.sources.base import Row, RowError, optional_text, text_field

_MBPP_TEST_IDS = range(11, 511)
_MBPP_VALIDATION_IDS = range(511, 601)


def parse_mbpp(row: Row) -> Problem:
    """Fields `text` (`prompt` in the sanitized form), `code`, `test_list`, `test_setup_code` or `test_imports`.

    The prompt shows the first test, which alone tells the function's name and arguments; the others stay unseen, so
    that they cannot be answered by rote. The `challenge_test_list` is not used, as in the published numbers.
    """
    tests = _lines(row, "test_list")
    if not tests:
        raise RowError("no_answer", "'test_list' is empty")
    task = (optional_text(row, "text") or text_field(row, "prompt")).strip()
    prompt = f"{task}\nYour code should pass tests such as:\n{tests[0]}" if task else ""
    setup = [*_lines(row, "test_imports"), _unix(optional_text(row, "test_setup_code"))]
    program = "\n".join([*(line for line in setup if line.strip()), *tests]) + "\n"
    return Problem.create(
        prompt=prompt, answer="", kind=Kind.CODE, tests=program, solution=_unix(optional_text(row, "code"))
    )


def mbpp_split(row: Row) -> str:
    """The split of a row by its `task_id`: 1-10 prompt, 11-510 test, 511-600 validation, the rest train."""
    task_id = row.get("task_id")
    if not isinstance(task_id, int):
        raise RowError("missing_field", "no whole number 'task_id', which tells the split")
    if task_id in _MBPP_TEST_IDS:
        return "test"
    if task_id in _MBPP_VALIDATION_IDS:
        return "validation"
    return "prompt" if task_id <= 10 else "train"


def parse_humaneval(row: Row) -> Problem:
    """Fields `prompt` (imports, helpers, signature and docstring), `canonical_solution`, `test`, `entry_point`.

    The tests call only the entry point, but three of the 164 problems also use a helper that stands in the prompt: a
    candidate must contain the prompt's code.
    """
    entry_point, prompt = text_field(row, "entry_point"), _unix(text_field(row, "prompt"))
    if not entry_point.isidentifier():
        raise RowError("bad_field", f"entry_point '{entry_point[:40]}' is no name")
    tests = _unix(text_field(row, "test"))
    program = f"{tests.rstrip()}\n\ncheck({entry_point})\n" if tests.strip() else ""
    body = _unix(optional_text(row, "canonical_solution"))
    return Problem.create(
        prompt=prompt, answer="", kind=Kind.CODE, tests=program, solution=prompt + body if body else ""
    )


def _lines(row: Row, name: str) -> list[str]:
    value = row.get(name)
    if value is None and name != "test_list":
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowError("missing_field" if value is None else "bad_field", f"field '{name}' is not a list of texts")
    return [_unix(item) for item in value]


def _unix(text: str) -> str:
    """MBPP mixes line endings, in its code and even within one program."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
