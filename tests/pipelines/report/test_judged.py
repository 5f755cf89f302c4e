"""What a PRM makes of steps that it was not trained on: sets, sure labels, and the curves by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from data.records import Origin, Status, StepLabel, StepScores
from data.run_records import PpoIteration
from pipelines.recipe import load_recipe
from pipelines.report.figures import ppo_figures
from pipelines.report.judged import HELD_OUT, TEST, JudgedSet, JudgedStep, held_out_rationales, judge_prm, sure_labels
from pipelines.report.page import leads, outcome_line, policy_line, prm_line
from pipelines.report.prm_figures import prm_figures
from pipelines.report.summary import Summary
from pipelines.run_dir import RunFolder
from prm.aggregate import Reading
from prm.model_config import PrmConfig, write_config
from tests.pipelines.audit_folders import problem, rationale, verdict
from verifiers.metrics import Interval


def steps(*marks: tuple[bool, float]) -> list[JudgedStep]:
    return [JudgedStep(right, score, score >= 0.5) for right, score in marks]


def test_curves_and_counts_are_those_worked_out_by_hand() -> None:
    found = JudgedSet(
        [steps((True, 0.9), (False, 0.2), (True, 0.4)), steps((False, 0.6), (True, 0.9))], [(1, 1), (0, -1)]
    )
    # Thresholds rise over 0.2 (wrong), 0.4 (right), 0.6 (wrong), 0.9 (two right).
    assert found.roc() == [(0, 0), (0, 0.5), (1 / 3, 0.5), (1 / 3, 1), (1, 1)]
    # Five of the six pairs stand in the right order.
    assert found.auc.mean == pytest.approx(5 / 6)
    assert found.reliability() == [(0.2, 0, 1), (0.4, 1, 1), (0.6, 0, 1), (0.9, 1, 2)]
    assert found.calibration_error == pytest.approx((0.2 + 0.6 + 0.6 + 2 * 0.1) / 5)
    assert (found.false_alarms, found.misses) == (1, 1)
    assert math.isnan(found.first_error_f1)


def test_where_only_one_kind_of_step_is_there_nothing_is_claimed() -> None:
    found = JudgedSet([steps((True, 0.9), (True, 0.4))], [(-1, 1)])
    assert found.roc() == [(0, 0), (0.5, 0), (1, 0)]
    assert math.isnan(found.auc.mean)
    assert (found.false_alarms, found.misses) == (1, 0)


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("5+1=6\n6-1=5\n#### 5", Status.CORRECT, [1, 1, 1]),
        ("5+1=6\n6-1=4\n#### 4", Status.INCORRECT, [1, 0, None]),
        ("5+2=7\n7-1=6\n#### 6", Status.INCORRECT, [None] * 3),
        ("5+1=7\n7-1=6\n#### 6", Status.UNDECIDED, [None] * 3),
        ("  ", Status.INCORRECT, [None]),
    ],
)
def test_a_label_is_sure_only_where_checker_and_answer_leave_no_doubt(
    text: str, status: Status, expected: list[float | None]
) -> None:
    owner = problem(5)
    row = rationale(owner, text, 0)
    assert list(sure_labels(owner, row, verdict(row, status), None)) == expected


def test_a_near_miss_is_judged_up_to_its_slip() -> None:
    row = rationale(problem(5), "5+1=6\n6-1=4\n#### 4", 0, Origin.CORRUPTED)
    assert list(sure_labels(problem(5), row, None, [1.0, 0.0, 0.0])) == [1.0, 0.0, None]


def test_the_first_screen_says_what_choosing_by_the_prm_bought_and_how_sure_that_is() -> None:
    summary = Summary("", "")
    assert prm_line(summary) == ""
    row = {"n": 4, "pass_1": 50.0, "majority": 60.0, "greedy": 55.0, "weighted": 62.5, "pass_n": 75.0}
    # As it comes back from the manifest, its keys in the order of the alphabet.
    summary.notes["best_of_n"] = {"curve": [row], "gain": {"high": 8.0, "low": -3.0, "mean": 2.5}}
    line = prm_line(summary)
    assert line.startswith("Of 4 samples of a held-out problem, the vote weighted by the PRM is right in 62.5 %")
    assert "60.0 %: +2.5 points (95 % interval -3.0 to +8.0" in line
    assert line.endswith("no effect is shown.")
    (figure,) = prm_figures(summary)
    assert {trace.name: list(trace.y) for trace in figure.data}["majority"] == [60.0]
    assert outcome_line(summary) == ""


def test_an_outcome_model_has_curves_of_its_own_and_a_sentence_on_the_first_screen() -> None:
    row = {"n": 4, "pass_1": 50.0, "majority": 60.0, "greedy": 55.0, "weighted": 62.5, "pass_n": 75.0}
    other = {"curve": [row | {"greedy": 57.0, "weighted": 61.0}], "gain": {"high": 3.0, "low": 0.5, "mean": 1.5}}
    summary = Summary("", "")
    summary.notes["best_of_n"] = {"curve": [row], "gain": {"high": 8.0, "low": -3.0, "mean": 2.5}}
    (alone,) = prm_figures(summary)
    summary.notes["best_of_n"]["outcome"] = other
    (figure,) = prm_figures(summary)
    drawn = {trace.name: list(trace.y) for trace in figure.data}
    assert len(alone.data) == 5
    assert len(drawn) == 7
    assert drawn["vote weighted by PRM"] == [62.5]
    assert (drawn["vote weighted by outcome model"], drawn["best by outcome model"]) == ([61.0], [57.0])
    # No two lines look alike but the bounds above and below, which are dotted.
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 6
    line = outcome_line(summary)
    assert "right in 61.0 %" in line
    assert "+1.5 points (95 % interval +0.5 to +3.0" in line
    assert line.endswith("excludes zero.")
    assert line in leads(summary)


def test_ppo_is_drawn_with_its_gold_reward_step_rewards_kl_and_length() -> None:
    rows = [
        PpoIteration(iteration=at, kl=0.1 * at, proxy=0.5, gold=0.25 * at, tokens=40 + at, steps=5, repeated=0,
                     filler=0, unseparated=0) for at in (1, 2)
    ]  # fmt: skip
    rewards, distance = ppo_figures(Summary("", "", ppo=rows))
    assert [list(trace.y) for trace in rewards.data] == [[25, 50], [0.5, 0.5]]
    assert [list(trace.y) for trace in distance.data] == [[0.1, 0.2], [41, 42]]
    assert ppo_figures(Summary("", "")) == []


def test_the_prm_is_judged_on_the_test_problems_and_those_held_out_of_its_training(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", load_recipe("quickstart"))
    train = [problem(5), problem(6)]
    test = [replace(problem(7), split="test")]
    right = {
        one.id: rationale(one, f"{one.answer}+1={int(one.answer) + 1}\n#### {one.answer}", 0) for one in train + test
    }
    wrong = rationale(test[0], "7+1=9\n9-1=8\n#### 8", 1)
    slip = rationale(train[0], "5+1=7\n#### 6", 2, Origin.CORRUPTED)
    other_arm = rationale(train[0], "5+1=6\n#### 5", 3)
    run.unit("problems", "train", "k", lambda: train)
    run.unit("problems", "test", "k", lambda: test)
    for unit, rows in (
        ("star-r1-sample-00000", [right[one.id] for one in train]),
        ("prm-r2-pilot-1-00000", [right[test[0].id], wrong]),
        ("no_rationalization-r1-sample-00000", [other_arm]),
    ):
        run.unit("rationales", unit, "k", lambda rows=rows: rows)
        run.unit("verdicts", unit, "k", lambda rows=rows: [
            verdict(row, Status.INCORRECT if row is wrong else Status.CORRECT) for row in rows
        ])  # fmt: skip
    run.unit("rationales", "near_miss-00000", "k", lambda: [slip])
    run.unit("step_labels", "near_miss-00000", "k", lambda: [
        StepLabel(rationale_id=slip.id, step=0, value=0.0, rating=None, source="near_miss")
    ])  # fmt: skip
    # What a later arm drew is not there when the PRM is trained, but is when the run goes on.
    rows = held_out_rationales(run, {train[0].prompt})
    assert {row.id for row in rows} == {right[train[0].id].id, slip.id, right[test[0].id].id, wrong.id}
    assert judge_prm(run) == {}
    run.unit("step_scores", "judged-00000", "k", lambda: [
        StepScores(rationale_id=row.id, scores=(0.7,) * len(row.steps), scorer="prm", revision="r") for row in rows
    ])  # fmt: skip
    folder = tmp_path / "run" / "checkpoints" / "prm"
    folder.mkdir(parents=True)
    write_config(folder, PrmConfig(reading=Reading(threshold=0.75)))
    found = judge_prm(run)
    run.close()
    assert {name: len(one.steps) for name, one in found.items()} == {TEST: 3, HELD_OUT: 3}
    assert {name: (one.false_alarms, one.misses) for name, one in found.items()} == {TEST: (2, 0), HELD_OUT: (2, 0)}
    assert found[TEST].first_errors == [(-1, 0), (0, 0)]


def test_what_a_preference_baseline_bought_is_said_by_its_name_and_with_its_interval() -> None:
    summary = Summary("", "", notes={"preference": {"loss": "step_dpo"}})
    assert policy_line(summary, "preference") == ""
    summary.accuracy["preference", 2, "all"] = Interval(mean=0.733, low=0.68, high=0.78)
    summary.policy_gains["preference"] = Interval(mean=-0.06, low=-0.107, high=-0.017)
    assert policy_line(summary, "preference").startswith(
        "Step-DPO took the last promoted policy to 73.3 %: -6.0 points (95 % interval -10.7 to -1.7"
    )
