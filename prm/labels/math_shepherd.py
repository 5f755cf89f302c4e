r"""Math-Shepherd's format: the solution with a mark after each step (`input`); with + or - in its place (`label`).

    input  "How many? Step 1: 3 + 4 = 7 ки\nStep 2: The answer is: 7 ки"
    label  "How many? Step 1: 3 + 4 = 7 +\nStep 2: The answer is: 7 +"

The two texts are walked side by side, so that a `ки` within a word, or a plus sign in the mathematics, is no mark.
Problem and first step are told apart by `Step 1:`. Paper: Wang et al., arXiv 2312.08935.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.sources.base import Row, RowError, optional_text, text_field
from prm.labels.solution import LabelledSolution

MARK = "ки"
_FIRST = "Step 1:"


def parse_math_shepherd(row: Row) -> list[LabelledSolution]:
    """One row; the steps keep their `Step 1:`."""
    pieces, values, rest = _walk(text_field(row, "input"), text_field(row, "label"))
    if not pieces:
        raise RowError("zero_steps", f"no mark '{MARK}' in field 'input'")
    # The last one: a problem may speak of a step 1 of its own.
    problem, found, first = pieces[0].rpartition(_FIRST)
    if not found:
        raise RowError("no_first_step", f"no '{_FIRST}' tells where the problem ends")
    steps = [_FIRST + first, *pieces[1:]]
    return [
        LabelledSolution(
            problem=problem.strip(),
            steps=tuple(step.strip() for step in steps),
            values=tuple(values),
            source="monte_carlo",
            dataset="math_shepherd",
            generator=optional_text(row, "task"),
            tail=(rest.strip(),) if rest.strip() else (),
        )
    ]


def render_math_shepherd(solutions: Sequence[LabelledSolution]) -> Row:
    """A row of hard labels. Steps that are not numbered get `Step 1:`, `Step 2:`, ... put before them."""
    (solution,) = solutions
    steps = list(solution.steps)
    if not steps[0].startswith(_FIRST):
        steps = [f"Step {number}: {step}" for number, step in enumerate(steps, start=1)]
    if any(value not in (0, 1) for value in solution.values):
        raise RowError("unlabelled_step" if None in solution.values else "soft_label", "labels are + or -")
    if steps[0].count(_FIRST) > 1:
        raise RowError("no_first_step", f"step 1 says '{_FIRST}' twice")
    signs = ["+" if value else "-" for value in solution.values]
    ends = list(solution.tail)
    return {
        "input": "\n".join([f"{solution.problem} " + "\n".join(f"{step} {MARK}" for step in steps), *ends]),
        "label": "\n".join(
            [
                f"{solution.problem} " + "\n".join(f"{step} {sign}" for step, sign in zip(steps, signs, strict=True)),
                *ends,
            ]
        ),
        "task": solution.generator,
    }


def _walk(text: str, labelled: str) -> tuple[list[str], list[float], str]:
    """Pieces of a text before each mark, the labels that stand in the marks' places, and what follows the last."""
    pieces: list[str] = []
    values: list[float] = []
    start = at = other = 0
    while (mark := text.find(MARK, at)) >= 0:
        length = mark - at
        if labelled[other : other + length] != text[at:mark]:
            raise RowError("label_mismatch", f"'input' and 'label' differ before mark {len(values) + 1}")
        other += length
        if labelled.startswith(MARK, other):  # Part of a word in both.
            at, other = mark + len(MARK), other + len(MARK)
            continue
        sign = labelled[other : other + 1]
        if sign not in ("+", "-"):
            raise RowError("label_count", f"no + or - for mark {len(values) + 1}")
        pieces.append(text[start:mark])
        values.append(float(sign == "+"))
        start = at = mark + len(MARK)
        other += 1
    if labelled[other:].rstrip() != text[at:].rstrip():
        raise RowError("label_mismatch", "'input' and 'label' differ after the last mark")
    return pieces, values, text[start:]
