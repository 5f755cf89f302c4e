"""Several sources of labels: what they support, where they abstain, how far they agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.records import StepLabel
from prm.labels import (
    ConsensusConfig,
    LabelledSolution,
    agreement_matrix,
    consensus,
    label_agreement,
    same_first_error,
    side_by_side,
    step_labels,
)


def labelled(*values: float | None, problem: str = "q") -> LabelledSolution:
    steps = tuple(f"step {number}" for number in range(len(values)))
    return LabelledSolution(problem=problem, steps=steps, values=values, source="human")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # by column: all right, all wrong, two of three right, one of two, only one speaks, nobody speaks
        ("agree", (1.0, 0.0, None, None, None, None)),
        ("majority", (1.0, 0.0, 1.0, None, None, None)),
        ("weights", (0.95, 0.05, 0.75, 0.85, None, None)),
    ],
)
def test_each_rule_abstains_where_it_must(rule: str, expected: tuple[float | None, ...]) -> None:
    labellings = {
        "human": labelled(1.0, 0.0, 1.0, 1.0, None, None),
        "judge": labelled(1.0, 0.0, 1.0, None, None, None),
        "monte_carlo": labelled(0.8, 0.2, 0.0, 0.4, 0.9, None),
    }
    weights = {"human": 3.0, "judge": 0.0, "monte_carlo": 1.0}
    found = consensus(labellings, ConsensusConfig(rule=rule, weights=weights))  # type: ignore[arg-type]
    assert found.values == pytest.approx(expected)
    assert found.source == "consensus"


def test_one_source_is_enough_only_if_the_config_says_so() -> None:
    one = {"human": labelled(1.0, 0.0)}
    assert consensus(one).values == (None, None)
    assert consensus(one, ConsensusConfig(min_sources=1)).values == (1.0, 0.0)


def test_other_solutions_are_refused() -> None:
    for labellings in ({}, {"a": labelled(1.0), "b": labelled(1.0, problem="r")}):
        with pytest.raises(UserError):
            consensus(labellings)
    with pytest.raises(UserError):
        agreement_matrix([{"a": labelled(1.0), "b": labelled(1.0, 1.0)}])


def test_rows_are_kept_where_sources_name_the_same_first_error() -> None:
    assert same_first_error([labelled(1.0, 0.1, None), labelled(0.9, 0.0, 1.0)])
    assert not same_first_error([labelled(1.0, 0.1), labelled(0.2, 0.0)])


def test_kappa_is_cohens() -> None:
    # The textbook table: 20 both yes, 5 yes-no, 10 no-yes, 15 both no; kappa 0.4.
    first = [1.0] * 25 + [0.0] * 25
    second = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    matrix = agreement_matrix([{"b": labelled(*second, None), "a": labelled(*first, 1.0)}])
    found = matrix["a", "b"]
    assert (found.both_right, found.first_only, found.second_only, found.both_wrong) == (20, 5, 10, 15)
    assert found.kappa == pytest.approx(0.4)


def test_kappa_is_undefined_where_nothing_could_disagree() -> None:
    matrix = agreement_matrix([{"a": labelled(1.0, None), "b": labelled(1.0, 0.0), "c": labelled(None, None)}])
    assert (matrix["a", "b"].n, matrix["a", "b"].kappa) == (1, None)
    assert (matrix["a", "c"].n, matrix["a", "c"].kappa) == (0, None)


@given(st.lists(st.tuples(*[st.sampled_from([None, 0.0, 0.3, 1.0])] * 3), min_size=1, max_size=6))
def test_the_matrix_counts_every_shared_label_once(rows: list[Any]) -> None:
    columns = dict(zip("abc", zip(*rows, strict=True), strict=True))
    matrix = agreement_matrix([{name: labelled(*values) for name, values in columns.items()}])
    for (one, other), found in matrix.items():
        pairs = zip(columns[one], columns[other], strict=True)
        assert found.n == sum(left is not None and right is not None for left, right in pairs)
        assert found.kappa is None or -1 <= found.kappa <= 1


def stored(rationale: str, step: int, source: str, value: float) -> StepLabel:
    return StepLabel(rationale_id=rationale, step=step, value=value, rating=None, source=source)


def test_stored_labels_stand_side_by_side_by_rationale_and_step() -> None:
    labels = [stored("a", 0, "judge", 1.0), stored("b", 0, "judge", 0.0), stored("a", 0, "human", 0.0)]
    labels += [stored("a", 1, "human", 1.0), stored("a", 0, "judge", 0.2)]
    assert side_by_side(labels) == {
        ("a", 0): {"judge": 0.2, "human": 0.0},
        ("b", 0): {"judge": 0.0},
        ("a", 1): {"human": 1.0},
    }
    assert label_agreement([]) == {}
    assert set(label_agreement(labels)) == {("human", "judge")}
    assert label_agreement(labels)["human", "judge"].both_wrong == 1


@given(st.lists(st.tuples(*[st.sampled_from([None, 0.0, 0.3, 1.0])] * 3), min_size=1, max_size=6))
def test_stored_labels_agree_as_the_labellings_that_they_come_from(rows: list[Any]) -> None:
    labellings = {
        name: LabelledSolution(problem="q", steps=("s",) * len(rows), values=values, source=name)
        for name, values in zip("abc", zip(*rows, strict=True), strict=True)
    }
    records = [label for one in labellings.values() for label in step_labels(one, "r")]
    expected = {pair: found for pair, found in agreement_matrix([labellings]).items() if found.n}
    assert {pair: found for pair, found in label_agreement(records).items() if found.n} == expected
