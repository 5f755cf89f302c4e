"""Label files: every format is known by its fields, and what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import InputError
from pipelines.prm.label_files import Unusable, label_format, read_label_rows
from pipelines.prm.samples import read_samples
from prm.labels import FORMATS, LabelledSolution, write_labels

SOLUTION = LabelledSolution(
    problem="1+2+3=?",
    steps=("Step 1: 1+2=3", "Step 2: 3+3=7"),
    values=(1.0, 0.0),
    source="human",
    row_id="r-1",
    outcome=False,
)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_known_by_its_fields(tmp_path: Path, name: str) -> None:
    file = tmp_path / "labels.jsonl"
    write_labels(file, [SOLUTION], name)
    assert label_format([file]) == name
    unusable = Unusable()
    ((_, (found,)),) = read_label_rows(str(file), "auto", unusable)
    assert found.values == SOLUTION.values
    assert not unusable.reasons


def test_big_bench_mistake_counts_from_zero_and_null_is_no_mistake(tmp_path: Path) -> None:
    rows = [
        {"input": "q", "steps": ["a", "b", "c"], "answer": "5", "target": "4", "mistake_index": 1},
        {"input": "q", "steps": ["a"], "answer": "4", "target": "4", "mistake_index": None},
        {"input": "q", "steps": ["a"], "answer": "4", "target": "4", "mistake_index": 1},
    ]
    file = tmp_path / "bbm.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    unusable = Unusable()
    found = [solution for _, (solution,) in read_label_rows(str(file), "auto", unusable)]
    assert [(one.values, one.first_error, one.outcome) for one in found] == [
        ((1.0, 0.0, None), 1, False),
        ((1.0,), -1, True),
    ]
    assert unusable.reasons == {"bad_label": 1}


def test_too_many_unusable_rows_are_one_error_that_names_the_first(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    rows = [{"prompt": "q", "completions": ["a", "b"], "labels": [True] * n} for n in (2, 3, 2)]
    file.write_text("\n".join(map(json.dumps, rows)) + "\nnot json\n")
    unusable = Unusable()
    kept = len(list(read_label_rows(str(file), "auto", unusable)))
    assert kept == 2
    unusable.check(kept, 0.5)
    with pytest.raises(InputError, match=r"2 of 4 rows .* labels.jsonl:2: label_count, 3 labels for 2 steps") as error:
        unusable.check(kept, 0.49)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "row"), [("auto", {"a": 1}), ("trll", {"a": 1})])
def test_an_unknown_format_is_an_error_that_lists_the_known(tmp_path: Path, name: str, row: dict[str, int]) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"math_shepherd.*omega_flat"):
        label_format([file], name)


def test_samples_are_read_nested_and_flat_to_the_same(tmp_path: Path) -> None:
    one = {"steps": ["a", "b"], "answer": 4, "is_correct": True, "prm_scores": {"x": [0.5, 1]}}
    nested, flat = tmp_path / "nested.jsonl", tmp_path / "flat.jsonl"
    nested.write_text(json.dumps({"question": "q", "candidates": [one, one | {"answer": "5", "is_correct": False}]}))
    flat.write_text(
        "".join(
            json.dumps({"problem": problem, "steps": ["a", "b"], "answer": a, "correct": a == "4", "x": [0.5, 1.0]})
            + "\n"
            for problem, a in (("q", "4"), ("other", "4"), ("q", "5"))
        )
    )
    unusable = Unusable()
    (group,) = read_samples(nested, ["prm_scores.x"], unusable)
    other, _ = read_samples(flat, ["x"], unusable)
    assert [found.sample for found in group] == [found.sample for found in other]
    assert group[0].scores == {"prm_scores.x": (0.5, 1.0)}
    assert not unusable.reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": [0.5]}, "label_count"),
        ({"x": [0.5, 1.5]}, "bad_label"),
        ({"x": [0.5, float("nan")]}, "bad_label"),
        ({"y": 1}, "missing_field"),
        ({"correct": "yes", "x": [0, 1]}, "bad_field"),
        ({"steps": "a b", "x": [0, 1]}, "bad_field"),
    ],
)
def test_a_sample_without_one_probability_a_step_is_counted(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(json.dumps({"problem": "q", "steps": ["a", "b"], "answer": "4", "correct": True} | change))
    unusable = Unusable()
    assert read_samples(file, ["x"], unusable) == []
    assert unusable.reasons == {reason: 1}
