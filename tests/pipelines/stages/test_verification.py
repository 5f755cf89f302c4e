"""Verdicts of a run: each kind of problem goes to its verifier, and what nobody could decide is undecided."""

from __future__ import annotations

from data.records import FinishReason, Kind, Problem, Status
from pipelines.stages.verification import check_texts, final_answer

ADD = Problem.create(prompt="Write add(a, b).", answer="", kind=Kind.CODE, tests="assert add(2, 3) == 5")
BROKEN = Problem.create(prompt="Write add(a, b).", answer="", kind=Kind.CODE, tests="assert add(2, 3 == 5")
SUM = Problem.create(prompt="2+3?", answer="5")
CHOICE = Problem.create(prompt="Which?", answer="B", kind=Kind.CHOICE, choices=("one", "two"))
STOP, ERROR = FinishReason.STOP, FinishReason.ERROR


def test_each_kind_goes_to_its_verifier_and_order_is_kept() -> None:
    cases = [
        (ADD, "Think.\n```python\ndef add(a, b):\n    return a + b\n```", STOP, Status.CORRECT, "passed"),
        (SUM, "2+3 = 5\n#### 5", STOP, Status.CORRECT, "hash"),
        (ADD, "```python\ndef add(a, b):\n    return a - b\n```", STOP, Status.INCORRECT, "failed:assertion"),
        (CHOICE, "The answer is (B).", STOP, Status.CORRECT, "phrase"),
        (ADD, "```python\nimport sys\nsys.exit(0)\n```", STOP, Status.INCORRECT, "failed:ended_early"),
        (
            BROKEN,
            "```python\ndef add(a, b):\n    return a + b\n```",
            STOP,
            Status.UNDECIDED,
            "problem_error:tests:syntax",
        ),
        (ADD, "", ERROR, Status.UNDECIDED, "engine_error"),
        (SUM, "", ERROR, Status.UNDECIDED, "engine_error"),
    ]
    problems, texts, reasons = ([case[place] for case in cases] for place in range(3))
    answers = list(map(final_answer, texts, problems))
    # Whether or not the answers were found before.
    for verdicts in (check_texts(problems, texts, reasons), check_texts(problems, texts, reasons, answers)):
        assert [(verdict.status, verdict.detail) for verdict in verdicts] == [case[3:] for case in cases]


def test_a_program_has_no_answer_beside_itself() -> None:
    assert final_answer("```python\nprint(7)\n```\n#### 7", ADD).answer == ""
    assert final_answer("7\n#### 7", SUM).answer == "7"
