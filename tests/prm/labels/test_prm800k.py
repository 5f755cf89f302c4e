"""PRM800K lines to labelled solutions: branches, not chains; and a ledger in which every completion is found again."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources.base import Reject, RowError
from prm.labels import LabelledSolution, Prm800kConverter, Prm800kOptions, read_prm800k

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "prm800k_subset"


def completion(text: str, rating: int | None, flagged: bool | None = None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(*offered: tuple[str, int | None], chosen: int | None = 0, human: str = "") -> dict[str, Any]:
    text = {"text": human, "rating": None, "source": "human", "flagged": False} if human else None
    offers = [completion(*one) for one in offered]
    return {"completions": offers, "human_completion": text, "chosen_completion": chosen}


def line(*steps: dict[str, Any], finish: str = "solution", **changes: Any) -> dict[str, Any]:
    return {
        "labeler": "someone",
        "timestamp": "2022-07-17",
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": "What is\n1 + 1?", "ground_truth_answer": "2"},
        "label": {"steps": list(steps), "total_time": 1, "finish_reason": finish},
    } | changes


def convert(row: dict[str, Any], **options: Any) -> list[LabelledSolution]:
    return Prm800kConverter(Prm800kOptions(**options)).convert(row)


def shape(solutions: list[LabelledSolution]) -> list[tuple[str, tuple[float | None, ...]]]:
    return [(" ".join(one.steps), one.values) for one in solutions]


TWO = line(step(("a", 1)), step(("b", -1), ("c", 1), ("d", 0), chosen=1), step(("e", 1)))


def test_alternatives_are_branches_and_chosen_steps_are_labelled_once() -> None:
    assert shape(convert(TWO)) == [("a c e", (1, 1, 1)), ("a b", (None, 0)), ("a d", (None, 1))]
    assert [one.outcome for one in convert(TWO)] == [True, None, None]


def test_chosen_steps_can_be_labelled_in_every_branch_for_formats_without_a_mask() -> None:
    found = shape(convert(TWO, repeat_prefix_labels=True))
    assert found == [("a c e", (1, 1, 1)), ("a b", (1, 0)), ("a d", (1, 1))]


def test_a_human_text_is_right_and_is_what_was_continued() -> None:
    row = line(step(("a", 1)), step(("b", -1), ("c", -1), chosen=None, human="h"), step(("e", 1)))
    assert shape(convert(row)) == [("a h e", (1, 1, 1)), ("a b", (None, 0)), ("a c", (None, 0))]


def test_a_line_that_ends_at_an_error_leaves_what_follows_unlabelled() -> None:
    row = line(step(("a", 1)), step(("b", -1), ("c", 1), chosen=None), finish="found_error")
    row["question"]["pre_generated_steps"] = ["a", "b", "x", "y"]
    main, branch = convert(row)
    assert (main.steps, main.values, main.tail) == (("a", "b"), (1, 0), ("x", "y"))
    assert (branch.steps, branch.values, branch.tail) == (("a", "c"), (None, 1), ())
    assert main.outcome is None


def test_what_was_given_up_keeps_its_labelled_steps() -> None:
    gone = {"completions": None, "human_completion": None, "chosen_completion": None}
    assert shape(convert(line(step(("a", 1)), gone, finish="give_up"))) == [("a", (1,))]
    assert convert(line(step(("a", 1)), gone, finish="give_up"))[0].outcome is None


def test_an_unrated_step_is_unlabelled_and_ends_the_chain() -> None:
    row = line(step(("a", 1)), step(("b", None), ("c", 1)), step(("d", 1)))
    converter = Prm800kConverter()
    assert shape(converter.convert(row)) == [("a c", (1, 1))]
    assert converter.ledger.completions == {"labelled": 2, "unrated": 1, "broken_chain": 1}


def test_a_flagged_step_has_no_label_but_is_what_was_continued() -> None:
    flagged = {**step(("b", 1)), "completions": [completion("b", 1, True), completion("x", -1, True)]}
    converter = Prm800kConverter()
    assert shape(converter.convert(line(step(("a", 1)), flagged, step(("c", 1))))) == [("a b c", (1, None, 1))]
    assert converter.ledger.completions == {"labelled": 2, "flagged": 2}


@pytest.mark.parametrize(
    ("neutral", "value", "rating", "fate"),
    [
        ("good", 1.0, 0, "labelled"),
        ("bad", 0.0, 0, "labelled"),
        ("soft", 0.3, 0, "labelled"),
        ("class", None, 0, "labelled"),
        ("mask", None, None, "neutral_masked"),
    ],
)
def test_neutral_is_what_the_option_says(neutral: str, value: float | None, rating: int | None, fate: str) -> None:
    converter = Prm800kConverter(Prm800kOptions(neutral=neutral, neutral_value=0.3))  # type: ignore[arg-type]
    (found,) = converter.convert(line(step(("a", 0)), step(("b", 1))))
    assert (found.values, found.ratings) == ((value, 1.0), (rating, 1))
    assert converter.ledger.completions[fate] == (2 if fate == "labelled" else 1)


FORCED = line(step(("a", 1)), step(("b", -1)), step(("c", 1), ("d", -1)), step(("e", 0)))


@pytest.mark.parametrize(
    ("after_error", "expected"),
    [
        ("mask", [("a b", (1, 0))]),
        ("negative", [("a b c e", (1, 0, 0, 0)), ("a b d", (None, None, 0))]),
        ("keep", [("a b c e", (1, 0, 1, 1)), ("a b d", (None, None, 0))]),
    ],
)
def test_steps_after_a_wrong_one_are_what_the_option_says(after_error: str, expected: list[Any]) -> None:
    found = convert(FORCED, after_error=after_error)
    assert shape(found) == expected
    assert found[0].tail == (("c", "e") if after_error == "mask" else ())
    assert found[0].outcome is None


@pytest.mark.parametrize(
    ("changes", "reason", "option"),
    [
        ({"is_quality_control_question": True}, "quality_control", "keep_quality_control"),
        ({"is_initial_screening_question": True, "generation": -1}, "screening", "keep_screening"),
        ({"label": {"steps": [step(("a", 1))], "finish_reason": "bad_problem"}}, "bad_problem", ""),
        ({"question": {"problem": "What  is 1 + 1? "}}, "test_problem", ""),
    ],
)
def test_lines_that_are_left_out_are_counted(changes: dict[str, Any], reason: str, option: str) -> None:
    row = line(step(("a", 1), ("b", 1)), **changes)
    row["label"] = {"steps": [step(("a", 1), ("b", 1))]} | {"finish_reason": row["label"]["finish_reason"]}
    problems = ["What is 1 + 1?"] if reason == "test_problem" else []
    converter = Prm800kConverter(test_problems=problems)
    assert converter.convert(row) == []
    assert converter.ledger.lines == {reason: 1}
    assert converter.ledger.completions == {"dropped_line": 2}
    if option:
        assert len(convert(row, **{option: True})) == 2


ratings = st.sampled_from([1, 1, 1, 0, -1, None])
offers = st.lists(st.tuples(st.sampled_from(["a", "b", "c", " ", "\ud800"]), ratings, st.booleans()), max_size=4)


@st.composite
def raw_steps(draw: st.DrawFn) -> dict[str, Any]:
    offered = [completion(*one) for one in draw(offers)]
    chosen = draw(st.none() | st.integers(0, len(offered) - 1)) if offered else None
    human = draw(st.none() | st.just(completion("h", None)))
    empty = draw(st.booleans()) and not offered
    return {"completions": None if empty else offered, "human_completion": human, "chosen_completion": chosen}


lines = st.builds(
    lambda steps, finish, control: line(*steps, finish=finish, is_quality_control_question=control),
    st.lists(raw_steps(), max_size=5),
    st.sampled_from(["solution", "found_error", "give_up", "bad_problem"]),
    st.sampled_from([False, False, False, True]),
)


def n_completions(row: dict[str, Any]) -> int:
    steps = row["label"]["steps"]
    return sum(len(one["completions"] or []) + (one["human_completion"] is not None) for one in steps)


@given(
    rows=st.lists(lines, max_size=4),
    neutral=st.sampled_from(["good", "bad", "mask", "soft", "class"]),
    after_error=st.sampled_from(["mask", "negative", "keep"]),
)
@settings(max_examples=120, deadline=None)
def test_the_ledger_adds_up(rows: list[dict[str, Any]], neutral: Any, after_error: Any) -> None:
    converter = Prm800kConverter(Prm800kOptions(neutral=neutral, after_error=after_error))
    found = [one for row in rows for one in converter.convert(row)]
    ledger = converter.ledger
    assert sum(ledger.lines.values()) == len(rows)
    assert sum(ledger.completions.values()) == sum(map(n_completions, rows))
    labels = sum(
        value is not None or rating is not None
        for one in found
        for value, rating in zip(one.values, one.ratings, strict=True)
    )
    assert labels == ledger.completions["labelled"]
    assert ledger.solutions == len(found)
    # No false prefix: each step was offered where it stands, and all but the last were continued.
    for one in found:
        assert any(_is_path(one.steps, row["label"]["steps"]) for row in rows)


def _is_path(steps: tuple[str, ...], raw: list[dict[str, Any]]) -> bool:
    *before, last = steps
    if len(steps) > len(raw):
        return False
    for text, one in zip(before, raw, strict=False):
        chosen = one["chosen_completion"]
        continued = one["completions"][chosen] if chosen is not None else one["human_completion"]
        if continued is None or continued["text"] != text:
            return False
    offered = [*(raw[len(before)]["completions"] or []), raw[len(before)]["human_completion"]]
    return any(one is not None and one["text"] == last for one in offered)


junk = st.sampled_from([None, "", "x", 3, -7, 1.5, float("nan"), True, [], {}, [[]], [None], {"text": 1}])


@given(path=st.lists(st.integers(0, 9), min_size=1, max_size=6), value=junk, drop=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_damaged_line_is_named_and_never_a_crash(path: list[int], value: Any, drop: bool) -> None:
    row = copy.deepcopy(TWO)
    place: Any = row
    for turn in path:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = list(keys)[turn % len(keys)]
        parent, place = place, place[key]
        if not isinstance(place, dict | list) or not place:
            break
    if drop and isinstance(parent, dict):
        del parent[key]
    else:
        parent[key] = value
    converter = Prm800kConverter()
    reason = "none"
    try:
        converter.convert(row)
    except RowError as error:
        reason = error.reason
    assert reason in ("none", "missing_field", "bad_field", "bad_label", "empty_problem")
    (counted,) = converter.ledger.lines.elements()
    assert counted == reason or (reason == "none" and counted in ("kept", "quality_control", "screening"))


def test_a_file_is_read_to_its_truncated_end(tmp_path: Path) -> None:
    file = tmp_path / "raw.jsonl"
    whole = json.dumps(TWO)
    nulls = json.dumps(line(step(("a", 1)), label=None))
    file.write_text(f"{whole}\n{nulls}\n[]\n{whole[:200]}")
    converter = Prm800kConverter()
    found = list(read_prm800k(str(file), converter))
    assert [one.where for one in found if isinstance(one, Reject)] == ["raw.jsonl:2", "raw.jsonl:3", "raw.jsonl:4"]
    assert len(found) == 6
    assert converter.ledger.lines == {"kept": 1, "missing_field": 1, "bad_json": 2}


# What the nine real lines hold, by hand: for each line the ratings of its solutions, and the size of its tail.
PENCILS = [
    (1, 1, 1, 1, 1, 1),
    *[(None, -1)] * 5,
    (None,) * 5 + (0,),
    *[(None,) * 5 + (1,)] * 3,
]
SENATE = [(1, 0, 1, 1, 1, 1, -1), *[(None,) * 6 + (1,)] * 3]
EXPECTED = {
    "raw_examples": [(PENCILS, 0), (SENATE, 6), (SENATE, 6)],
    "raw_samples": [
        (PENCILS, 0),
        (SENATE, 6),
        ([(1,) * 5, (None,) * 4 + (0,), *[(None,) * 4 + (1,)] * 5], 0),
        ([(1,) * 7, *[(None,) * 5 + (rating,) for rating in (-1, -1, 1, 1, -1, 1)]], 0),
        ([(1,) * 8, *[(None,) * 7 + (-1,)] * 6], 0),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_real_lines_convert_as_a_person_would(name: str) -> None:
    file = DATA / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    converter = Prm800kConverter()
    found = [one for one in read_prm800k(str(file), converter) if isinstance(one, LabelledSolution)]
    expected = [ratings for solutions, _ in EXPECTED[name] for ratings in solutions]
    assert [one.ratings for one in found] == expected
    assert [len(one.tail) for one in found if one.ratings[0] is not None] == [tail for _, tail in EXPECTED[name]]
    dropped = {"screening": 1} if name == "raw_samples" else {}
    assert converter.ledger.lines == Counter(kept=len(EXPECTED[name])) + Counter(dropped)
    raw = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    assert sum(converter.ledger.completions.values()) == sum(map(n_completions, raw))
    for one in found:
        assert any(_is_path(one.steps, row["label"]["steps"]) for row in raw)


def test_the_real_human_step_is_on_the_chain() -> None:
    file = DATA / "raw_samples.jsonl"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    pencils, *_ = read_prm800k(str(file), Prm800kConverter())
    assert isinstance(pencils, LabelledSolution)
    assert pencils.steps[1] == "We have $3p+e=1.24$ and $5p+e=1.82$."
    assert pencils.steps[-1].endswith("# Answer\n\n29")
    assert (pencils.outcome, pencils.gold) == (True, "29")
