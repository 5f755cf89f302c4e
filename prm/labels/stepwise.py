"""Formats of one label a step: TRL's stepwise supervision, PRM800K's schema to be written, and this project's own.

TRL wants a label for every step. Ours (`stepstar`) holds every field of a `LabelledSolution` and loses nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from data.sources.base import Row, RowError, optional_text, text_field
from prm.labels.fields import label_value, list_field, texts_field
from prm.labels.solution import LabelledSolution


def parse_trl(row: Row) -> list[LabelledSolution]:
    """Fields `prompt`, `completions` (the steps) and `labels` (truth values or numbers from 0 to 1)."""
    steps = texts_field(row, "completions")
    values = tuple(label_value(label) for label in list_field(row, "labels"))
    problem = text_field(row, "prompt")
    return [LabelledSolution(problem=problem, steps=steps, values=values, source="unknown", dataset="trl")]


def render_trl(solutions: Sequence[LabelledSolution]) -> Row:
    """A row; its labels are truth values, or numbers where any of them is soft."""
    (solution,) = solutions
    if None in solution.values:
        raise RowError("unlabelled_step", "every step needs a label")
    hard = all(value in (0, 1) for value in solution.values)
    labels = [bool(value) for value in solution.values] if hard else list(solution.values)
    return {"prompt": solution.problem, "completions": list(solution.steps), "labels": labels}


def render_prm800k(solutions: Sequence[LabelledSolution]) -> Row:
    """A line of PRM800K's schema with one completion a step: its rating, or its hard label as one."""
    (solution,) = solutions
    ratings = [_rating(rating, value) for rating, value in zip(solution.ratings, solution.values, strict=True)]
    found_error = ratings[-1] == -1
    steps: list[Row] = [
        {
            "completions": [{"text": text, "rating": rating, "flagged": False}],
            "human_completion": None,
            "chosen_completion": 0,
        }
        for text, rating in zip(solution.steps, ratings, strict=True)
    ]
    if found_error:
        steps[-1]["chosen_completion"] = None
    labeler, _, timestamp = solution.row_id.partition(" ")
    question: Row = {"problem": solution.problem, "ground_truth_answer": solution.gold or None}
    if solution.tail:
        question["pre_generated_steps"] = [*solution.steps, *solution.tail]
    return {
        "labeler": labeler,
        "timestamp": timestamp,
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": question,
        "label": {"steps": steps, "finish_reason": "found_error" if found_error else "solution"},
    }


def _rating(rating: int | None, value: float | None) -> int:
    if rating is not None:
        return rating
    if value not in (0, 1):
        raise RowError("unlabelled_step" if value is None else "soft_label", "every step needs a rating")
    return 1 if value else -1


def parse_stepstar(row: Row) -> list[LabelledSolution]:
    """A row of our own."""
    outcome = row.get("outcome")
    return [
        LabelledSolution(
            problem=text_field(row, "problem"),
            steps=texts_field(row, "steps"),
            values=tuple(label_value(label) for label in list_field(row, "values")),
            ratings=tuple(list_field(row, "ratings", optional=True)),
            source=text_field(row, "source"),
            outcome=outcome if isinstance(outcome, bool) else None,
            n_right=_counts(row, "n_right"),
            n_rollouts=_counts(row, "n_rollouts"),
            tail=texts_field(row, "tail", optional=True),
            **{name: optional_text(row, name) for name in ("dataset", "row_id", "generator", "gold")},
        )
    ]


def render_stepstar(solutions: Sequence[LabelledSolution]) -> Row:
    """A row of our own."""
    (solution,) = solutions
    return {field.name: getattr(solution, field.name) for field in dataclasses.fields(solution)}


def _counts(row: Row, name: str) -> tuple[int, ...]:
    values = list_field(row, name, optional=True)
    if not all(type(value) is int for value in values):
        raise RowError("bad_field", f"field '{name}' holds something that is no whole number")
    return tuple(values)
