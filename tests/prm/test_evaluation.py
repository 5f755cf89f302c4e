"""Figures against hand-worked values, and against the stored scores of seven published PRMs."""

from __future__ import annotations

import gzip
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.aggregate import AGGREGATIONS, READOUTS, Reading, best_of, drop, geometric_mean, log_ratio, weighted_vote
from prm.calibration import fit_reading
from prm.evaluation import (
    Candidate,
    auc,
    best_of_n,
    best_of_n_curve,
    brier,
    calibration_error,
    choose,
    first_error_scores,
    interval_over,
    prm_score,
    process_bench,
    with_classes,
    within_auc,
)
from prm.evaluation_floors import BagOfWords, always_correct, answer_oracle, coin
from verifiers import paired_interval

DATA = Path(__file__).parents[2].parent / "shared" / "data"
chances = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(chances)
def test_every_reading_of_probabilities_is_a_probability(scores: list[float]) -> None:
    for readout in READOUTS:
        read = Reading(readout=readout, start=0.7).read(scores)
        assert len(read) == len(scores)
        assert all(0 <= score <= 1 for score in read)
        for aggregation in AGGREGATIONS:
            assert 0 <= Reading(readout=readout, aggregation=aggregation).solution_score(scores) <= 1 + 1e-12


def test_read_outs_by_hand() -> None:
    assert drop([0.9, 0.95, 0.2, 0.1]) == pytest.approx([0.9, 1.0, 0.25, 0.9])
    assert log_ratio([0.8, 0.9, 0.3, 0.0, 0.0]) == pytest.approx([0.8, 1.0, 1 / 3, 0.0, 1.0])
    assert geometric_mean([0.5, 0.125]) == pytest.approx(0.25)
    assert geometric_mean([0.5, 0.0]) == 0.0
    value_model = [0.6, 0.62, 0.1, 0.12]
    assert Reading(readout="drop", threshold=0.55).first_error(value_model) == 2
    assert Reading(threshold=0.61).first_error(value_model) == 0
    assert Reading().first_error([0.5, 0.9]) == -1


def test_the_product_falls_with_length_and_the_geometric_mean_does_not() -> None:
    assert AGGREGATIONS["product"]([0.9] * 9) < AGGREGATIONS["product"]([0.9] * 3)
    assert AGGREGATIONS["geometric_mean"]([0.9] * 9) == pytest.approx(AGGREGATIONS["geometric_mean"]([0.9] * 3))


def test_the_first_of_equal_scores_is_chosen_and_a_vote_of_zeros_is_a_plain_one() -> None:
    assert best_of([0.1, 0.7, 0.7]) == 1
    assert weighted_vote(["1", "2", "2"], [0.9, 0.3, 0.3]) == "1"
    assert weighted_vote(["1", "2", "2"], [0.0, 0.0, 0.0]) == "2"


def test_first_error_f1_is_the_harmonic_mean_of_its_two_parts() -> None:
    found = first_error_scores([2, 0, -1, -1, -1], [2, 1, -1, -1, 0])
    assert found == (50.0, pytest.approx(200 / 3))
    assert found.f1 == pytest.approx(400 / 7)
    assert first_error_scores([1], [0]).wrong == 0
    assert math.isnan(first_error_scores([1, 2], [1, 2]).f1)


def test_process_bench_averages_its_subsets_unweighted() -> None:
    small, large = ([0, -1], [0, -1]), ([0, -1] * 50, [-1, -1] * 50)
    assert process_bench({"gsm8k": small, "math": large}) == {"gsm8k": 100.0, "math": 0.0, "mean": 50.0}


def test_auc_counts_ties_half_and_is_nan_without_both_kinds() -> None:
    assert auc([True, True, False, False], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)
    assert math.isnan(auc([True], [0.5]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=20))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[bool, int]]) -> None:
    pairs = [(a, b) for right, a in rows if right for wrong, b in rows if not wrong]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs) if pairs else math.nan
    found = auc([label for label, _ in rows], [float(score) for _, score in rows])
    assert found == pytest.approx(expected, nan_ok=True)


