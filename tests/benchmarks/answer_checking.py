"""Ours and Math-Verify on the same file, one process each, in one run.

    pip install math-verify==0.9.0
    python tests/benchmarks/answer_checking.py CASES.jsonl [LIMIT]

Each line is {"gold": ..., "prediction": ..., "correct": true|false}; the prediction is a whole solution. Prints, for
each grader, right share, false accepts and rejects, undecided, cases a second, p50 and p99 in milliseconds, and cases
that took over two seconds; then the ratio of the two rates, and the lines on which they differ.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Grader = Callable[[str, str], bool | None]
LATE_SECONDS = 2.0


def ours() -> Grader:
    """check_answer; None where it is undecided."""
    from data.records import Status
    from verifiers import check_answer

    def grade(gold: str, prediction: str) -> bool | None:
        status = check_answer(gold, prediction, kind="text").status
        return None if status is Status.UNDECIDED else status is Status.CORRECT

    return grade


def math_verify() -> Grader:
    """Math-Verify with its defaults; the gold in dollars, as its own documentation has it."""
    from math_verify import parse, verify

    return lambda gold, prediction: bool(verify(parse(f"${gold}$"), parse(prediction)))


def measure(name: str, grade: Grader, cases: list[dict[str, object]]) -> tuple[float, list[bool | None]]:
    """Grade all cases, print a line, and return cases a second and the verdicts."""
    grade("1/2", "The answer is $\\frac{1}{2}$.")
    verdicts, seconds = [], []
    for case in cases:
        started = time.perf_counter()
        verdicts.append(grade(str(case["gold"]), str(case["prediction"])))
        seconds.append(time.perf_counter() - started)
    right = sum(verdict == case["correct"] for verdict, case in zip(verdicts, cases, strict=True))
    accepts = sum(verdict is True and not case["correct"] for verdict, case in zip(verdicts, cases, strict=True))
    rejects = sum(verdict is False and bool(case["correct"]) for verdict, case in zip(verdicts, cases, strict=True))
    rate, ordered = len(cases) / sum(seconds), sorted(seconds)
    print(
        f"{name:12} {100 * right / len(cases):6.2f} % right, {accepts} false accepts, {rejects} false rejects, "
        f"{verdicts.count(None)} undecided; {rate:.0f} cases/s, p50 {1e3 * ordered[len(ordered) // 2]:.2f} ms, "
        f"p99 {1e3 * ordered[len(ordered) * 99 // 100]:.1f} ms, {sum(one > LATE_SECONDS for one in seconds)} late"
    )
    return rate, verdicts


def main() -> None:
    """Run both graders over a file."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")
    cases = [json.loads(line) for line in lines if line][: int(sys.argv[2]) if len(sys.argv) > 2 else None]
    mine, verdicts = measure("ours", ours(), cases)
    theirs, others = measure("Math-Verify", math_verify(), cases)
    print(f"ratio        {mine / theirs:.1f}x")
    for case, one, other in zip(cases, verdicts, others, strict=True):
        if one != other:
            tail = str(case["prediction"])[-80:]
            print(f"  gold {case['gold']!r} label {case['correct']} ours {one} theirs {other}: ...{tail!r}")


if __name__ == "__main__":
    main()
