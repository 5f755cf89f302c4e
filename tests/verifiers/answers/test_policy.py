"""Profiles: what each one adds to and takes from the default, and what an explanation shows."""

from __future__ import annotations

import pytest

from data.errors import UserError
from data.records import Status
from verifiers import check_answer, explain

RIGHT, WRONG = Status.CORRECT, Status.INCORRECT


@pytest.mark.parametrize(
    ("gold", "prediction", "strict", "default", "lenient"),
    [
        ("0.33", "1/3", WRONG, RIGHT, RIGHT),
        ("1/3", "0.333", WRONG, WRONG, RIGHT),
        ("1/3", "0.33", WRONG, WRONG, WRONG),
        ("1/3", "0.334", WRONG, WRONG, WRONG),
        (r"\sqrt{2}", "1.414", WRONG, WRONG, RIGHT),
        (r"\sqrt{2}", "1.415", WRONG, WRONG, WRONG),
        ("50%", "50", WRONG, RIGHT, RIGHT),
        ("50%", "0.5", WRONG, RIGHT, RIGHT),
        ("5 cm", "5", WRONG, RIGHT, RIGHT),
        ("5", "5 cm", RIGHT, RIGHT, RIGHT),
        ("5 cm", "50 mm", RIGHT, RIGHT, RIGHT),
        ("1/2", "2/4", WRONG, RIGHT, RIGHT),
        ("5", "2+3", WRONG, RIGHT, RIGHT),
        ("2x", "x+x", RIGHT, RIGHT, RIGHT),
        ("17", "17.001", WRONG, WRONG, WRONG),
    ],
)
def test_profiles(gold: str, prediction: str, strict: Status, default: Status, lenient: Status) -> None:
    found = [check_answer(gold, prediction, policy=name).status for name in ("strict", "default", "lenient")]
    assert found == [strict, default, lenient]


def test_unknown_policy_is_a_user_error() -> None:
    with pytest.raises(UserError, match="unknown policy 'loose'"):
        check_answer("1", "1", policy="loose")


def test_an_explanation_shows_extraction_readings_and_rule() -> None:
    explanation = explain("(-2, 2)", r"Hence $x^2 < 4$, so the answer is $\boxed{x^2<4}$.")
    steps = dict(explanation.steps)
    assert explanation.verdict.status is RIGHT
    assert steps["extracted"] == "x^2<4  [boxed]"
    assert steps["prediction read as"] == "pow(x, 2) < 4"
    assert steps["decided by"] == "set"
