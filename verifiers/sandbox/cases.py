"""What is run: a program and how it is tested, made by hand or from a problem and a model's completion."""

from __future__ import annotations

import builtins
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import UserError
from data.records import Kind, Problem

_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_LANGUAGES = ("", "python", "python3", "py")
_DEFINED = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
_CHECK = re.compile(r"^check\((\w+)\)\s*\Z", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioCase:
    """One test of a program that reads standard input and writes standard output."""

    stdin: str
    """All of its input."""
    stdout: str
    """What it must write; spaces at the ends of lines and empty lines at the end do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCase:
    """A program and its tests."""

    program: str
    """Source text."""
    tests: str | Sequence[StdioCase]
    """A test program, which passes if it ends without an exception; or inputs with their outputs, each a run."""
    trusted_setup: str = ""
    """Source text of helpers that the tests use; the program cannot replace them."""
    entry_points: tuple[str, ...] = ()
    """Names that the tests take from the program although a built-in or a module has the same name."""


def program_case(problem: Problem, completion: str) -> ProgramCase:
    """How a model's completion of a programming problem is run.

    The code is the last fenced block that defines what the tests call, else the last block, else the whole text. Where
    the prompt is itself the start of the program (HumanEval), code that defines the function anew comes after it, and
    anything else goes on from it; the prompt's helpers then are those of the tests. Names that the reference solution
    defines over a built-in (an own `sum`) are the program's.

    Args:
        problem: of kind `code`; its tests are a test program, or the JSON object `{"inputs": [...], "outputs": [...]}`.
        completion: what the model wrote.

    Raises:
        UserError: the problem is of another kind, or its tests are no such JSON.
    """
    if problem.kind is not Kind.CODE:
        raise UserError(f"problem {problem.id} is of kind '{problem.kind}'.", "Only problems of kind 'code' are run.")
    if problem.tests.lstrip().startswith("{"):
        return ProgramCase(program=_code(completion, ()), tests=_stdio_cases(problem))
    wanted = _wanted(problem)
    code = _code(completion, wanted)
    if not _starts_program(problem.prompt, wanted):
        return ProgramCase(program=code, tests=problem.tests, entry_points=_shadowing(problem))
    return ProgramCase(program=_continued(problem.prompt, code, wanted), tests=problem.tests,
                       trusted_setup=problem.prompt, entry_points=_shadowing(problem))  # fmt: skip


def _wanted(problem: Problem) -> tuple[str, ...]:
    """Names that the tests take from the program, as far as the problem tells."""
    if found := _CHECK.search(problem.tests.rstrip()):
        return (found.group(1),)
    defined = dict.fromkeys(_DEFINED.findall(problem.solution))
    return tuple(name for name in defined if re.search(rf"\b{name}\b", problem.tests))


def _shadowing(problem: Problem) -> tuple[str, ...]:
    return tuple(name for name in _wanted(problem) if hasattr(builtins, name) or name in sys.stdlib_module_names)


def _starts_program(prompt: str, wanted: tuple[str, ...]) -> bool:
    return any(name in wanted for name in _DEFINED.findall(prompt))


def _code(completion: str, wanted: tuple[str, ...]) -> str:
    found: list[tuple[str, str]] = _FENCE.findall(completion.replace("\r\n", "\n"))
    blocks = [block for language, block in found if language.lower() in _LANGUAGES]
    defining = [block for block in blocks if any(name in wanted for name in _DEFINED.findall(block))]
    return (defining or blocks or [completion])[-1]


def _continued(prompt: str, code: str, wanted: tuple[str, ...]) -> str:
    if any(name in wanted for name in _DEFINED.findall(code)):
        return f"{prompt}\n{code}"
    # The white space at the start of a completion is easily lost.
    indent = "" if code[:1].isspace() or not prompt.endswith("\n") else "    "
    return f"{prompt}{indent}{code}"


def _stdio_cases(problem: Problem) -> list[StdioCase]:
    cure = 'Give a test program, or {"inputs": [...], "outputs": [...]} with as many texts in each.'
    try:
        found = json.loads(problem.tests)
        inputs, outputs = found["inputs"], found["outputs"]
        pairs = list(zip(inputs, outputs, strict=True))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tests of problem {problem.id} cannot be read.", cure) from error
    if not all(isinstance(text, str) for pair in pairs for text in pair) or "fn_name" in found:
        raise UserError(f"the tests of problem {problem.id} are no texts of input and output.", cure)
    return [StdioCase(stdin=stdin, stdout=stdout) for stdin, stdout in pairs]
