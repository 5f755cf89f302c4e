"""Formats of step labels: read, written and read again; every bad row named, none a crash."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.sources.base import Reject, Row, RowError
from prm.labels import FORMATS, LabelledSolution, read_labels, values_up_to, write_labels

DATA = Path(__file__).parents[3].parent / "shared" / "data"

ROWS: dict[str, Row] = {
    "stepstar": {"problem": "q", "steps": ["a", "b"], "values": [1.0, None], "source": "human"},
    "trl": {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]},
    "math_shepherd": {"input": "q + q? Step 1: a ки\nStep 2: b ки", "label": "q + q? Step 1: a +\nStep 2: b -"},
    "omega_tree": {
        "question": "q",
        "final_answer": "2",
        "reasoning_steps": {
            "text": "q",
            "mc_value": 0.5,
            "children": [
                {
                    "text": "a",
                    "mc_value": 0.75,
                    "children": [
                        {"text": "b", "mc_value": 1.0, "children": []},
                        {"text": "c", "mc_value": 0.0, "children": []},
                    ],
                }
            ],
        },
    },
    "omega_flat": {
        "question": "q",
        "final_answer": "2",
        "reasoning_steps": [
            {"solution_prefix": "q", "mc_value": 0.5},
            {"solution_prefix": "q\n\na\n\nb", "mc_value": 1.0},
            {"solution_prefix": "q\n\na", "mc_value": 0.75},
            {"solution_prefix": "q\n\na\n\nc", "mc_value": 0.0},
        ],
    },
    "process_bench": {
        "id": "gsm8k-1",
        "generator": "g",
        "problem": "q",
        "steps": ["a", "b", "c"],
        "final_answer_correct": False,
        "label": 1,
    },
    "prm_bench": {
        "idx": "i",
        "modified_question": "q",
        "modified_process": ["a", "b", "c"],
        "error_steps": [2],
        "classification": "circular",
    },
    "mr_gsm8k": {
        "uuid": "u",
        "question": "q",
        "ground_truth_answer": "2",
        "model_output_steps": ["a", "b", "c"],
        "model_output_answer_correctness": "wrong",
        "model_output_solution_correctness": "wrong",
        "model_output_solution_first_error_step": 2,
    },
}
VALUES: dict[str, list[tuple[float | None, ...]]] = {
    "stepstar": [(1.0, None)],
    "trl": [(1.0, 0.0)],
    "math_shepherd": [(1.0, 0.0)],
    "omega_tree": [(0.75, 1.0), (None, 0.0)],
    "omega_flat": [(0.75, 1.0), (None, 0.0)],
    "process_bench": [(1.0, 0.0, None)],
    "prm_bench": [(1.0, 0.0, 1.0)],
    "mr_gsm8k": [(1.0, 0.0, None)],
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_read_for_what_it_says(name: str) -> None:
    found = FORMATS[name].parse(ROWS[name])
    assert [one.values for one in found] == VALUES[name]
    assert FORMATS[name].parse(json.loads(json.dumps(FORMATS[name].render(found)))) == found


words = st.text(alphabet="ab +-ки\n漢.$\\", max_size=8).map(lambda text: f"x{text}".strip())
hard = st.sampled_from([0.0, 1.0])
soft = st.sampled_from([0.0, 0.25, 1.0])


@st.composite
def solutions(draw: st.DrawFn, values: Any) -> LabelledSolution:
    steps = draw(st.lists(words, min_size=1, max_size=4))
    labels = draw(values(len(steps)))
    return LabelledSolution(problem=draw(words), steps=tuple(steps), values=tuple(labels), source="human")


def each(value: Any) -> Any:
    return lambda n: st.lists(value, min_size=n, max_size=n)


def up_to_an_error(n: int) -> Any:
    return st.integers(-1, n - 1).map(lambda first: values_up_to(first, n))


EXPRESSIBLE = {
    "stepstar": each(soft | st.none()),
    "trl": each(soft),
    "prm800k": up_to_an_error,
    "math_shepherd": each(hard),
    "omega_tree": each(soft | st.none()),
    "omega_flat": each(soft | st.none()),
    "process_bench": up_to_an_error,
    "prm_bench": each(hard),
    "mr_gsm8k": up_to_an_error,
}


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_a_format_can_express_comes_back(name: str, data: st.DataObject) -> None:
    written = data.draw(solutions(EXPRESSIBLE[name]))
    if name == "prm800k":  # It ends at the error: what follows is the tail.
        n_labelled = sum(value is not None for value in written.values)
        cut = {"steps": written.steps[:n_labelled], "values": written.values[:n_labelled]}
        written = replace(written, **cut, ratings=(), tail=written.steps[n_labelled:])
    row = json.loads(json.dumps(FORMATS[name].render([written])))
    (found,) = FORMATS[name].parse(row)
    steps = written.steps
    if name == "math_shepherd":
        steps = tuple(f"Step {number}: {step}" for number, step in enumerate(steps, start=1))
    assert (found.problem, found.steps, found.values) == (written.problem, steps, written.values)
    assert found.tail == written.tail


@given(st.lists(solutions(each(soft)), min_size=1, max_size=5), st.sampled_from(["omega_tree", "omega_flat"]))
@settings(max_examples=60, deadline=None)
def test_a_tree_of_solutions_is_stable_and_labels_each_step_once(many: list[LabelledSolution], name: str) -> None:
    group = [replace(one, problem="q") for one in many]
    once = FORMATS[name].parse(FORMATS[name].render(group))
    assert FORMATS[name].parse(FORMATS[name].render(once)) == once
    prefixes = {one.steps[:length] for one in group for length in range(1, len(one.steps) + 1)}
    if name == "omega_tree":
        assert sum(value is not None for one in once for value in one.values) == len(prefixes)


SOFT = LabelledSolution(problem="q", steps=("a", "b"), values=(0.5, None), source="monte_carlo")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("trl", (0.5, None), "unlabelled_step"),
        ("prm_bench", (0.5, None), "unlabelled_step"),
        ("math_shepherd", (0.5, 1.0), "soft_label"),
        ("prm800k", (0.5, 1.0), "soft_label"),
        ("prm800k", (None, 1.0), "unlabelled_step"),
        ("process_bench", (None, 0.0), "unlabelled_step"),
        ("mr_gsm8k", (1.0, None), "unlabelled_step"),
    ],
)
def test_what_a_format_cannot_express_is_left_out_and_counted(
    name: str, values: tuple[float | None, ...], reason: str, tmp_path: Path
) -> None:
    good = replace(SOFT, values=(1.0, 0.0))
    counts = write_labels(tmp_path / "labels.jsonl", [replace(SOFT, values=values), good], name)
    assert counts == {"written": 1, reason: 1}
    (found,) = read_labels(str(tmp_path / "labels.jsonl"), name)
    assert isinstance(found, LabelledSolution)
    assert found.values == (1.0, 0.0)


def test_soft_labels_stay_soft(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl.gz"
    write_labels(file, [replace(SOFT, values=(0.75, 1.0))], "trl")
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        assert json.loads(stream.read())["labels"] == [0.75, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["labels.jsonl.gz"]
    # Byte 3 of the header: no name, which would be that of the unfinished file.
    assert file.read_bytes()[3] == 0


BAD: list[tuple[str, Row, str]] = [
    ("trl", {"prompt": "q", "completions": [], "labels": []}, "zero_steps"),
    ("trl", {"prompt": "q", "completions": ["a", " "], "labels": [True, True]}, "empty_step"),
    ("trl", {"prompt": "q", "completions": ["a", "b"], "labels": [True]}, "label_count"),
    ("trl", {"prompt": "q", "completions": ["a"], "labels": [float("nan")]}, "bad_label"),
    ("trl", {"prompt": "q", "completions": ["a"], "labels": [10**400]}, "bad_label"),
    ("trl", {"prompt": "q", "completions": ["a"], "labels": ["yes"]}, "bad_label"),
    ("trl", {"prompt": "q", "completions": None, "labels": None}, "missing_field"),
    ("trl", {"prompt": "q", "completions": ["a", None], "labels": [True, True]}, "bad_field"),
    ("trl", {"prompt": "q", "completions": ["half \ud83d"], "labels": [True]}, "bad_utf8"),
    ("trl", {"prompt": " ", "completions": ["a"], "labels": [True]}, "empty_problem"),
    ("stepstar", ROWS["stepstar"] | {"ratings": [2, 0]}, "bad_label"),
    ("stepstar", ROWS["stepstar"] | {"n_right": [3, 0], "n_rollouts": [2, 0]}, "bad_label"),
    ("stepstar", ROWS["stepstar"] | {"n_right": [1]}, "label_count"),
    ("process_bench", ROWS["process_bench"] | {"label": 3}, "bad_label"),
    ("process_bench", ROWS["process_bench"] | {"label": -2}, "bad_label"),
    ("process_bench", ROWS["process_bench"] | {"label": None}, "missing_field"),
    ("process_bench", ROWS["process_bench"] | {"steps": []}, "zero_steps"),
    ("prm_bench", ROWS["prm_bench"] | {"error_steps": [0]}, "bad_label"),
    ("mr_gsm8k", ROWS["mr_gsm8k"] | {"model_output_solution_first_error_step": 0}, "bad_label"),
    ("mr_gsm8k", ROWS["mr_gsm8k"] | {"model_output_solution_first_error_step": "N/A"}, "bad_field"),
    ("math_shepherd", {"input": "q Step 1: a", "label": "q Step 1: a"}, "zero_steps"),
    ("math_shepherd", {"input": "q a ки", "label": "q a +"}, "no_first_step"),
    ("math_shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: b +"}, "label_mismatch"),
    ("math_shepherd", {"input": "q Step 1: a ки", "label": "q Step 1: a "}, "label_count"),
    ("math_shepherd", {"input": "q Step 1: a ки\nb ки", "label": "q Step 1: a +"}, "label_mismatch"),
    ("math_shepherd", {"input": "q Step 1: a ки\n ки", "label": "q Step 1: a +\n -"}, "empty_step"),
    ("omega_tree", {"question": "q", "reasoning_steps": {"text": "q", "children": []}}, "zero_steps"),
    ("omega_tree", {"question": "q", "reasoning_steps": {"children": [{"text": " "}]}}, "empty_step"),
    ("omega_flat", {"question": "q", "reasoning_steps": [{"solution_prefix": "r", "mc_value": 1}]}, "bad_field"),
    ("omega_flat", {"question": "q", "reasoning_steps": [{"solution_prefix": "q a", "mc_value": 2}]}, "bad_label"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD)
def test_bad_rows_are_named_with_their_line(name: str, row: Row, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    good = FORMATS[name].render(FORMATS[name].parse(ROWS[name]))
    file.write_text(f"{json.dumps(row)}\n{json.dumps(good)}\n{json.dumps(good)[:-9]}")
    bad, *rest, last = read_labels(str(file), name)
    assert isinstance(bad, Reject)
    assert (bad.where, bad.reason) == ("labels.jsonl:1", reason)
    assert rest == FORMATS[name].parse(ROWS[name])
    assert isinstance(last, Reject)
    assert (last.where, last.reason) == ("labels.jsonl:3", "bad_json")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "q", "q Step 1: ки", "wrong"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "children", "mc_value", "solution_prefix"]), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_field_however_malformed_is_a_crash(name: str, data: st.DataObject) -> None:
    row = {key: data.draw(junk) if data.draw(st.booleans()) else value for key, value in ROWS[name].items()}
    try:
        found = FORMATS[name].parse(row)
    except RowError:
        return
    for one in found:
        assert len(one.values) == len(one.steps) > 0


def test_a_mark_within_a_word_is_no_mark() -> None:
    row = {"input": "руки? Step 1: 3 + 4 ки ки\nStep 2: b ки", "label": "руки? Step 1: 3 + 4 ки -\nStep 2: b +"}
    (found,) = FORMATS["math_shepherd"].parse(row)
    assert (found.problem, found.values) == ("руки?", (0.0, 1.0))
    assert found.steps == ("Step 1: 3 + 4 ки", "Step 2: b")


def test_a_node_that_occurs_twice_counts_once_by_its_mean() -> None:
    entries = [{"solution_prefix": "q\n\na", "mc_value": value} for value in (0.5, 1.0, None)]
    (found,) = FORMATS["omega_flat"].parse({"question": "q", "reasoning_steps": entries})
    assert found.values == (0.75,)


def test_a_format_or_file_that_is_not_there_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="math_shepherd"):
        read_labels("x.jsonl", "math_sheperd")
    with pytest.raises(InputError, match="no file"):
        list(read_labels(str(tmp_path / "x.jsonl"), "trl"))


def _read(path: str, name: str) -> Sequence[LabelledSolution]:
    if not (DATA / path).exists():
        pytest.skip(f"{DATA / path} is not here")
    found = list(read_labels(str(DATA / path), name))
    assert not [one for one in found if isinstance(one, Reject)]
    return [one for one in found if isinstance(one, LabelledSolution)]


@pytest.mark.parametrize(
    ("path", "name", "n_solutions", "n_labels"),
    [
        ("format_samples/samples_math-shepherd.jsonl.gz", "math_shepherd", 7, 25),
        ("processbench_sample/sample80.jsonl.gz", "process_bench", 80, None),
        ("mr_gsm8k_partial/dev.jsonl.gz", "mr_gsm8k", 185, None),
    ],
)
def test_real_files_are_read_whole_and_come_back(
    path: str, name: str, n_solutions: int, n_labels: int | None, tmp_path: Path
) -> None:
    found = _read(path, name)
    assert len(found) == n_solutions
    if n_labels:
        assert sum(len(one.values) for one in found) == n_labels
    copy = tmp_path / "copy.jsonl"
    assert write_labels(copy, found, name) == {"written": n_solutions}
    assert list(read_labels(str(copy), name)) == found


@pytest.mark.parametrize("kind", ["flat", "tree"])
def test_real_trees_are_read_whole_and_come_back(kind: str, tmp_path: Path) -> None:
    found = _read(f"format_samples/samples_math-aps{'-tree' if kind == 'tree' else ''}.jsonl.gz", f"omega_{kind}")
    assert len({one.problem for one in found}) == 3
    assert all(one.values[-1] is not None for one in found)
    write_labels(tmp_path / "copy.jsonl", found, f"omega_{kind}")
    assert list(read_labels(str(tmp_path / "copy.jsonl"), f"omega_{kind}")) == found


def test_real_first_errors_are_those_of_the_file() -> None:
    found = _read("processbench_sample/sample80.jsonl.gz", "process_bench")
    with gzip.open(DATA / "processbench_sample/sample80.jsonl.gz", "rt", encoding="utf-8") as stream:
        raw = [json.loads(text) for text in stream]
    assert [one.first_error for one in found] == [row["label"] for row in raw]
    assert [one.outcome for one in found] == [row["final_answer_correct"] for row in raw]
