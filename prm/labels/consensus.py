"""Several labellings of the same solution: one labelling that they support, and how far they agree.

Sources that do not know a step have no say in it. Where too few speak, or they disagree, the consensus abstains: a
label less costs a row, a wrong one teaches a mistake (Zhang et al., arXiv 2501.07301, keep about 40 % so).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pydantic import Field

from data.config import Config
from data.errors import UserError
from data.records import StepLabel
from prm.labels.solution import LabelledSolution


class ConsensusConfig(Config):
    """When several sources make a label."""

    rule: Literal["agree", "majority", "weights"] = "agree"
    """`agree`: all that speak say the same. `majority`: more than half of them do. Both label 0 or 1. `weights`: the
    weighted mean of the values is the label, where it is far enough from 0.5."""
    min_sources: int = Field(default=2, ge=1)
    """Sources that must speak."""
    weights: dict[str, float] = Field(default_factory=dict)
    """For `weights`: weight by source; 1 for one that is not named."""
    margin: float = Field(default=0.25, ge=0, le=0.5)
    """For `weights`: abstain where the mean is closer than this to 0.5."""


def consensus(labellings: Mapping[str, LabelledSolution], config: ConsensusConfig | None = None) -> LabelledSolution:
    """One labelling of a solution from several.

    Args:
        labellings: by name of the source; all of the same problem and steps.
        config: the rule.

    Raises:
        UserError: there are none, or they are not of one and the same solution.
    """
    config = config or ConsensusConfig()
    if not labellings:
        raise UserError("consensus needs at least one labelling.", "Give one by name of its source.")
    _check_same(labellings)
    first = next(iter(labellings.values()))
    values = []
    for step in range(len(first.steps)):
        said = {name: value for name, one in labellings.items() if (value := one.values[step]) is not None}
        values.append(_combined(said, config) if len(said) >= config.min_sources else None)
    return LabelledSolution(
        problem=first.problem,
        steps=first.steps,
        values=tuple(values),
        source="consensus",
        dataset=first.dataset,
        row_id=first.row_id,
        generator=first.generator,
        gold=first.gold,
        outcome=first.outcome,
    )


def _check_same(labellings: Mapping[str, LabelledSolution]) -> None:
    if len({labelling.id for labelling in labellings.values()}) > 1:
        raise UserError("these labellings are not of one and the same solution.", "Group them by `id` first.")


def _combined(said: Mapping[str, float], config: ConsensusConfig) -> float | None:
    if config.rule == "weights":
        weights = {name: config.weights.get(name, 1.0) for name in said}
        total = sum(weights.values())
        mean = sum(weights[name] * value for name, value in said.items()) / total if total > 0 else 0.5
        return min(1.0, max(0.0, mean)) if abs(mean - 0.5) >= config.margin and total > 0 else None
    n_right = sum(value >= 0.5 for value in said.values())
    if config.rule == "agree":
        return float(n_right > 0) if n_right in (0, len(said)) else None
    return None if 2 * n_right == len(said) else float(2 * n_right > len(said))


def same_first_error(labellings: Sequence[LabelledSolution]) -> bool:
    """Whether all labellings name the same first wrong step, or all none: the filter of arXiv 2501.07301."""
    return len({labelling.first_error for labelling in labellings}) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two sources agree on the steps that both label."""

    both_right: int
    first_only: int
    """Steps that the first source calls right and the second wrong."""
    second_only: int
    both_wrong: int

    @property
    def n(self) -> int:
        """Steps that both label."""
        return self.both_right + self.first_only + self.second_only + self.both_wrong

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where chance alone would agree always, or no step is labelled by both."""
        if not self.n:
            return None
        first = (self.both_right + self.first_only) / self.n
        second = (self.both_right + self.second_only) / self.n
        chance = first * second + (1 - first) * (1 - second)
        return ((self.both_right + self.both_wrong) / self.n - chance) / (1 - chance) if chance < 1 else None


def agreement_matrix(
    solutions: Sequence[Mapping[str, LabelledSolution]],
) -> dict[tuple[str, str], Agreement]:
    """Agreement of each pair of sources, step by step; a value of 0.5 or more counts as right.

    Args:
        solutions: for each solution, its labellings by source; not every source must be there.

    Returns:
        By pair of names, in sorted order.

    Raises:
        UserError: labellings that were given as one solution's are not.
    """
    steps: list[dict[str, float]] = []
    for labellings in solutions:
        _check_same(labellings)
        columns = zip(*(labelling.values for labelling in labellings.values()), strict=True)
        steps += [
            {name: value for name, value in zip(labellings, column, strict=True) if value is not None}
            for column in columns
        ]
    return _matrix(steps, {name for labellings in solutions for name in labellings})


def side_by_side(labels: Iterable[StepLabel]) -> dict[tuple[str, int], dict[str, float]]:
    """Stored labels by rationale and step, and there by source; of two by one source, the later one."""
    steps: dict[tuple[str, int], dict[str, float]] = {}
    for label in labels:
        steps.setdefault((label.rationale_id, label.step), {})[label.source] = label.value
    return steps


def label_agreement(labels: Iterable[StepLabel]) -> dict[tuple[str, str], Agreement]:
    """`agreement_matrix` of stored labels: each pair of sources on the steps that both label."""
    steps = side_by_side(labels).values()
    return _matrix(steps, {source for sides in steps for source in sides})


def _matrix(steps: Iterable[Mapping[str, float]], sources: Iterable[str]) -> dict[tuple[str, str], Agreement]:
    counts = {pair: [[0, 0], [0, 0]] for pair in combinations(sorted(sources), 2)}
    for sides in steps:
        for one, other in combinations(sorted(sides), 2):
            counts[one, other][sides[one] >= 0.5][sides[other] >= 0.5] += 1
    return {
        pair: Agreement(both_right=table[1][1], first_only=table[1][0], second_only=table[0][1], both_wrong=table[0][0])
        for pair, table in counts.items()
    }
