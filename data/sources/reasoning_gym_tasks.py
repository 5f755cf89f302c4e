"""Generated source `reasoning_gym`: problems of one task of the optional package `reasoning-gym` (Apache-2.0).

Whether a problem is `train` or `test` depends on its own hash alone, so no seed can put one problem on both sides.
Answers are compared as answers: a task whose package scores many answers as right (`score_answer`) is checked against
its one reference answer here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from data.errors import DependencyError, InputError
from data.ids import derive_seed
from data.records import Kind, Problem
from data.sources.base import Reject, RowError, check_problem, excerpt_of, plain_text

OPTIONS = ("task", "n", "seed")
MAX_CHARS = 100_000
_NEED_MORE_OPTIONS = {"composite"}
_HOPELESS = 100
"""A task whose first hundred problems are all rejected is given up."""
_TEST_SHARE = 10
"""One problem in ten, by hash, is a test problem."""


def read_reasoning_gym(options: Mapping[str, Any], split: str = "train") -> Iterator[Problem | Reject]:
    """Yield `n` distinct problems of one split.

    Args:
        options: `task` (a name of reasoning-gym, needed), `n` (how many, 1000) and `seed` (0).
        split: `train` or `test`.

    Raises:
        DependencyError: reasoning-gym is not installed.
        InputError: an option is wrong, or the task does not have `n` distinct problems.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        # A half-installed reasoning-gym lacks one of its own dependencies: name that one.
        raise DependencyError(error.name or "reasoning_gym", "reasoning-gym") from error
    task, count, seed = _checked(options, sorted(set(DATASETS) - _NEED_MORE_OPTIONS))
    limit = 20 * count + 1000
    # Item i of seed s is item i-1 of seed s+1 there: a derived seed keeps runs with neighbouring seeds apart.
    first = derive_seed("reasoning_gym", task, seed) % 2**31
    # Nine in ten items are `train`, one in ten `test`: the limit leaves room for either, and for repeated items.
    dataset = reasoning_gym.create_dataset(task, size=limit, seed=first)
    seen: set[str] = set()
    rejected = 0
    for index in range(limit):
        if len(seen) == count:
            return
        outcome = _problem(dataset[index], f"{task}[{index}]", f"reasoning_gym/{task}", split)
        if isinstance(outcome, Reject):
            rejected += 1
            yield outcome
            if rejected == index + 1 == _HOPELESS:
                raise InputError(
                    f"reasoning_gym: no problem of '{task}' can be used ({outcome.detail}).",
                    "Such a task scores answers itself; use another.",
                )
        elif outcome.id not in seen and _split_of(outcome) == split:
            seen.add(outcome.id)
            yield outcome
    if len(seen) < count:
        raise InputError(f"reasoning_gym: fewer than {count} distinct problems of '{task}'.", "Lower `n`.")


def _split_of(problem: Problem) -> str:
    return "test" if int(problem.id, 16) % _TEST_SHARE == 0 else "train"


def _checked(options: Mapping[str, Any], tasks: list[str]) -> tuple[str, int, int]:
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"reasoning_gym: unknown option '{name}'.", f"Use {', '.join(OPTIONS)}.")
    task, count, seed = options.get("task", ""), options.get("n", 1000), options.get("seed", 0)
    if task not in tasks:
        near = difflib.get_close_matches(str(task), tasks, n=1)
        raise InputError(
            f"reasoning_gym: no task '{task}'.",
            f"Did you mean '{near[0]}'?" if near else f"Set option `task`, e.g. '{tasks[0]}'.",
        )
    for name, value, least in (("n", count, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"reasoning_gym: option '{name}' is {value!r}.", f"Give a whole number from {least} up.")
    return task, count, seed


def _problem(entry: Mapping[str, Any], where: str, source: str, split: str) -> Problem | Reject:
    try:
        answer = entry.get("answer")
        problem = Problem.create(
            prompt=plain_text(entry.get("question")),
            kind=Kind.MATH,
            source=source,
            answer="" if answer is None else plain_text(answer),
            licence="Apache-2.0",
            split=split,
        )
        check_problem(problem, MAX_CHARS)
    except RowError as error:
        return Reject(where=where, reason=error.reason, detail=error.detail, excerpt=excerpt_of(dict(entry)))
    return problem
