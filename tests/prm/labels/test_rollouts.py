"""Labels by rollouts: counts, hard rules, bisection, and the Bayesian search for the first error."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import StepstarError
from prm.labels import (
    Attempt,
    BayesianConfig,
    Prefix,
    bisect_first_error,
    find_first_errors,
    hardened,
    monte_carlo,
)
from tests.benchmarks.label_cost import WORLDS, Simulation


def attempt(n_steps: int, problem: str = "q") -> Attempt:
    return Attempt(problem=problem, steps=tuple(f"step {number}" for number in range(n_steps)), row_id=problem)


class Oracle:
    """A generator that always ends right from a right prefix and never from a wrong one."""

    def __init__(self, *errors: int) -> None:
        self.errors = errors
        self.calls: list[int] = []

    def __call__(self, prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        self.calls.append(len(prefixes))
        return [[len(one.steps) <= self.errors[int(one.problem)]] * n for one in prefixes]


def test_counts_are_kept_and_undecided_rollouts_are_not_failures() -> None:
    outcomes: list[list[bool | None]] = [[True, True, None], [True, False, False], [None, None, None]]

    def rollout(prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        assert [one.steps for one in prefixes] == [("a",), ("a", "b"), ("a", "b", "c")]
        return outcomes

    (found,) = monte_carlo([Attempt(problem="q", steps=("a", "b", "c"))], rollout, 3)
    assert found.values == (1.0, 1 / 3, None)
    assert (found.n_right, found.n_rollouts) == ((2, 1, 0), (2, 3, 0))
    assert hardened(found, "any").values == (1.0, 1.0, None)
    assert hardened(found, "half").values == (1.0, 0.0, None)


def test_all_prefixes_go_to_the_generator_at_once() -> None:
    oracle = Oracle(1, 0)
    first, second = monte_carlo([attempt(3, "0"), attempt(2, "1")], oracle, 4)
    assert oracle.calls == [5]
    assert (first.first_error, second.first_error) == (1, 0)
    assert monte_carlo([], oracle, 4) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 11)), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_with_a_perfect_generator_every_search_finds_the_error(cases: list[tuple[int, int]]) -> None:
    errors = [error % n_steps for n_steps, error in cases]
    attempts = [attempt(n_steps, str(row)) for row, (n_steps, _) in enumerate(cases)]
    found = bisect_first_error(attempts, Oracle(*errors), 2)
    assert [solution.first_error for solution, _ in found] == errors
    for (solution, cost), error in zip(found, errors, strict=True):
        n_steps = len(solution.steps)
        assert solution.values == (1.0,) * error + (0.0,) + (None,) * (n_steps - error - 1)
        assert cost == sum(solution.n_rollouts) <= 2 * max(0, n_steps - 1).bit_length()
    solved = [(50, 50)] * len(attempts)
    searched = find_first_errors(attempts, Oracle(*errors), BayesianConfig(max_rollouts=200), solved=solved)
    assert [one.step for one in searched] == errors


def test_a_search_without_a_decision_leaves_steps_unlabelled() -> None:
    def undecided(prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        return [[None if len(one.steps) < 4 else False] * n for one in prefixes]

    ((solution, cost),) = bisect_first_error([attempt(8)], undecided, 2)
    assert solution.values == (None,) * 8
    assert cost == 4
    (found,) = find_first_errors([attempt(8)], lambda prefixes, n: [[None]] * len(prefixes))
    assert (found.step, found.n_rollouts) == (None, BayesianConfig().max_rollouts)
    assert found.posterior == pytest.approx((1 / 8,) * 8)
    assert not found.solution.is_labelled


def test_a_generator_that_breaks_its_contract_is_named() -> None:
    with pytest.raises(StepstarError, match="4 outcomes for each of 3"):
        monte_carlo([attempt(3)], lambda prefixes, n: [[True] * n], 4)


def test_a_solution_of_one_step_costs_nothing() -> None:
    (found,) = find_first_errors([attempt(1)], Oracle())
    assert (found.step, found.n_rollouts) == (0, 0)
    ((solution, cost),) = bisect_first_error([attempt(1)], Oracle(), 4)
    assert (solution.values, cost) == ((0.0,), 0)


def test_bayesian_search_is_right_and_cheap_where_fixed_rules_are_not() -> None:
    # The short form of `tests/benchmarks/label_cost.py`; ten steps, a tenth of the wrong prefixes recovered.
    world = WORLDS[1]
    assert (world.steps, world.recovery) == (10, 0.1)
    found, rollouts, results = Simulation(world, 400, 3).bayesian(BayesianConfig().confidence)
    assert found >= 0.95
    assert rollouts <= 12
    halves, half_cost = Simulation(world, 400, 3).bisection(8, "half")
    anys, _ = Simulation(world, 400, 3).bisection(8, "any")
    assert halves <= found + 0.03
    assert half_cost >= 2 * rollouts
    assert anys <= found - 0.4, "the more rollouts, the more wrong steps are called right"
    # The posterior means what it says.
    confident = [one for one in results if one.step is not None]
    claimed = sum(max(one.posterior) for one in confident) / len(confident)
    right = sum(one.step == error for one, error in zip(results, Simulation(world, 400, 3).errors, strict=True))
    assert abs(claimed - right / len(confident)) <= 0.04


def test_labels_of_a_search_are_its_posterior() -> None:
    simulation = Simulation(WORLDS[3], 60, 5)
    results = simulation.bayesian(0.95)[2]
    assert any(one.step is None for one in results), "a weak generator makes it abstain"
    assert any(one.step is not None for one in results)
    for one in results:
        assert sum(one.posterior) == pytest.approx(1)
        still_right = [1 - sum(one.posterior[: place + 1]) for place in range(10)]
        labels = list(one.solution.values)
        if one.step is None:
            assert all(value is None or value >= 0.95 for value in labels)
        else:
            assert one.solution.first_error == one.step
            assert labels[one.step + 1 :] == [None] * (9 - one.step)
        for value, expected in zip(labels, still_right, strict=True):
            assert value is None or value == pytest.approx(expected, abs=1e-9)


def test_samples_of_the_bare_problem_save_rollouts() -> None:
    known = Simulation(WORLDS[1], 200, 7).bayesian(0.95)
    blind = Simulation(WORLDS[1], 200, 7).bayesian(0.95, blind=True)
    assert known[1] < blind[1] - 1
