"""Procedural source `arithmetic`: chains of additions and subtractions whose worked steps are known exactly.

Difficulty is the number of operations. The first number is 10..99, the others 2..9, and no partial result is negative:
the single operations are easy, keeping a long chain of them straight is what is hard. Whether a problem is
`train` or `test` depends on its own hash alone, so no seed can ever put one problem on both sides.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from data.errors import InputError
from data.ids import derive_seed
from data.records import Kind, Problem

MAX_DIFFICULTY = 20
_OPTIONS = ("difficulty", "n", "seed")
_TEST_SHARE = 10
"""One problem in ten, by hash, is a test problem."""


def draw_problem(difficulty: int, rng: random.Random) -> Problem:
    """Draw one problem of `difficulty` operations, with its worked steps as `solution`."""
    value = rng.randint(10, 99)
    expression, steps = str(value), []
    for _ in range(difficulty):
        operand = rng.randint(2, 9)
        # Half of the operations subtract wherever the result stays non-negative.
        operator = "-" if operand <= value and rng.random() < 0.5 else "+"
        result = value - operand if operator == "-" else value + operand
        expression += f"{operator}{operand}"
        steps.append(f"{value}{operator}{operand}={result}\n")
        value = result
    solution = "".join(steps) + f"#### {value}"
    problem = Problem.create(
        prompt=f"{expression}=?",
        answer=str(value),
        kind=Kind.MATH,
        source="arithmetic",
        difficulty=str(difficulty),
        licence="CC0-1.0",
        solution=solution,
    )
    return problem


def split_of(problem: Problem) -> str:
    """`train` or `test`, by the problem's hash."""
    return "test" if int(problem.id, 16) % _TEST_SHARE == 0 else "train"


def _counts(options: Mapping[str, Any]) -> dict[int, int]:
    """Number of problems of each difficulty, checked."""
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, 1)
            cure = f"Did you mean '{near[0]}'?" if near else f"Use {', '.join(_OPTIONS)}."
            raise InputError(f"arithmetic: unknown option '{name}'.", cure)
    wanted, each = options.get("difficulty", [1, 2, 3]), options.get("n", 100)
    counts = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted if isinstance(wanted, list) else [], each)
    try:
        return {int(level): _whole(count) for level, count in counts.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"arithmetic: {error}.", "Give whole numbers, e.g. {difficulty: [3, 4], n: 100}.") from error


def _whole(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{count!r} is no number of problems")
    return count


def read_arithmetic(options: Mapping[str, Any], split: str = "train") -> Iterator[Problem]:
    """Yield distinct problems of one split.

    Args:
        options: `difficulty` (a list of operation counts, each with `n` problems, or a mapping of operation count to
            number of problems; 1 to 3, with 100 each, where nothing is said) and `seed`.
        split: `train` or `test`.

    Raises:
        InputError: an option is out of range, or a difficulty does not have `n` distinct problems.
    """
    seed, counts = options.get("seed", 0), _counts(options)
    if not isinstance(seed, int):
        raise InputError(f"arithmetic: the seed {seed!r} is no whole number.", "Give one.")
    if not counts or min(counts) < 1 or max(counts) > MAX_DIFFICULTY:
        raise InputError(f"arithmetic: difficulty {list(counts)} is out of range.", f"Give 1..{MAX_DIFFICULTY}.")
    seen: set[str] = set()
    for level, count in counts.items():
        rng = random.Random(derive_seed("arithmetic", seed, split, level))
        found = tries = 0
        while found < count:
            problem = draw_problem(level, rng)
            tries += 1
            if tries > 50 * count + 10_000:
                raise InputError(
                    f"arithmetic: fewer than {count} distinct problems of difficulty {level}.",
                    "Lower `n` or raise `difficulty`.",
                )
            if problem.id not in seen and split_of(problem) == split:
                seen.add(problem.id)
                found += 1
                yield replace(problem, split=split)
