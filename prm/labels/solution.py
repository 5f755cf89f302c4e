"""One solution with a label for each of its steps: what every source of labels makes and every format is read into.

A label is a probability that the step is right, or None: nobody judged the step, or its label is counted elsewhere. An
instance is whole by construction: it has steps, none of them empty, and as many labels as steps, none of them NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data.ids import content_id
from data.records import StepLabel
from data.sources.base import RowError
from prm.labels.fields import is_writable

Hardening = Literal["any", "half"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSolution:
    """A solution and its step labels.

    Raises:
        RowError: `empty_problem`, `zero_steps`, `empty_step`, `label_count`, `bad_label` or `bad_utf8`.
    """

    problem: str
    """The question as posed."""
    steps: tuple[str, ...]
    """The solution, cut into steps; from a file they are as the file has them."""
    values: tuple[float | None, ...]
    """Probability that each step is right, in [0, 1]; None where the step has no label."""
    ratings: tuple[int | None, ...] = ()
    """Human ratings -1, 0, 1 of the steps; all None if left out. A rating without a value: a third class, neutral."""
    source: str
    """Who labelled: `human`, `symbolic`, `monte_carlo`, `near_miss`, `judge`, `consensus`, or `unknown`."""
    dataset: str = ""
    """The format or data set that it was read from, e.g. `prm800k`."""
    row_id: str = ""
    """The row's own id there; branches of one labelled trajectory share it."""
    generator: str = ""
    """What wrote the solution, where the source says so."""
    gold: str = ""
    """The problem's known answer, where the source has it."""
    outcome: bool | None = None
    """Whether the solution's final answer is right; None where nobody said, or it has none."""
    n_right: tuple[int, ...] = ()
    """Monte Carlo: rollouts from each step on that ended right; empty for other sources."""
    n_rollouts: tuple[int, ...] = ()
    """Monte Carlo: rollouts from each step on that were decided."""
    tail: tuple[str, ...] = ()
    """Further steps of the solution that nobody judged. They are not wrong: they are unlabelled."""

    def __post_init__(self) -> None:
        if not self.problem.strip():
            raise RowError("empty_problem", "the problem is empty")
        if not self.steps:
            raise RowError("zero_steps", "the solution has no steps")
        if not self.ratings:
            object.__setattr__(self, "ratings", (None,) * len(self.steps))
        _check_texts((self.problem, *self.steps), "step")
        _check_texts(self.tail, "tail step")
        if not is_writable(self.row_id + self.generator + self.gold):
            raise RowError("bad_utf8", "an id, generator or answer holds half of a surrogate pair")
        _check_labels(self)

    @property
    def id(self) -> str:
        """Content hash of problem and steps: equal for two labellings of the same solution."""
        return content_id("labelled", self.problem, *self.steps)

    @property
    def first_error(self) -> int:
        """0-based index of the first step that is more likely wrong than right; -1 if no labelled step is."""
        return next((at for at, value in enumerate(self.values) if value is not None and value < 0.5), -1)

    @property
    def is_labelled(self) -> bool:
        """Whether any step has a label."""
        return any(label is not None for label in (*self.values, *self.ratings))


def _check_texts(texts: Sequence[str], what: str) -> None:
    for index, text in enumerate(texts):
        if not text.strip():
            raise RowError("empty_step", f"{what} {index} is empty")
        if not is_writable(text):
            raise RowError("bad_utf8", f"{what} {index} holds half of a surrogate pair")


def _check_labels(solution: LabelledSolution) -> None:
    n_steps = len(solution.steps)
    columns = {"labels": solution.values, "ratings": solution.ratings}
    if solution.n_rollouts or solution.n_right:
        columns |= {"counts": solution.n_right, "rollouts": solution.n_rollouts}
    for name, column in columns.items():
        if len(column) != n_steps:
            raise RowError("label_count", f"{len(column)} {name} for {n_steps} steps")
    for value in solution.values:
        # NaN fails every comparison.
        if value is not None and not 0 <= value <= 1:
            raise RowError("bad_label", f"a label of {value} is no probability")
    if not all(rating is None or (type(rating) is int and -1 <= rating <= 1) for rating in solution.ratings):
        raise RowError("bad_label", f"ratings are -1, 0 or 1, not {solution.ratings}")
    if not all(0 <= k <= n for k, n in zip(solution.n_right, solution.n_rollouts, strict=True)):
        raise RowError("bad_label", "more rollouts ended right than there were")


def values_up_to(first_error: int, n_steps: int) -> tuple[float | None, ...]:
    """Labels of a solution whose first wrong step is known; -1 for none. Steps after it have no label.

    Raises:
        RowError: there is no such step.
    """
    if not -1 <= first_error < n_steps:
        raise RowError("bad_label", f"first error at step {first_error} of {n_steps}")
    if first_error < 0:
        return (1.0,) * n_steps
    return (1.0,) * first_error + (0.0,) + (None,) * (n_steps - first_error - 1)


def hardened(solution: LabelledSolution, rule: Hardening) -> LabelledSolution:
    """Hard labels from Monte Carlo counts: `any` rollout ended right (Math-Shepherd), or at least `half` of them did.

    `any` gets worse with more rollouts where a wrong step is sometimes recovered from; steps without rollouts keep
    their label.
    """
    if not solution.n_rollouts:
        return solution
    values = [
        value if not n else float(k > 0 if rule == "any" else 2 * k >= n)
        for value, k, n in zip(solution.values, solution.n_right, solution.n_rollouts, strict=True)
    ]
    return replace(solution, values=tuple(values))


def step_labels(solution: LabelledSolution, rationale_id: str) -> list[StepLabel]:
    """The labels as records of the store; steps without a value have none."""
    counts = solution.n_rollouts or (0,) * len(solution.steps)
    return [
        StepLabel(
            rationale_id=rationale_id,
            step=step,
            value=value,
            rating=solution.ratings[step],
            source=solution.source,
            n_rollouts=counts[step],
        )
        for step, value in enumerate(solution.values)
        if value is not None
    ]
