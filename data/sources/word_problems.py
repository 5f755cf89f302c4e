r"""Word problems and competition mathematics: GSM8K, MATH, SVAMP, ASDiv. Each function reads one raw row.

The answer is what a checker compares: no thousands commas, no unit, `51` for `51.0`. The worked solution is kept as it
is, GSM8K's `<<48/2=24>>` marks and `#### 24` line included.
"""

from __future__ import annotations

import re

from data.records import Kind, Problem
from data.sources.base import Row, RowError, optional_text, plain_text, text_field, without_zero_fraction

_BOXED = re.compile(r"\\f?boxed\s*(?:\{|([^\s{}\\$]))")
_QUANTITY = re.compile(r"\s*(-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?)\s*\([^()]*\)\s*")


def parse_gsm8k(row: Row) -> Problem:
    """Fields `question` and `answer`; the gold answer follows the last `####`."""
    solution = text_field(row, "answer")
    _, mark, answer = solution.rpartition("####")
    if not mark:
        raise RowError("no_answer", "no '####' in field 'answer'")
    answer = re.sub(r"(?<=\d),(?=\d)", "", answer.strip())
    return Problem.create(prompt=text_field(row, "question"), answer=answer, kind=Kind.MATH, solution=solution)


def parse_math(row: Row) -> Problem:
    r"""Fields `problem`, `solution`, `answer`, `level`; MATH-500 has no `solution`, the hub's MATH no `answer`.

    The answer is what the solution boxes last, which is the benchmark's own rule. Field `answer` is used where nothing
    is boxed: in copies of MATH it has often been put through a normalizer that drops the row breaks of matrices.
    """
    solution = optional_text(row, "solution")
    answer = last_boxed(solution) or optional_text(row, "answer").strip()
    return Problem.create(
        prompt=text_field(row, "problem"),
        answer=answer,
        kind=Kind.MATH,
        solution=solution,
        difficulty=optional_text(row, "level"),
    )


def last_boxed(text: str) -> str:
    r"""What the last `\boxed{..}` holds, braces matched; also `\boxed 2`. Empty if there is none or it stays open."""
    boxes = list(_BOXED.finditer(text))
    if not boxes:
        return ""
    found = boxes[-1]
    if found[1]:
        return found[1]
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[found.end() :]):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[found.end() : found.end() + brace.start()].strip()
    return ""


def parse_svamp(row: Row) -> Problem:
    """Fields `Body`, `Question` and `Answer` (a number, also as text); the `Equation` is the solution."""
    body, question = text_field(row, "Body").strip(), text_field(row, "Question").strip()
    # Many bodies lack their full stop.
    stop = "." if body and body[-1] not in ".?!," else ""
    answer = without_zero_fraction(plain_text(row["Answer"])) if row.get("Answer") is not None else ""
    return Problem.create(
        prompt=f"{body}{stop} {question}".strip() if question else "",
        answer=answer,
        kind=Kind.MATH,
        solution=optional_text(row, "Equation"),
    )


def parse_asdiv(row: Row) -> Problem:
    """Fields `body`, `question` and `answer` with its unit: `9 (apples)` is `9`.

    Several answers, `5 (red); 3 (blue)`, become `5, 3`. An answer that is no quantity (`3:4`, `Mrs. Hilt`, `3:30 p.m.`)
    is kept as it is. The `formula` is the solution.
    """
    parts = [_without_unit(part) for part in optional_text(row, "answer").split(";")]
    body, question = optional_text(row, "body").strip(), text_field(row, "question").strip()
    return Problem.create(
        prompt=f"{body} {question}".strip() if question else "",
        kind=Kind.MATH,
        answer=", ".join(part for part in parts if part),
        solution=optional_text(row, "formula"),
        difficulty=optional_text(row, "grade"),
    )


def _without_unit(answer: str) -> str:
    quantity = _QUANTITY.fullmatch(answer)
    return quantity[1].replace(",", "") if quantity else without_zero_fraction(answer)
