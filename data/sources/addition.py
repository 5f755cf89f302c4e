"""Procedural source `addition`: sums of two numbers of equal length, worked digit by digit from the right.

STaR's arithmetic domain (Zelikman et al. 2022, section 4). Difficulty is the number of digits of each number. A step
adds two digits and the carry, and is an equation that holds by itself; all steps are equally long:

    624+259=?    4+9+0=13
                 2+5+1= 8
                 6+2+0= 8
                 #### 883
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from data.errors import InputError
from data.ids import derive_seed
from data.records import Kind, Problem
from data.sources.arithmetic import split_of

MAX_DIGITS = 20
_OPTIONS = ("difficulty", "seed")


def draw_sum(digits: int, rng: random.Random) -> Problem:
    """Draw one sum of two numbers of `digits` digits, with its worked steps as `solution`."""
    lowest = 10 ** (digits - 1) if digits > 1 else 0
    left, right = (rng.randint(lowest, 10**digits - 1) for _ in range(2))
    return Problem.create(
        prompt=f"{left}+{right}=?",
        answer=str(left + right),
        kind=Kind.MATH,
        source="addition",
        difficulty=str(digits),
        licence="CC0-1.0",
        solution=_worked(left, right, digits),
    )


def _worked(left: int, right: int, digits: int) -> str:
    """One line for each digit, from the right, and the answer."""
    lines, carry = [], 0
    for place in range(digits):
        a, b = (number // 10**place % 10 for number in (left, right))
        lines.append(f"{a}+{b}+{carry}={a + b + carry:>2}\n")
        carry = (a + b + carry) // 10
    return "".join(lines) + f"#### {left + right}"


def _checked(options: Mapping[str, Any]) -> tuple[int, dict[int, int]]:
    """The seed, and the number of problems of each length."""
    for name in options:
        if name not in _OPTIONS:
            raise InputError(f"addition: unknown option '{name}'.", f"Use {' and '.join(_OPTIONS)}.")
    seed, wanted = options.get("seed", 0), options.get("difficulty", {})
    if type(seed) is not int:
        raise InputError(f"addition: the seed {seed!r} is no whole number.", "Give one.")
    counts = wanted.items() if isinstance(wanted, Mapping) else ()
    if not counts or not all(str(digits).isdecimal() and type(count) is int and count > 0 for digits, count in counts):
        raise InputError(f"addition: difficulty {wanted!r}.", "Give digits and problems, e.g. {2: 100, 3: 100}.")
    lengths = {int(digits): count for digits, count in counts}
    if not 1 <= min(lengths) <= max(lengths) <= MAX_DIGITS:
        raise InputError(f"addition: difficulty {list(lengths)} is out of range.", f"Give 1..{MAX_DIGITS} digits.")
    return seed, lengths


def read_addition(options: Mapping[str, Any], split: str = "train") -> Iterator[Problem]:
    """Yield distinct sums of one split, which a problem's own hash decides.

    Args:
        options: `difficulty`, a mapping of number of digits to number of problems, and `seed`.
        split: `train` or `test`.

    Raises:
        InputError: an option is unknown or out of range, or a length does not have so many distinct problems.
    """
    seed, counts = _checked(options)
    for digits, count in counts.items():
        rng = random.Random(derive_seed("addition", seed, split, digits))
        seen: set[str] = set()
        for _ in range(50 * count + 10_000):
            if len(seen) == count:
                break
            problem = draw_sum(digits, rng)
            if problem.id not in seen and split_of(problem) == split:
                seen.add(problem.id)
                yield replace(problem, split=split)
        if len(seen) < count:
            raise InputError(
                f"addition: fewer than {count} distinct problems of {digits} digits for `{split}`.", "Lower the number."
            )
