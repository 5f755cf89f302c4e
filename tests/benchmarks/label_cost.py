"""What it costs to find the first wrong step by rollouts: fixed numbers, bisection, and the Bayesian labeller.

    python tests/benchmarks/label_cost.py [SOLUTIONS] [SEED]

Simulated solutions with one planted error at a uniform place. A prefix without the error is continued rightly at rate
1 - slip * (1 - length / steps) ("rising") or 1 - slip ("flat"); one with it at the recovery rate. Prints, for each
labeller, the share of solutions whose first error was found, over the rollouts a solution that it took. The Bayesian
rows know of 8 samples of the bare problem how many were right, unless they say "blind"; abstentions count as not found,
and are listed with the accuracy of the rest.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from data.ids import derive_seed
from prm.labels.bayesian import BayesianConfig, FirstError, find_first_errors
from prm.labels.rollouts import Attempt, Prefix, bisect_first_error, monte_carlo
from prm.labels.solution import hardened

SAMPLES = 8
"""Samples of the bare problem that are there for free."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A generator to be simulated."""

    steps: int
    recovery: float
    """Chance that a prefix with the error still ends right."""
    slip: float
    """Chance that a right prefix fails, at its highest."""
    rising: bool = True
    """Whether longer right prefixes fail less."""

    def chance(self, length: int, error: int) -> float:
        """Chance that a rollout from the first `length` steps ends right."""
        if length > error:
            return self.recovery
        return 1 - self.slip * (1 - length / self.steps if self.rising else 1)


WORLDS = (
    World(steps=10, recovery=0.02, slip=0.3),
    World(steps=10, recovery=0.10, slip=0.3),
    World(steps=10, recovery=0.10, slip=0.3, rising=False),
    World(steps=10, recovery=0.10, slip=0.8),
    World(steps=20, recovery=0.10, slip=0.3),
)


class Simulation:
    """Solutions with planted errors, and the rollouts of a simulated generator."""

    def __init__(self, world: World, n_solutions: int, seed: int) -> None:
        self.world = world
        self.rng = random.Random(derive_seed("label_cost", seed))
        self.errors = [self.rng.randrange(world.steps) for _ in range(n_solutions)]
        steps = [f"step {number}" for number in range(world.steps)]
        self.attempts = [Attempt(problem=str(row), steps=tuple(steps)) for row in range(n_solutions)]
        solves = [sum(self.rng.random() < world.chance(0, 0) for _ in range(SAMPLES)) for _ in self.attempts]
        self.solved = [(right, SAMPLES) for right in solves]

    def rollout(self, prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        """Outcomes of simulated continuations."""
        chances = [self.world.chance(len(one.steps), self.errors[int(one.problem)]) for one in prefixes]
        return [[self.rng.random() < chance for _ in range(n)] for chance in chances]

    def accuracy(self, found: Sequence[int | None]) -> float:
        """Share of solutions whose error was found."""
        return sum(one == error for one, error in zip(found, self.errors, strict=True)) / len(self.errors)

    def linear(self, n: int) -> tuple[float, float]:
        """Math-Shepherd: `n` rollouts from every step, right if any is; accuracy and rollouts a solution."""
        solutions = [hardened(one, "any") for one in monte_carlo(self.attempts, self.rollout, n)]
        return self.accuracy([one.first_error for one in solutions]), float(n * self.world.steps)

    def bisection(self, n: int, rule: str) -> tuple[float, float]:
        """OmegaPRM's binary search."""
        assert rule in ("any", "half")
        results = bisect_first_error(self.attempts, self.rollout, n, "any" if rule == "any" else "half")
        cost = sum(drawn for _, drawn in results) / len(results)
        return self.accuracy([solution.first_error for solution, _ in results]), cost

    def bayesian(self, confidence: float, *, blind: bool = False) -> tuple[float, float, list[FirstError]]:
        """Ours."""
        config = BayesianConfig(confidence=confidence)
        results = find_first_errors(self.attempts, self.rollout, config, solved=() if blind else self.solved)
        cost = sum(one.n_rollouts for one in results) / len(results)
        return self.accuracy([one.step for one in results]), cost, results


def main() -> None:
    """Print the table."""
    n_solutions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(f"{n_solutions} solutions a row, seed {seed}; found / rollouts a solution")
    for world in WORLDS:
        shape = "rising" if world.rising else "flat"
        print(f"\n{world.steps} steps, recovery {world.recovery}, slip {world.slip} {shape}")
        for n in (4, 8):
            print(f"  linear, any of {n}         {_pair(Simulation(world, n_solutions, seed).linear(n))}")
        for rule in ("any", "half"):
            for n in (4, 8):
                pair = Simulation(world, n_solutions, seed).bisection(n, rule)
                print(f"  bisection, {rule:4} of {n}     {_pair(pair)}")
        for confidence in (0.9, BayesianConfig().confidence, 0.99):
            for blind in (False, True):
                found, cost, results = Simulation(world, n_solutions, seed).bayesian(confidence, blind=blind)
                name = f"Bayesian {confidence:.2f}{' blind' if blind else ''}"
                print(f"  {name:24}{_pair((found, cost))}   {_abstentions(found, results)}")


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:6.3f} / {pair[1]:5.1f}"


def _abstentions(found: float, results: Sequence[FirstError]) -> str:
    share = sum(one.step is None for one in results) / len(results)
    return f"abstains {share:.3f}, else {found / (1 - share):.3f}" if share < 1 else "abstains always"


if __name__ == "__main__":
    main()
