"""Benchmarks of human step labels: ProcessBench, PRMBench and MR-GSM8K. One raw row, one solution; and back.

ProcessBench and MR-GSM8K name the first wrong step; what follows it has no label. PRMBench names every wrong step: they
were put in, and then checked by people.
Sources: Zheng et al., arXiv 2412.06559; Song et al., arXiv 2501.03124; Zeng et al., arXiv 2312.17080.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.sources.base import Row, RowError, optional_text, text_field
from prm.labels.fields import index_field, list_field, texts_field
from prm.labels.solution import LabelledSolution, values_up_to


def parse_process_bench(row: Row) -> list[LabelledSolution]:
    """Fields `problem`, `steps`, `label` (0-based first wrong step, -1 for none), `final_answer_correct`."""
    steps = texts_field(row, "steps")
    outcome = row.get("final_answer_correct")
    return [
        LabelledSolution(
            problem=text_field(row, "problem"),
            steps=steps,
            values=_up_to(index_field(row, "label"), steps),
            source="human",
            dataset="process_bench",
            row_id=optional_text(row, "id"),
            generator=optional_text(row, "generator"),
            outcome=outcome if isinstance(outcome, bool) else None,
        )
    ]


def render_process_bench(solutions: Sequence[LabelledSolution]) -> Row:
    """A row; steps after the first wrong one lose their label, steps before it must have one."""
    (solution,) = solutions
    return {
        "id": solution.row_id,
        "generator": solution.generator,
        "problem": solution.problem,
        "steps": list(solution.steps),
        "final_answer_correct": solution.outcome,
        "label": _certain_first_error(solution),
    }


def parse_mr_gsm8k(row: Row) -> list[LabelledSolution]:
    """Fields `question`, `model_output_steps`, `model_output_solution_correctness` and `.._first_error_step`.

    The step is counted from 1. Where the solution is correct it is `N/A` or 0.
    """
    steps = texts_field(row, "model_output_steps")
    verdict = text_field(row, "model_output_solution_correctness")
    if verdict not in ("correct", "wrong"):
        raise RowError("bad_label", f"a solution that is {verdict[:40]!r}")
    first = index_field(row, "model_output_solution_first_error_step") - 1 if verdict == "wrong" else -1
    if verdict == "wrong" and first < 0:
        raise RowError("bad_label", "a wrong solution without a wrong step")
    answer = row.get("model_output_answer_correctness")
    return [
        LabelledSolution(
            problem=text_field(row, "question"),
            steps=steps,
            values=_up_to(first, steps),
            source="human",
            dataset="mr_gsm8k",
            row_id=optional_text(row, "uuid"),
            gold=optional_text(row, "ground_truth_answer"),
            outcome=answer == "correct" if answer in ("correct", "wrong") else None,
        )
    ]


def render_mr_gsm8k(solutions: Sequence[LabelledSolution]) -> Row:
    """A row; steps after the first wrong one lose their label."""
    (solution,) = solutions
    first = _certain_first_error(solution)
    answer = {True: "correct", False: "wrong", None: ""}[solution.outcome]
    return {
        "uuid": solution.row_id,
        "question": solution.problem,
        "ground_truth_answer": solution.gold,
        "model_output_steps": list(solution.steps),
        "model_output_answer_correctness": answer,
        "model_output_solution_correctness": "wrong" if first >= 0 else "correct",
        "model_output_solution_first_error_step": first + 1 if first >= 0 else "N/A",
    }


def parse_prm_bench(row: Row) -> list[LabelledSolution]:
    """Fields `modified_question`, `modified_process` (the steps), `error_steps` (counted from 1), `classification`."""
    steps = texts_field(row, "modified_process")
    wrong = list_field(row, "error_steps", optional=True)
    if not all(type(step) is int and 1 <= step <= len(steps) for step in wrong):
        raise RowError("bad_label", f"wrong steps {str(wrong)[:80]} of {len(steps)}")
    return [
        LabelledSolution(
            problem=text_field(row, "modified_question"),
            steps=steps,
            values=tuple(float(number not in wrong) for number in range(1, len(steps) + 1)),
            source="near_miss",
            dataset="prm_bench",
            row_id=optional_text(row, "idx"),
            generator=optional_text(row, "classification"),
        )
    ]


def render_prm_bench(solutions: Sequence[LabelledSolution]) -> Row:
    """A row; every step must have a label."""
    (solution,) = solutions
    if None in solution.values:
        raise RowError("unlabelled_step", "every step needs a label")
    wrong = [number for number, value in enumerate(solution.values, start=1) if value is not None and value < 0.5]
    return {
        "idx": solution.row_id,
        "modified_question": solution.problem,
        "modified_process": list(solution.steps),
        "error_steps": wrong,
        "classification": solution.generator,
    }


def _up_to(first_error: int, steps: tuple[str, ...]) -> tuple[float | None, ...]:
    if not steps:
        raise RowError("zero_steps", "the solution has no steps")
    return values_up_to(first_error, len(steps))


def _certain_first_error(solution: LabelledSolution) -> int:
    """The first wrong step, -1 for none.

    Raises:
        RowError: an unlabelled step before it might be the first.
    """
    first = solution.first_error
    if None in solution.values[: first if first >= 0 else None]:
        raise RowError("unlabelled_step", "a step before the first wrong one has no label")
    return first