def test_within_problem_auc_forgets_which_problem_is_easy() -> None:
    labels = [True, False, True, False]
    scores = [0.9, 0.8, 0.1, 0.2]
    assert within_auc(["a", "a", "b", "b"], labels, scores) == 0.5
    assert within_auc(["a", "b", "a", "b"], labels, scores) != within_auc(["a"] * 4, labels, scores)


def test_calibration_figures_by_hand() -> None:
    labels, scores = [1.0, 0.0, 1.0, 1.0], [0.75, 0.75, 0.15, 1.0]
    assert brier(labels, scores) == pytest.approx((0.0625 + 0.5625 + 0.7225) / 4)
    assert calibration_error(labels, scores) == pytest.approx((abs(1 - 1.5) + 0.85 + 0) / 4)


def test_prm_score_is_the_mean_of_the_f1_on_right_and_on_wrong_steps() -> None:
    right, called = [True, True, True, False], [True, True, False, False]
    assert prm_score(right, called) == pytest.approx((100 * 4 / 5 + 100 * 2 / 3) / 2)
    assert prm_score([True] * 4, [True] * 4) == 50.0


def samples(*rows: tuple[str, bool, float]) -> list[Candidate]:
    return [Candidate(answer=answer, correct=right, scores=(score,)) for answer, right, score in rows]


def test_each_way_of_choosing_on_one_problem() -> None:
    group = samples(("7", False, 0.2), ("7.0", False, 0.3), ("8", True, 0.6), ("9", False, 0.1), ("", False, 0.0))
    assert choose(group, Reading()) == (20.0, 0.0, 100.0, 100.0, 100.0)
    assert [one.answer_class for one in with_classes(group)] == [0, 0, 1, 2, -1]


def test_a_candidate_without_scores_is_the_last_choice() -> None:
    group = [Candidate(answer="1", correct=False, scores=()), *samples(("2", True, 0.01))]
    assert choose(group, Reading()).greedy == 100.0


def test_the_curve_is_over_prefixes_of_the_same_candidates() -> None:
    groups = [samples(("1", False, 0.5), ("2", True, 0.9)), samples(("1", True, 0.5), ("2", False, 0.2))]
    curve = best_of_n_curve(groups, Reading(), [1, 2])
    assert (curve[1].greedy, curve[2].greedy) == (50.0, 100.0)
    assert curve[2] == best_of_n(groups, Reading())


def test_the_bootstrap_resamples_whole_problems() -> None:
    groups = [([True, False], [0.9, 0.1])] * 10 + [([True, False], [0.1, 0.9])] * 10

    def pooled(rows: Any) -> float:
        return auc([label for labels, _ in rows for label in labels], [s for _, scores in rows for s in scores])

    found = interval_over(groups, pooled, draws=300)
    assert found.low < found.mean == 0.5 < found.high
    assert found.high - found.low > 0.3, "twenty problems, not forty steps"
    assert found == interval_over(groups, pooled, draws=300)


def test_floors_by_hand() -> None:
    gold, n_steps = [1, -1, 3, -1], [4, 4, 10, 2]
    assert always_correct(gold) == (0.0, 100.0)
    assert coin(gold, n_steps) == (pytest.approx(50 * (1 / 4 + 1 / 10) / 2), 50.0)
    assert answer_oracle([2, -1, 3], [4, 4, 10], [False, True, False]) == (50.0, 100.0)


