"""The first wrong step of a wrong solution by Monte Carlo, each rollout spent where it tells most.

A posterior over the position of the first error is kept for every solution. A prefix that ends before it is continued
rightly at some rate, one that holds it is recovered from at another; neither rate is known, so a small grid of both is
part of the posterior. The next rollout starts at the prefix whose outcome has the most mutual information with the
position; a solution is done when one position is likely enough, or when its rollouts are spent: then it abstains.
Against a fixed number of rollouts a step see `tests/benchmarks/label_cost.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data.config import Config
from prm.labels.rollouts import Attempt, Rollout, Tally, draw, labelled
from prm.labels.solution import LabelledSolution

if TYPE_CHECKING:
    import numpy as np

_SOLVE_RATES = tuple(0.05 + 0.1 * step for step in range(10))
"""How often the bare problem is solved: the grid, equally likely at first."""
_RECOVERY_RATES = (0.05, 0.15)
"""How often a prefix with a wrong step still ends right: the grid, equally likely."""
_GROWTH = ((0.5, 0.5), (1.0, 0.5))
"""How much of the rest of the way to certainty a right prefix gains by being long (1: all of it), and the prior."""


class BayesianConfig(Config):
    """When to stop."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """A solution is done when one position is this likely."""
    max_rollouts: int = Field(default=40, ge=1)
    """Rollouts a solution may cost, undecided ones too; it abstains after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstError:
    """What the rollouts say about one solution."""

    solution: LabelledSolution
    """Steps up to the first error are labelled with the probability that no error has been made by then, the rest is
    unlabelled. After an abstention only the steps that are right with confidence are labelled."""
    step: int | None
    """0-based index of the first wrong step; None is an abstention."""
    posterior: tuple[float, ...]
    """Probability that each step is the first wrong one."""
    n_rollouts: int
    """Rollouts that were drawn, undecided ones too."""


def find_first_errors(
    attempts: Sequence[Attempt],
    rollout: Rollout,
    config: BayesianConfig | None = None,
    *,
    solved: Sequence[tuple[int, int]] = (),
) -> list[FirstError]:
    """Find the first wrong step of solutions whose answer is wrong.

    One call of the generator a round, with one prefix of each solution that is not done.

    Args:
        attempts: solutions with a wrong answer; a right one would be blamed all the same.
        rollout: draws and checks continuations.
        config: when to stop.
        solved: for each attempt, of how many samples of its bare problem how many were right (right, samples). They
            are there for free where solutions are sampled, and tell a weak generator from a wrong step.

    Raises:
        StepstarError: the rollout function does not keep its contract.
        ValueError: `solved` is not of the same length as `attempts`.
    """
    config = config or BayesianConfig()
    known = solved or [(0, 0)] * len(attempts)
    beliefs = [_Belief(attempt, *counts) for attempt, counts in zip(attempts, known, strict=True)]
    while active := [belief for belief in beliefs if belief.is_open(config)]:
        lengths = [belief.best_prefix() for belief in active]
        prefixes = [belief.attempt.prefix(length) for belief, length in zip(active, lengths, strict=True)]
        for belief, length, outcomes in zip(active, lengths, draw(rollout, prefixes, 1), strict=True):
            belief.add(length, outcomes[0])
    return [belief.result(config.confidence) for belief in beliefs]


class _Belief:
    """The joint posterior of position and rates for one solution; `weights` is [positions, rates]."""

    def __init__(self, attempt: Attempt, right: int, samples: int) -> None:
        import numpy as np

        self.attempt = attempt
        n_steps = len(attempt.steps)
        self.tallies = [Tally() for _ in range(n_steps + 1)]
        self.chances, start = _model(n_steps)
        solve = self.chances[0, 0]
        # In logarithms: thousands of samples would underflow.
        log_prior = np.log(start) + right * np.log(solve) + (samples - right) * np.log1p(-solve)
        rates = np.exp(log_prior - log_prior.max())
        self.weights = np.outer(np.full(n_steps, 1 / n_steps), rates / rates.sum())

    @property
    def positions(self) -> np.ndarray[Any, Any]:
        """Posterior of the first error's position."""
        found: np.ndarray[Any, Any] = self.weights.sum(axis=1)
        return found

    @property
    def n_drawn(self) -> int:
        """Rollouts so far."""
        return sum(tally.drawn for tally in self.tallies)

    def is_open(self, config: BayesianConfig) -> bool:
        """Whether another rollout is to be drawn."""
        return bool(self.positions.max() < config.confidence) and self.n_drawn < config.max_rollouts

    def best_prefix(self) -> int:
        """The length of prefix whose outcome tells most about the position, in nats; 0 is the bare problem.

        The bare problem holds no error, but its solve rate tells a wrong first step from a weak generator.
        """
        positions = self.positions
        # Chance of success for each prefix and position, the rates averaged out.
        given = (self.chances * self.weights).sum(axis=2) / positions.clip(1e-300)
        gain = _entropy(given @ positions) - _entropy(given) @ positions
        return int(gain.argmax())

    def add(self, length: int, outcome: bool | None) -> None:
        """Bayes' rule; an undecided outcome says nothing."""
        self.tallies[length].add([outcome])
        if outcome is not None:
            chance = self.chances[length]
            self.weights = self.weights * (chance if outcome else 1 - chance)
            self.weights /= self.weights.sum()

    def result(self, confidence: float) -> FirstError:
        """The most likely position, or an abstention."""
        positions = self.positions
        step = int(positions.argmax())
        still_right = (1 - positions.cumsum()).clip(0, 1).tolist()
        found = positions[step] >= confidence
        values = [
            value if (index <= step if found else value >= confidence) else None
            for index, value in enumerate(still_right)
        ]
        return FirstError(
            solution=labelled(self.attempt, self.tallies[1:], values),
            step=step if found else None,
            posterior=tuple(positions.tolist()),
            n_rollouts=self.n_drawn,
        )


@lru_cache(maxsize=64)
def _model(n_steps: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Chance that a rollout ends right, [prefix lengths 0 .. n-1, positions, rates], and the prior of the rates."""
    import numpy as np

    solve, recovery, growth = (
        axis.ravel()
        for axis in np.meshgrid(_SOLVE_RATES, _RECOVERY_RATES, [rate for rate, _ in _GROWTH], indexing="ij")
    )
    prior = np.tile([weight for _, weight in _GROWTH], len(_SOLVE_RATES) * len(_RECOVERY_RATES))
    length = np.arange(n_steps)[:, None, None]
    right = 1 - (1 - solve) * (1 - growth * length / n_steps)
    # A prefix of k steps is right if the first wrong step has index k or more.
    is_right = length <= np.arange(n_steps)[None, :, None]
    return np.where(is_right, right, recovery), prior / prior.sum()


def _entropy(chance: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Entropy of a coin, in nats."""
    import numpy as np

    chance = chance.clip(1e-12, 1 - 1e-12)
    found: np.ndarray[Any, Any] = -(chance * np.log(chance) + (1 - chance) * np.log1p(-chance))
    return found
