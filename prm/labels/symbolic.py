"""Labels from the arithmetic that a step states: right, wrong, or none where nothing can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prm.labels.solution import LabelledSolution
from verifiers.steps import StepStatus, check_steps

_VALUES = {StepStatus.CORRECT: 1.0, StepStatus.INCORRECT: 0.0, StepStatus.NOT_CHECKABLE: None}


def label_symbolic(problem: str, steps: Sequence[str], **fields: Any) -> LabelledSolution:
    """Label each step by its own equalities alone; `right` says nothing about whether they were the ones to compute.

    Args:
        problem: the question.
        steps: the solution.
        fields: further fields of the `LabelledSolution`, e.g. `row_id`.

    Raises:
        RowError: the solution is empty or has an empty step.
    """
    verdicts = check_steps(problem, steps)
    values = tuple(_VALUES[verdict.status] for verdict in verdicts)
    return LabelledSolution(problem=problem, steps=tuple(steps), values=values, source="symbolic", **fields)
