"""Step checking: what is flagged is wrong, and what cannot be read with certainty is not judged."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers import check_steps
from verifiers.arithmetic import evaluate
from verifiers.steps import StepStatus

GSM8K = Path(__file__).parents[2].parent / "shared/data/gsm8k"
CORRECT, INCORRECT, NOT = StepStatus.CORRECT, StepStatus.INCORRECT, StepStatus.NOT_CHECKABLE


def status(step: str) -> StepStatus:
    (verdict,) = check_steps("", [step])
    return verdict.status


@pytest.mark.parametrize(
    "step",
    [
        "12+3=15",
        "She has <<3*4=12>>12 eggs.",
        "2*3+4 = 6+4 = 10",
        "A third is 100/3 = 33.3, about 33",
        "100 / 3 = 33",
        "The discount is 20% * 50 = $10.",
        "That is 10/50 = 20%.",
        "3 apples + 4 apples = 7 apples",
        "He pays 1,200 x 3 = 3,600 dollars",
        ".25*4 = 1",
        "(2+3)×4 = 20",
        "2^5 - 1 = 31",
        "$5.50 + $4.50 = $10",
    ],
)
def test_a_true_equality_is_correct(step: str) -> None:
    assert status(step) is CORRECT


@pytest.mark.parametrize(
    ("step", "span"),
    [
        ("12+3=16", "12+3=16"),
        ("She has <<3*4=13>>13 eggs.", "3*4=13"),
        ("2*3+4 = 6+4 = 11", "6+4=11"),
        ("7/2 = 3.4", "7/2=3.4"),
        ("100/3 = 35", "100/3=35"),
        ("99999999999999999999 + 1 = 100000000000000000001", "99999999999999999999 + 1=100000000000000000001"),
        ("3 apples + 4 apples = 8 apples", "3 + 4=8"),
        ("so it costs 192*100=$1920", "192*100=$1920"),
    ],
)
def test_a_false_equality_is_incorrect_and_named(step: str, span: str) -> None:
    (verdict,) = check_steps("", [step])
    assert (verdict.status, verdict.span) == (INCORRECT, span)


@pytest.mark.parametrize(
    "step",
    [
        "",
        "She thinks hard.",
        "There are 5 more = 8",
        "2x + 3 = 8",
        "x = 5",
        "20 minutes = (60+20) minutes",
        "f(3) + 1 = 8",
        "75 + 10% of 150 = 90",
        "3*30 = 30 + M",
        "6 km / 1/30 = 180",
        "12 x 1 and 1/4 = 15",
        "0900-0130 = 0730",
        "$1 / 2 = 50 cents",
        "1/0 = 3",
        "9^9^9^9 = 1",
        "(" * 100_000 + "1+1=3",
        "4 <= 5 + 1",
    ],
)
def test_what_cannot_be_read_with_certainty_is_not_judged(step: str) -> None:
    assert status(step) is NOT


def test_one_verdict_a_step_in_order() -> None:
    verdicts = check_steps("12+3-4=?", ["12+3=15\n", "15-4=12\n", "#### 12"])
    assert [row.status for row in verdicts] == [CORRECT, INCORRECT, NOT]
    assert [row.n_checked for row in verdicts] == [1, 1, 0]


@given(st.lists(st.integers(0, 999), min_size=2, max_size=6), st.lists(st.sampled_from("+-*"), min_size=5, max_size=5))
def test_evaluation_agrees_with_python_on_its_own_integers(numbers: list[int], operators: list[str]) -> None:
    text = str(numbers[0]) + "".join(f" {sign} {number}" for sign, number in zip(operators, numbers[1:], strict=False))
    value = evaluate(text)
    assert value is not None
    assert value.value == eval(text)  # noqa: S307 - our own digits


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert len(check_steps(text, [text, f"1+1=2{text}"])) == 2


def solutions() -> list[list[str]]:
    with gzip.open(GSM8K / "train.jsonl.gz", "rt") as stream:
        return [json.loads(line)["answer"].split("\n")[:-1] for line in stream]


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is absent")
def test_gsm8k_worked_solutions_are_checked_and_hardly_ever_called_wrong() -> None:
    arithmetic = [step for steps in solutions() for step in steps if "<<" in step]
    verdicts = check_steps("", arithmetic)
    checked = [row for row in verdicts if row.status is not NOT]
    wrong = [row for row in checked if row.status is INCORRECT]
    assert len(checked) / len(arithmetic) >= 0.95
    assert len(wrong) / len(checked) <= 0.002


@pytest.mark.skipif(not GSM8K.exists(), reason="shared data is absent")
def test_planted_slips_are_found_at_their_step() -> None:
    rng, planted, found = random.Random(0), 0, 0
    for steps in solutions():
        places = [place for place, step in enumerate(steps) if re.search(r"<<[^=<>]*[-+*/][^=<>]*=\d+>>", step)]
        if not places:
            continue
        place, slipped = rng.choice(places), list(steps)
        mark = re.search(r"<<([^=<>]*[-+*/][^=<>]*)=(\d+)>>", steps[place])
        assert mark is not None
        wrong = str(int(mark.group(2)) + rng.choice([1, 2, 10]))
        slipped[place] = steps[place].replace(mark.group(), f"<<{mark.group(1)}={wrong}>>")
        if check_steps("", [steps[place]])[0].status is CORRECT:
            planted += 1
            first = next((at for at, row in enumerate(check_steps("", slipped)) if row.status is INCORRECT), -1)
            found += first == place
    assert planted > 6000
    assert found / planted >= 0.97
