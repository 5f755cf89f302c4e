"""Calibration: fitted maps bring scores to what they claim, and a reading is chosen by what it is used for."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.aggregate import Reading
from prm.calibration import Calibration, best_threshold, fit_calibration, fit_isotonic, fit_platt, fit_reading
from prm.evaluation import Candidate, calibration_error, first_error_scores


def drawn(n: int, temperature: float) -> tuple[list[float], list[float]]:
    """Scores that are too sure by a factor, and labels drawn by the true probabilities."""
    rng = random.Random(0)
    truth = [rng.gauss(0.5, 1.5) for _ in range(n)]
    labels = [float(rng.random() < 1 / (1 + math.exp(-z))) for z in truth]
    return [1 / (1 + math.exp(-z * temperature)) for z in truth], labels


def test_the_temperature_and_shift_that_were_put_in_are_found_and_mend_the_calibration() -> None:
    scores, labels = drawn(20_000, 3.0)
    shifted = [1 / (1 + (1 - score) / score * math.exp(6.0)) for score in scores]
    for raw, shift in ((scores, 0.0), (shifted, 2.0)):
        found = fit_platt(raw, labels)
        assert found.temperature == pytest.approx(3.0, rel=0.08)
        assert found.shift == pytest.approx(shift, abs=0.1)
        mended = [found.apply(score) for score in raw]
        assert calibration_error(labels, mended) < 0.02 < 0.1 < calibration_error(labels, raw)


def test_scores_that_separate_the_labels_get_a_finite_map() -> None:
    for scores, labels in (
        ([0.1, 0.9], [0.0, 1.0]),
        ([0.9, 0.1], [0.0, 1.0]),
        ([0.0, 1.0], [1.0, 0.0]),
        ([0.5], [1.0]),
    ):
        found = fit_platt(scores, labels)
        mapped = [found.apply(score) for score in sorted([0.0, *scores, 1.0])]
        assert mapped == sorted(mapped)
        assert all(0 <= score <= 1 for score in mapped)


def test_isotonic_mends_what_no_temperature_and_shift_can() -> None:
    rng = random.Random(1)
    scores = [rng.random() for _ in range(5000)]
    labels = [float(rng.random() < 0.05 + 0.9 * (score > 0.2)) for score in scores]
    fitted = Calibration(knots=fit_isotonic(scores, labels))
    mended = [fitted.apply(score) for score in scores]
    assert calibration_error(labels, mended) < 0.02
    sharpened = fit_platt(scores, labels)
    assert calibration_error(labels, [sharpened.apply(score) for score in scores]) > 0.03


def test_an_isotonic_map_is_fitted_where_it_helps_on_other_problems_and_only_there() -> None:
    rng = random.Random(3)
    scores = [rng.random() for _ in range(3000)]
    stepped = [float(rng.random() < 0.05 + 0.9 * (score > 0.2)) for score in scores]
    by_step = fit_calibration(scores, stepped, list(range(3000)))
    assert by_step.knots
    assert calibration_error(stepped, [by_step.apply(score) for score in scores]) < 0.02
    mapped = [by_step.apply(score) for score in sorted(scores)]
    assert all(later > sooner for sooner, later in pairwise(mapped))  # What was ranked stays ranked.
    smooth, labels = drawn(3000, 3.0)
    assert fit_calibration(smooth, labels, list(range(3000))) == fit_platt(smooth, labels)
    # One problem is no evidence about others.
    assert fit_calibration(scores, stepped, ["one"] * 3000) == fit_platt(scores, stepped)


def test_isotonic_by_hand() -> None:
    knots = fit_isotonic([0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 1.0])
    assert [number for knot in knots for number in knot] == pytest.approx([0.1, 0.0, 0.25, 0.5, 0.4, 1.0])
    assert fit_isotonic([0.5, 0.5, 0.5], [0.0, 1.0, 1.0]) == ((0.5, pytest.approx(2 / 3)),)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30))
def test_a_calibration_never_turns_the_order_around(rows: list[tuple[float, float]]) -> None:
    scores, labels = ([row[at] for row in rows] for at in (0, 1))
    fitted = Calibration(temperature=0.7, shift=0.5, knots=fit_isotonic(scores, labels))
    mapped = [fitted.apply(score) for score in sorted(scores)]
    assert all(later >= sooner - 1e-9 for sooner, later in pairwise(mapped))
    assert all(0 <= score <= 1 for score in mapped)


def test_a_threshold_separates_what_can_be_separated() -> None:
    scores = [[0.9, 0.3, 0.1], [0.8, 0.7], [0.2, 0.9], [0.75, 0.9]]
    gold = [1, -1, 0, -1]
    threshold, f1 = best_threshold(scores, gold)
    assert f1 == 100.0
    assert 0.3 < threshold <= 0.7
    assert [Reading(threshold=threshold).first_error(one) for one in scores] == gold


def test_the_threshold_of_one_kind_alone_is_one_half() -> None:
    threshold, f1 = best_threshold([[0.9], [0.1]], [-1, -1])
    assert threshold == 0.5
    assert math.isnan(f1)


@given(
    st.lists(st.tuples(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(-1, 3)), min_size=2, max_size=8)
)
def test_no_threshold_of_a_grid_beats_the_one_found(rows: list[tuple[list[float], int]]) -> None:
    scores, gold = [row[0] for row in rows], [min(row[1], len(row[0]) - 1) for row in rows]
    _, f1 = best_threshold(scores, gold)
    if math.isnan(f1):
        return
    values = sorted({score for one in scores for score in one})
    for threshold in [0.0, 1.0, *((a + b) / 2 for a, b in pairwise(values))]:
        predicted = [Reading(threshold=threshold).first_error(one) for one in scores]
        assert first_error_scores(gold, predicted).f1 <= f1 + 1e-9


def test_a_value_model_is_read_by_its_fall() -> None:
    rng = random.Random(2)
    scores, gold = [], []
    for _ in range(60):
        # How likely the end is right from the start on says how hard the problem is, not whether a step is wrong.
        level, error = rng.uniform(0.55, 1.0), rng.choice([-1, 1, 2, 3])
        falls = [0.35 if at == error else 0.0 for at in range(4)]
        scores.append([max(0.01, level - sum(falls[: at + 1])) for at in range(4)])
        gold.append(error)
    reading = fit_reading(scores, gold)
    assert reading.readout in ("drop", "log_ratio")
    assert first_error_scores(gold, [reading.first_error(one) for one in scores]).f1 > 95
    assert best_threshold(scores, gold)[1] < 85


def test_the_aggregation_is_the_one_that_chooses_best() -> None:
    right = Candidate(answer="1", correct=True, scores=(0.2, 0.9))
    wrong = Candidate(answer="2", correct=False, scores=(0.8, 0.4))
    assert fit_reading([], [], [[wrong, right]] * 3).aggregation == "last"
    assert fit_reading([], [], [[wrong, right]] * 3).readout == "level"
