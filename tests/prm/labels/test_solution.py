"""A labelled solution is whole by construction, and turns into hard labels and stored records."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from data.records import StepLabel
from data.schema import from_table, to_table
from data.sources.base import RowError
from prm.labels import LabelledSolution, hardened, label_symbolic, step_labels, values_up_to

WHOLE: dict[str, Any] = {"problem": "q", "steps": ("a", "b"), "values": (1.0, None), "source": "human"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problem": " \n"}, "empty_problem"),
        ({"steps": (), "values": ()}, "zero_steps"),
        ({"steps": ("a", "\t")}, "empty_step"),
        ({"tail": ("",)}, "empty_step"),
        ({"values": (1.0,)}, "label_count"),
        ({"ratings": (1,)}, "label_count"),
        ({"n_right": (1, 1)}, "label_count"),
        ({"values": (1.0, float("nan"))}, "bad_label"),
        ({"values": (1.0, float("inf"))}, "bad_label"),
        ({"values": (1.0, -0.1)}, "bad_label"),
        ({"ratings": (1, 2)}, "bad_label"),
        ({"ratings": (1, True)}, "bad_label"),
        ({"n_right": (2, 0), "n_rollouts": (1, 0)}, "bad_label"),
        ({"problem": "half \ud83d"}, "bad_utf8"),
        ({"gold": "half \ud83d"}, "bad_utf8"),
    ],
)
def test_what_is_not_whole_cannot_be_made(changes: dict[str, Any], reason: str) -> None:
    LabelledSolution(**WHOLE)
    with pytest.raises(RowError) as caught:
        LabelledSolution(**(WHOLE | changes))
    assert caught.value.reason == reason


def test_the_first_error_is_the_first_step_more_likely_wrong() -> None:
    values = (1.0, None, 0.5, 0.4, 0.0)
    assert LabelledSolution(**(WHOLE | {"steps": tuple("abcde"), "values": values})).first_error == 3
    assert LabelledSolution(**WHOLE).first_error == -1


def test_steps_after_a_first_error_have_no_label() -> None:
    assert values_up_to(1, 4) == (1.0, 0.0, None, None)
    assert values_up_to(-1, 2) == (1.0, 1.0)
    for wrong in (-2, 4):
        with pytest.raises(RowError):
            values_up_to(wrong, 4)


def test_hard_labels_come_from_the_counts() -> None:
    counts = {"n_right": (4, 1, 2, 0, 0), "n_rollouts": (4, 4, 4, 4, 0)}
    soft = LabelledSolution(**(WHOLE | {"steps": tuple("abcde"), "values": (1.0, 0.25, 0.5, 0.0, None)} | counts))
    assert hardened(soft, "any").values == (1.0, 1.0, 1.0, 0.0, None)
    assert hardened(soft, "half").values == (1.0, 0.0, 1.0, 0.0, None)
    assert hardened(soft, "any").n_right == soft.n_right
    human = LabelledSolution(**WHOLE)
    assert hardened(human, "half") == human


def test_labels_are_stored_as_records() -> None:
    counts = {"n_right": (1, 0), "n_rollouts": (4, 0)}
    solution = LabelledSolution(
        **(WHOLE | {"values": (0.25, None), "ratings": (1, None), "source": "monte_carlo"} | counts)
    )
    (label,) = step_labels(solution, "r")
    assert label == StepLabel(rationale_id="r", step=0, value=0.25, rating=1, source="monte_carlo", n_rollouts=4)
    assert list(from_table(StepLabel, to_table(StepLabel, [label]))) == [label]


def test_arithmetic_labels_what_it_can_check() -> None:
    found = label_symbolic("q", ["3 + 4 = 7", "so there are some", "7 * 2 = 15", "15 + 1 = 16"], row_id="r")
    assert found.values == (1.0, None, 0.0, 1.0)
    assert (found.first_error, found.source, found.row_id) == (2, "symbolic", "r")


def test_labels_and_encoding_are_imported_without_a_model_library() -> None:
    heavy = ["torch", "transformers", "datasets", "sympy", "pandas", "numpy", "tokenizers"]
    code = f"import sys, prm.labels, prm.encode; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