def test_a_bag_of_words_learns_words_and_nothing_from_noise() -> None:
    rng = random.Random(0)
    steps = [" ".join(rng.choices(["add", "take", "half", "so"], k=5)) for _ in range(300)]
    labels = [float("half" not in step) for step in steps]
    model = BagOfWords().fit(steps[:200], [0] * 200, labels[:200])
    assert auc([bool(label) for label in labels[200:]], model.score(steps[200:], [0] * 100)) > 0.95
    noise = BagOfWords().fit(steps[:200], [0] * 200, [rng.choice([0.0, 1.0]) for _ in range(200)])
    assert 0.3 < auc([bool(label) for label in labels[200:]], noise.score(steps[200:], [0] * 100)) < 0.7


def published_scores() -> dict[str, list[list[Candidate]]]:
    file = DATA / "bon_gsm8k" / "dev.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line)["candidates"] for line in lines]
    # The votes are numbered once: they do not depend on the scores.
    plain = [
        with_classes([Candidate(answer=one["answer"] or "", correct=one["is_correct"], scores=()) for one in row])
        for row in rows
    ]
    return {
        name: [
            [replace(one, scores=tuple(raw["prm_scores"][name])) for one, raw in zip(group, row, strict=True)]
            for group, row in zip(plain, rows, strict=True)
        ]
        for name in rows[0][0]["prm_scores"]
    }


BEST_OF_32 = {
    #                       min    prod   geo    mean   last   weighted (last), pooled and within-problem AUC (last)
    "internlm2_1_8b_reward": (214, 216, 218, 220, 221, 224, 0.554, 0.532),
    "internlm2_7b_reward": (221, 218, 223, 224, 231, 222, 0.706, 0.713),
    "math_shepherd": (224, 224, 223, 224, 220, 224, 0.736, 0.662),
    "qwen_prm": (232, 230, 230, 230, 231, 226, 0.750, 0.828),
    "rlhflow_prm": (223, 223, 222, 222, 216, 224, 0.710, 0.621),
    "skywork_prm": (227, 227, 231, 231, 234, 227, 0.781, 0.830),
    "skywork_prm_1_5b": (220, 220, 223, 224, 222, 223, 0.757, 0.701),
}
"""Problems solved of 260. The AUCs are those that were published with the scores, to the digit."""


def test_best_of_32_on_the_stored_scores_of_seven_published_prms() -> None:
    scored = published_scores()
    found = {}
    for name, groups in scored.items():
        rows = {aggregation: best_of_n(groups, Reading(aggregation=aggregation)) for aggregation in AGGREGATIONS}
        flat = [(at, one.correct, one.scores[-1]) for at, group in enumerate(groups) for one in group]
        places, right, last_scores = (list(column) for column in zip(*flat, strict=True))
        solved = [round(row.greedy * len(groups) / 100) for row in rows.values()]
        solved.append(round(rows["last"].weighted * len(groups) / 100))
        aucs = [round(auc(right, last_scores), 3), round(within_auc(places, right, last_scores), 3)]
        found[name] = (*solved, *aucs)
    assert found == BEST_OF_32
    assert rows["min"].majority == pytest.approx(100 * 223 / 260)
    assert rows["min"].pass_n == pytest.approx(100 * 249 / 260)
    assert rows["min"].pass_1 == pytest.approx(84.0625)


def test_an_aggregation_fitted_on_one_half_is_near_the_best_on_the_other() -> None:
    near = 0
    for groups in published_scores().values():
        fitted = fit_reading([], [], groups[::2])
        rest = groups[1::2]
        best = max(best_of_n(rest, fitted.model_copy(update={"aggregation": one})).greedy for one in AGGREGATIONS)
        near += best_of_n(rest, fitted).greedy >= best - 1.6
    assert near >= 6


def test_a_difference_of_two_scorers_is_paired_by_problem() -> None:
    groups = [samples(("1", True, 0.9), ("2", False, 0.1))] * 30 + [samples(("1", False, 0.9), ("2", True, 0.1))] * 3
    good = [choose(group, Reading()).greedy for group in groups]
    plain = [choose(group, Reading()).pass_1 for group in groups]
    found = paired_interval(good, plain)
    assert 0 < found.low < found.mean < found.high
