"""Labels by Monte Carlo: from the first k steps of a solution on, how often does a generator end right?

The rollouts are the caller's: `rollout(prefixes, n)` draws n continuations of each prefix and says of each whether its
answer is right, or None where the check could not decide. An undecided rollout is no failure: it is not counted. Counts
are kept, so that hard labels can be made by any rule later (`prm.labels.solution.hardened`).
Papers: Wang et al. (Math-Shepherd), arXiv 2312.08935; Luo et al. (OmegaPRM), arXiv 2406.06592.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from data.errors import StepstarError
from prm.labels.solution import Hardening, LabelledSolution


@dataclass(frozen=True, slots=True)
class Prefix:
    """A problem and the first steps of a solution, to be continued."""

    problem: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A solution to be labelled."""

    problem: str
    steps: tuple[str, ...]
    row_id: str = ""
    """Kept in the labels."""

    def prefix(self, n_steps: int) -> Prefix:
        """The problem and the first `n_steps` steps."""
        return Prefix(self.problem, self.steps[:n_steps])


class Rollout(Protocol):
    """Draws continuations and checks them."""

    def __call__(self, prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        """For each prefix `n` outcomes: ended right, ended wrong, or None for undecided."""


@dataclass(slots=True)
class Tally:
    """Counts of decided rollouts from one prefix, and of all that were drawn."""

    right: int = 0
    decided: int = 0
    drawn: int = 0

    def add(self, outcomes: Sequence[bool | None]) -> None:
        """Count some outcomes."""
        self.drawn += len(outcomes)
        self.decided += sum(outcome is not None for outcome in outcomes)
        self.right += sum(outcome is True for outcome in outcomes)

    def is_right(self, rule: Hardening) -> bool:
        """The hard verdict on a prefix with at least one decided rollout."""
        return self.right > 0 if rule == "any" else 2 * self.right >= self.decided


def draw(rollout: Rollout, prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
    """Call a rollout function and hold it to its contract.

    Raises:
        StepstarError: it did not return `n` outcomes for each prefix.
    """
    outcomes = rollout(prefixes, n) if prefixes else []
    if len(outcomes) != len(prefixes) or any(len(one) != n for one in outcomes):
        raise StepstarError(f"the rollout function must return {n} outcomes for each of {len(prefixes)} prefixes")
    return outcomes


def monte_carlo(attempts: Sequence[Attempt], rollout: Rollout, n: int) -> list[LabelledSolution]:
    """Soft labels with counts: `n` rollouts from every step on; all prefixes go to the generator in one call.

    A step whose rollouts were all undecided has no label.
    """
    prefixes = [one.prefix(length) for one in attempts for length in range(1, len(one.steps) + 1)]
    outcomes = iter(draw(rollout, prefixes, n))
    found = []
    for attempt in attempts:
        tallies = [Tally() for _ in attempt.steps]
        for tally in tallies:
            tally.add(next(outcomes))
        found.append(labelled(attempt, tallies))
    return found


def bisect_first_error(
    attempts: Sequence[Attempt], rollout: Rollout, n: int, rule: Hardening = "half"
) -> list[tuple[LabelledSolution, int]]:
    """OmegaPRM's binary search for the first wrong step of solutions whose answer is wrong.

    Steps up to the last prefix from which the generator succeeds are right, the next one is wrong, the rest is
    unlabelled. `any` is OmegaPRM's own rule; it gets worse with more rollouts (see `tests/benchmarks/label_cost.py`).
    A prefix whose rollouts are all undecided ends the search: steps between the known bounds stay unlabelled.

    Args:
        attempts: solutions with a wrong answer.
        rollout: draws and checks continuations.
        n: rollouts from each prefix that is looked at.
        rule: when a prefix counts as right.

    Returns:
        The labels of each solution with the counts behind them, and the rollouts that it cost.
    """
    searches = [_Search(attempt) for attempt in attempts]
    while active := [search for search in searches if search.is_open]:
        outcomes = draw(rollout, [search.attempt.prefix(search.middle) for search in active], n)
        for search, one in zip(active, outcomes, strict=True):
            search.add(one, rule)
    return [(search.labelled(), sum(tally.drawn for tally in search.tallies)) for search in searches]


class _Search:
    """The bounds of one binary search: `low` steps are right, `high` steps are not."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.low, self.high = 0, len(attempt.steps)
        self.tallies = [Tally() for _ in attempt.steps]
        self.is_open = self.high > 1

    @property
    def middle(self) -> int:
        """Length of the prefix to look at next."""
        return (self.low + self.high) // 2

    def add(self, outcomes: Sequence[bool | None], rule: Hardening) -> None:
        """Narrow the bounds by the rollouts from the middle."""
        middle = self.middle
        tally = self.tallies[middle - 1]
        tally.add(outcomes)
        if not tally.decided:
            self.is_open = False
            return
        if tally.is_right(rule):
            self.low = middle
        else:
            self.high = middle
        self.is_open = self.high - self.low > 1

    def labelled(self) -> LabelledSolution:
        """The labels that the bounds imply."""
        values: list[float | None] = [1.0] * self.low + [None] * (len(self.attempt.steps) - self.low)
        if self.high - self.low == 1:
            values[self.low] = 0.0
        return labelled(self.attempt, self.tallies, values)


def labelled(
    attempt: Attempt, tallies: Sequence[Tally], values: Sequence[float | None] | None = None
) -> LabelledSolution:
    """A solution with its counts; its values are the shares of right rollouts unless they are given."""
    shares = [tally.right / tally.decided if tally.decided else None for tally in tallies]
    return LabelledSolution(
        problem=attempt.problem,
        steps=attempt.steps,
        values=tuple(shares if values is None else values),
        source="monte_carlo",
        row_id=attempt.row_id,
        n_right=tuple(tally.right for tally in tallies),
        n_rollouts=tuple(tally.decided for tally in tallies),
    )
