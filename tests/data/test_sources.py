"""Property: every source yields the problem a human would read off its row, and names what it leaves out."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DependencyError, InputError
from data.records import Kind, Problem
from data.sources import GENERATED, SOURCES, Reject, RowError, deduplicate, read_problems
from data.sources.base import check_problem, plain_text
from data.sources.word_problems import last_boxed
from data.steps import split_steps

FIXTURES = Path(__file__).parents[1] / "fixtures/sources"
REAL = Path(__file__).parents[2].parent / "shared/data"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="the shared data folder is not here")


def read(name: str, path: Path | str, **rest: Any) -> tuple[list[Problem], list[Reject]]:
    items = list(read_problems(name, path=str(path), **rest))
    return [i for i in items if isinstance(i, Problem)], [i for i in items if isinstance(i, Reject)]


def fixture(name: str, **rest: Any) -> tuple[list[Problem], list[Reject]]:
    return read(name, next(FIXTURES.glob(f"{name}.json*")), **rest)


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def named(rejects: list[Reject]) -> list[tuple[str, str]]:
    return [(reject.where, reject.reason) for reject in rejects]


def run_program(program: str) -> int:
    return subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=300).returncode


# --- what each source reads off its rows -----------------------------------------------------------------------------


def test_gsm8k_answer_is_bare_and_the_worked_text_keeps_its_marks() -> None:
    problems, rejects = fixture("gsm8k")
    assert [problem.answer for problem in problems] == ["1200", "-5"]
    assert problems[0].solution.endswith("3*400=<<3*400=1200>>1200 bricks.\n#### 1,200")
    assert named(rejects) == [("gsm8k.jsonl:3", "no_answer"), ("gsm8k.jsonl:4", "no_answer")]


def test_math_answer_is_the_last_box_of_its_solution_or_its_own() -> None:
    problems, rejects = fixture("math")
    assert [(p.answer, p.difficulty) for p in problems] == [
        (r"\frac{3}{7}", "Level 1"),
        ("8", "Level 2"),
        (r"\{x \mid x < x\}", "Level 3"),
        ("2", "4"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "Level 5"),
    ]
    assert named(rejects) == [("math.jsonl:6", "no_answer")]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{1} then \boxed{\frac{2}{3}}", r"\frac{2}{3}"),
        (r"\boxed 7$.", "7"),
        (r"\boxed7", "7"),
        (r"\fbox{no} \fboxed{9}", "9"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{never closed", ""),
        ("no box", ""),
        (r"\boxed{}", ""),
    ],
)
def test_last_boxed_matches_braces(text: str, inside: str) -> None:
    assert last_boxed(text) == inside


def test_svamp_joins_body_and_question_and_51_point_0_is_51() -> None:
    problems, rejects = fixture("svamp")
    assert [problem.answer for problem in problems] == ["51", "2.5", "4"]
    assert problems[0].prompt == "Tess had 60 plums and ate 9. How many are left?"
    assert problems[1].prompt == "A rope of 5 m is cut in two. How long is each part?"
    assert not rejects


def test_asdiv_answers_lose_their_unit_and_nothing_else() -> None:
    problems, rejects = fixture("asdiv")
    assert [problem.answer for problem in problems] == ["9", "5, 3", "3:4", "2400", "Mrs. Vera (the runner)"]
    assert problems[2].prompt == "Find the ratio of 6 to 8."
    assert not rejects


def test_aqua_options_lose_their_own_letter_only() -> None:
    problems, rejects = fixture("aqua")
    assert problems[0].kind is Kind.CHOICE
    assert problems[0].choices == ("10", "21", "A) both", "4.2", "None of these")
    assert problems[0].answer == "B"
    assert named(rejects) == [("aqua.jsonl:2", "bad_answer")]


def test_commonsenseqa_reads_the_original_and_the_hub_form_and_rejects_hidden_answers() -> None:
    problems, rejects = fixture("commonsenseqa")
    assert [(p.prompt, p.choices, p.answer) for p in problems] == [
        ("What keeps rain off?", ("a spoon", "an umbrella"), "B"),
        ("What do you sit on?", ("a song", "a cloud", "a chair"), "C"),
    ]
    assert named(rejects) == [("commonsenseqa.jsonl:3", "no_answer")]


def test_strategyqa_is_a_choice_of_yes_and_no_and_its_solution_does_not_open_with_the_verdict() -> None:
    problems, rejects = fixture("strategyqa")
    assert [(p.choices, p.answer, p.solution) for p in problems] == [
        (("Yes", "No"), "B", "Whales are larger than teacups."),
        (("Yes", "No"), "A", "Ice is at most 0 degrees. Steam is at least 100 degrees."),
    ]
    assert named(rejects) == [("strategyqa.jsonl:3", "no_answer")]


def test_mbpp_rows_are_split_by_task_id() -> None:
    counts = {split: len(fixture("mbpp", split=split)[0]) for split in ("prompt", "test", "validation", "train")}
    assert counts == {"prompt": 1, "test": 1, "validation": 1, "train": 1}
    assert named(fixture("mbpp", split="train")[1]) == [("mbpp.jsonl:5", "no_answer")]
    assert fixture("mbpp", split="validation")[0][0].split == "test"


@pytest.mark.parametrize("split", ["prompt", "test", "validation", "train"])
def test_mbpp_tests_pass_with_the_reference_and_fail_without(split: str) -> None:
    (problem,), _ = fixture("mbpp", split=split)
    assert problem.kind is Kind.CODE
    assert "\r" not in problem.solution + problem.tests
    assert run_program(f"{problem.solution}\n{problem.tests}") == 0
    assert run_program(problem.tests) != 0


def test_mbpp_prompt_shows_one_test_and_hides_the_others() -> None:
    (problem,), _ = fixture("mbpp", split="prompt")
    assert "assert twice(2) == 4" in problem.prompt
    assert "twice(0)" not in problem.prompt
    assert "twice(0)" in problem.tests


def test_humaneval_tests_call_the_entry_point_and_only_a_name_may_be_one() -> None:
    (problem,), rejects = fixture("humaneval", split="test")
    assert problem.tests.endswith("\n\ncheck(unshift)\n")
    assert run_program(f"{problem.solution}\n{problem.tests}") == 0
    assert run_program(f"{problem.solution.replace('n - 1', 'n - 2')}\n{problem.tests}") != 0
    assert named(rejects) == [("humaneval.jsonl:2", "bad_field")]


def test_source_split_and_licence_are_filled_in_and_do_not_change_the_id() -> None:
    (train, *_), _ = fixture("gsm8k")
    (test, *_), _ = fixture("gsm8k", split="test")
    assert (train.source, train.split, train.licence) == ("gsm8k", "train", "MIT")
    assert test.split == "test"
    assert train.id == test.id == Problem.create(prompt=train.prompt, answer="1200", kind=Kind.MATH).id


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["A", "#### 1", "A)1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["label", "text", "stem"]), inner),
    max_leaves=6,
)
_FIELDS = [
    "question",
    "answer",
    "problem",
    "solution",
    "level",
    "Body",
    "Question",
    "Answer",
    "body",
    "options",
    "correct",
    "choices",
    "answerKey",
    "input",
    "target_scores",
    "target",
    "facts",
    "task_id",
    "text",
    "code",
    "test_list",
    "test_imports",
    "test_setup_code",
    "prompt",
    "test",
    "entry_point",
    "canonical_solution",
    "gold",
    "tests",
    "rationale",
]


@pytest.mark.parametrize("name", SOURCES)
@given(row=st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=8))
def test_any_row_is_a_problem_or_a_row_error(name: str, row: dict[str, Any]) -> None:
    try:
        problem = SOURCES[name].parse(row)
        check_problem(problem, 1000)
    except RowError as error:
        reason, detail = error.reason, error.detail
    else:
        reason, detail = problem.prompt.strip(), problem.answer.strip() or problem.tests.strip()
    assert reason
    assert detail


@pytest.mark.parametrize(
    ("value", "text"), [(51.0, "51"), (-0.0, "0"), (2.5, "2.5"), (1e22, "1" + "0" * 22), (7, "7"), (" 7 ", " 7 ")]
)
def test_a_number_is_written_out_in_its_shortest_form(value: object, text: str) -> None:
    assert plain_text(value) == text


@pytest.mark.parametrize("value", [True, None, [], {}, float("inf"), float("nan"), 10**5000], ids=range(7))
def test_what_is_neither_text_nor_a_finite_number_is_a_row_error(value: object) -> None:
    with pytest.raises(RowError):
        plain_text(value)


# --- bad rows ---------------------------------------------------------------------------------------------------------

GOOD = {"question": "How many?", "answer": "#### 3"}


def test_a_problem_of_one_megabyte_is_rejected_with_its_size_and_its_neighbours_are_read(tmp_path: Path) -> None:
    big = {"question": "x" * 2**20, "answer": "#### 1"}
    problems, (reject,) = read("gsm8k", lines(tmp_path / "f.jsonl", GOOD, big, {**GOOD, "question": "Why?"}))
    assert len(problems) == 2
    assert (reject.where, reject.reason) == ("f.jsonl:2", "too_long")
    assert str(2**20) in reject.detail
    assert len(reject.excerpt) == 200
    assert not read("gsm8k", tmp_path / "f.jsonl", options={"max_chars": 2**20})[1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": " \n", "answer": "#### 3"}, "empty_prompt"),
        ({"answer": "#### 3"}, "missing_field"),
        ({"question": None, "answer": "#### 3"}, "missing_field"),
        ({"question": 7, "answer": "#### 3"}, "bad_field"),
        ({"question": "How many?"}, "missing_field"),
        ({"question": "How many?", "answer": "three"}, "no_answer"),
        ({"question": "half a pair \ud83d", "answer": "#### 3"}, "bad_utf8"),
    ],
)
def test_a_bad_row_is_a_reject_and_not_an_exception(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    problems, (reject,) = read("gsm8k", lines(tmp_path / "f.jsonl", GOOD, row, GOOD))
    assert len(problems) == 2
    assert (reject.where, reject.reason) == ("f.jsonl:2", reason)
    assert reject.detail
    assert "answer" in reject.excerpt or "question" in reject.excerpt


def test_a_glob_reads_every_file_and_places_tell_them_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        lines(tmp_path / folder / "t.jsonl", GOOD, {"question": folder})
    problems, rejects = read("gsm8k", f"{tmp_path}/*/t.jsonl")
    assert len(problems) == 2
    assert [reject.where for reject in rejects] == ["a/t.jsonl:2", "b/t.jsonl:2"]


# --- mistakes about the whole are one readable line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem", "cure"),
    [
        ({"name": "gsm8"}, "no source 'gsm8'", "'gsm8k'"),
        ({"name": "arithmetics"}, "no source", "'arithmetic'"),
        ({"name": "zzz"}, "no source 'zzz'", "gsm8k, math"),
        ({"name": "gsm8k", "path": "absent.jsonl"}, "no file", "path"),
        ({"name": "gsm8k", "options": {"max_char": 5}}, "no option 'max_char'", "'max_chars'"),
        ({"name": "gsm8k", "options": {"max_chars": 0}}, "max_chars", "whole number"),
        ({"name": "gsm8k", "options": {"max_chars": "9"}}, "max_chars", "whole number"),
        ({"name": "gsm8k", "options": {"kind": "math"}}, "no option 'kind'", "Use"),
        ({"name": "gsm8k", "columns": {"prompt": "q"}}, "own columns", "local"),
        ({"name": "humaneval"}, "no split 'train'", "test"),
        ({"name": "local"}, "no place of its own", "path"),
        ({"name": "local", "path": "x/y", "columns": {"promt": "q"}}, "'promt'", "'prompt'"),
        ({"name": "local", "path": "x/y", "options": {"kind": "maths"}}, "'maths'", "math"),
        ({"name": "arithmetic", "path": "f.jsonl"}, "is generated", "Leave out"),
        ({"name": "arithmetic", "split": "dev"}, "no split 'dev'", "train or test"),
    ],
)
def test_a_mistake_is_named_at_once_with_its_cure(arguments: dict[str, Any], problem: str, cure: str) -> None:
    with pytest.raises(InputError) as caught:
        read_problems(**arguments)
    assert problem in caught.value.problem
    assert cure in caught.value.cure
    assert "\n" not in str(caught.value)


def test_a_file_without_a_usable_row_is_an_error_that_counts_the_reasons(tmp_path: Path) -> None:
    file = lines(tmp_path / "f.jsonl", {"a": 1}, {"a": 2}, {"question": " ", "answer": "#### 1"})
    items = read_problems("gsm8k", path=str(file))
    assert [item.reason for item in islice(items, 3) if isinstance(item, Reject)] == [
        "missing_field",
        "missing_field",
        "empty_prompt",
    ]
    with pytest.raises(InputError, match=r"none of its 3 rows can be used \(missing_field 2, empty_prompt 1\)"):
        next(items)


@pytest.mark.parametrize(
    ("row", "cure"), [('{"prompt": "é", "answer": "1"}\n', "UTF-8"), ('{"prompt": "1+1", "answer": null}\n', "columns")]
)
def test_the_cure_of_an_unusable_local_file_is_not_the_source_local(tmp_path: Path, row: str, cure: str) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text(row, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        list(read_problems("local", path=str(file)))
    assert cure in caught.value.cure
    assert "source" not in caught.value.cure


def test_a_file_of_other_splits_only_is_an_error(tmp_path: Path) -> None:
    row = {"task_id": 12, "text": "t", "code": "", "test_list": ["assert f()"]}
    with pytest.raises(InputError, match="no row of split 'train'"):
        list(read_problems("mbpp", path=str(lines(tmp_path / "f.jsonl", row))))


def test_an_empty_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f\.jsonl' is empty"):
        list(read_problems("gsm8k", path=str(lines(tmp_path / "f.jsonl"))))


# --- local files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "answers"),
    [
        ({"prompt": "q"}, ["5", "6"]),
        ({"prompt": "q", "answer": "gold"}, ["5", "6"]),
        ({"prompt": "q", "answer": "nested.truth"}, ["5", "6"]),
        ({"prompt": "chat.0.content", "answer": "nested.truth.0"}, ["5", "6"]),
    ],
)
def test_local_columns_are_names_or_paths(columns: dict[str, str], answers: list[str]) -> None:
    problems, rejects = fixture("local", columns=columns)
    assert [problem.answer for problem in problems] == answers
    assert [reject.where for reject in rejects] == ["local.jsonl:3"]


@pytest.mark.parametrize("prompt", ["prompt", "question", "problem"])
@pytest.mark.parametrize("answer", ["answer", "gold", "final_answer", "ground_truth"])
def test_local_finds_the_usual_columns_without_a_map(tmp_path: Path, prompt: str, answer: str) -> None:
    (problem,), _ = read("local", lines(tmp_path / "f.jsonl", {prompt: "2+3?", answer: 5, "difficulty": 2}))
    assert (problem.prompt, problem.answer, problem.difficulty, problem.source) == ("2+3?", "5", "2", "local")


@pytest.mark.parametrize("answer", ["B", "four", 1])
def test_local_choice_is_answered_by_letter_text_or_place(tmp_path: Path, answer: object) -> None:
    row = {"question": "2+2?", "choices": ["three", "four"], "answer": answer}
    (problem,), _ = read("local", lines(tmp_path / "f.jsonl", row))
    assert (problem.kind, problem.choices, problem.answer) == (Kind.CHOICE, ("three", "four"), "B")


def test_local_rows_with_tests_are_code(tmp_path: Path) -> None:
    (problem,), _ = read("local", lines(tmp_path / "f.jsonl", {"prompt": "Write f.", "tests": "assert f()"}))
    assert (problem.kind, problem.tests, problem.answer) == (Kind.CODE, "assert f()", "")


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ({"prompt": "quest"}, "'quest'"),
        ({"prompt": "q", "answer": "golt"}, "'golt'"),
        ({"prompt": "q", "difficulty": "lvl"}, "'lvl'"),
        (None, "'prompt' or 'question'"),
    ],
)
def test_a_missing_column_is_an_error_that_lists_the_columns(columns: dict[str, str] | None, missing: str) -> None:
    with pytest.raises(InputError) as caught:
        fixture("local", columns=columns)
    assert missing in caught.value.problem
    assert "chat, gold, level, nested, q" in caught.value.problem


# --- duplicates -------------------------------------------------------------------------------------------------------


def math_problem(prompt: str, answer: str, **rest: Any) -> Problem:
    return Problem.create(prompt=prompt, answer=answer, source="s", **rest)


def test_the_first_of_equal_prompts_is_kept_and_a_conflicting_answer_is_told_from_a_duplicate() -> None:
    first = math_problem("How  many\napples?", "3")
    passed = Reject(where="f:1", reason="bad_json", detail="", excerpt="")
    later = [(" How many apples? ", "3"), ("How many apples?", "4"), ("How many pears?", "3")]
    items: list[Problem | Reject] = [first, passed, *(math_problem(prompt, answer) for prompt, answer in later)]
    kept, other, again, conflict, last = deduplicate(iter(items))
    assert (kept, other, last) == (first, passed, items[-1])
    assert isinstance(again, Reject)
    assert isinstance(conflict, Reject)
    assert (again.reason, conflict.reason) == ("duplicate", "conflicting_answer")
    assert first.id in conflict.detail
    assert conflict.where == f"s:{math_problem(*later[1]).id}"


def test_one_stem_with_other_choices_is_another_problem_and_with_other_tests_a_conflict() -> None:
    stem = [math_problem("Which?", "A", kind=Kind.CHOICE, choices=choices) for choices in (("x", "y"), ("x", "z"))]
    assert list(deduplicate(iter(stem))) == stem
    code = [math_problem("Write f.", "", kind=Kind.CODE, tests=tests) for tests in ("assert f(1)", "assert f(2)")]
    assert [item.reason for item in deduplicate(iter(code)) if isinstance(item, Reject)] == ["conflicting_answer"]


def test_deduplication_streams() -> None:
    endless: Iterator[Problem | Reject] = repeat(math_problem("q", "1"))
    assert len(list(islice(deduplicate(endless), 5))) == 5


# --- the hub ----------------------------------------------------------------------------------------------------------


class FakeErrors:
    class DatasetsError(Exception):
        """As in `datasets.exceptions`: derived from nothing else."""


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=answer, exceptions=FakeErrors))


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({"name": "gsm8k"}, ("openai/gsm8k", "main", "train", None)),
        ({"name": "gsm8k", "split": "test[:5]"}, ("openai/gsm8k", "main", "test[:5]", None)),
        ({"name": "gsm8k", "path": "me/copy", "options": {"revision": "abc"}}, ("me/copy", None, "train", "abc")),
        ({"name": "gsm8k", "path": "me/copy", "options": {"config": "c"}}, ("me/copy", "c", "train", None)),
        ({"name": "local", "path": "me/own", "split": "dev"}, ("me/own", None, "dev", None)),
    ],
)
def test_the_hub_is_asked_for_the_source_s_own_place_or_for_the_id_given(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], asked: tuple[str | None, ...]
) -> None:
    calls = []

    def load_dataset(hub_id: str, config: str | None, *, split: str, revision: str | None) -> list[dict[str, str]]:
        calls.append((hub_id, config, split, revision))
        return [GOOD, {"question": "no answer"}]

    fake_hub(monkeypatch, load_dataset)
    problem, reject = read_problems(**arguments)
    assert calls == [asked]
    assert isinstance(problem, Problem)
    assert problem.split == ("train" if asked[2] == "train" else "test")
    assert isinstance(reject, Reject)
    assert reject.where == f"{asked[0]}[{asked[2]}]:2"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no\nroute"),
        FileNotFoundError("absent"),
        ValueError("Unknown split"),
        RuntimeError("scripts are not supported"),
        FakeErrors.DatasetsError("damaged"),
    ],
)
def test_a_hub_that_cannot_answer_is_one_readable_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise error

    fake_hub(monkeypatch, load_dataset)
    with pytest.raises(InputError) as caught:
        list(read_problems("gsm8k"))
    assert "openai/gsm8k" in caught.value.problem
    assert "local file" in caught.value.cure
    assert "\n" not in str(caught.value)


def test_commonsenseqa_is_tested_on_the_hub_s_validation_split_whose_answers_are_public() -> None:
    assert SOURCES["commonsenseqa"].hub_splits["test"] == "validation"


# --- generated sources ------------------------------------------------------------------------------------------------


def test_arithmetic_needs_no_options() -> None:
    for split in ("train", "test"):
        found = [row for row in read_problems("arithmetic", split=split) if isinstance(row, Problem)]
        assert len(found) == 300
        assert {problem.split for problem in found} == {split}


def test_arithmetic_is_read_through_the_registry() -> None:
    problems = list(read_problems("arithmetic", options={"n": 3, "difficulty": [1, 2], "seed": 1}, split="test"))
    assert [problem.split for problem in problems if isinstance(problem, Problem)] == ["test"] * 6


def test_a_missing_reasoning_gym_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(DependencyError, match=r"stepstar\[reasoning-gym\]"):
        list(read_problems("reasoning_gym", options={"task": "count"}))


@pytest.fixture
def fake_gym(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reasoning-gym with three tasks: many problems, few problems, problems without a reference answer."""

    class Items(dict[int, dict[str, Any]]):
        def __init__(self, task: str, seed: int) -> None:
            self.task, self.seed = task, seed

        def __missing__(self, index: int) -> dict[str, Any]:
            number = self.seed + index if self.task == "many" else index % 5
            return {"question": f"What is {number}+1?", "answer": None if self.task == "open" else str(number + 1)}

    gym, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    factory.DATASETS = {"many": 0, "few": 0, "open": 0, "composite": 0}  # type: ignore[attr-defined]
    gym.create_dataset = lambda task, size, seed: Items(task, seed)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", gym)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)


def gym_ids(**options: Any) -> list[str]:
    split = options.pop("split", "train")
    items = read_problems("reasoning_gym", options={"task": "many", **options}, split=split)
    return [item.id for item in items if isinstance(item, Problem)]


@pytest.mark.usefixtures("fake_gym")
def test_reasoning_gym_is_repeatable_distinct_and_never_puts_a_problem_on_both_sides() -> None:
    train = gym_ids(n=200, seed=1)
    assert len(set(train)) == 200
    assert train == gym_ids(n=200, seed=1)
    for seed in range(5):
        assert not set(train) & set(gym_ids(n=50, seed=seed, split="test"))
    # Neighbouring seeds of the package itself share all items but one.
    assert len(set(train) & set(gym_ids(n=200, seed=2))) < 10


@pytest.mark.usefixtures("fake_gym")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "man"}, "Did you mean 'many'"),
        ({"task": "composite"}, "no task"),
        ({}, "no task ''"),
        ({"task": "many", "n": 0}, "'n' is 0"),
        ({"task": "many", "n": True}, "'n' is True"),
        ({"task": "many", "seed": -1}, "'seed' is -1"),
        ({"task": "many", "size": 5}, "unknown option 'size'"),
        ({"task": "few", "n": 6}, "fewer than 6 distinct"),
        ({"task": "open"}, "no problem of 'open' can be used"),
    ],
)
def test_a_wrong_reasoning_gym_option_is_one_readable_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_problems("reasoning_gym", options=options))


# --- imports ----------------------------------------------------------------------------------------------------------


def test_importing_the_sources_loads_no_heavy_library() -> None:
    heavy = ("datasets", "pandas", "sympy", "torch", "pyarrow.parquet", "reasoning_gym")
    program = f"import sys, data, data.sources, data.steps; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert shown.stdout.strip() == "[]"


def test_no_name_is_both_read_and_generated_and_every_source_says_what_it_is() -> None:
    assert not set(SOURCES) & set(GENERATED)
    for name, source in SOURCES.items():
        assert source.description.endswith("."), name
        assert (source.licence and "/" in source.hub_id) or name == "local"


# --- the real files ---------------------------------------------------------------------------------------------------

MATH_WITHOUT_ANSWER = [("train.jsonl.gz:5342", "no_answer"), ("train.jsonl.gz:5344", "no_answer")]
"""Their solutions end in an empty `\\boxed{}`."""


@needs_real_data
@pytest.mark.parametrize(
    ("name", "file", "split", "count", "rejected"),
    [
        ("gsm8k", "gsm8k/train", "train", 7473, []),
        ("gsm8k", "gsm8k/test", "test", 1319, []),
        ("math", "math/train", "train", 7498, MATH_WITHOUT_ANSWER),
        ("math500", "math/math500", "test", 500, []),
        ("svamp", "svamp/svamp", "test", 1000, []),
        ("asdiv", "asdiv/asdiv", "train", 2215, []),
        ("aqua", "aqua/dev", "test", 254, []),
        ("aqua", "aqua/test", "test", 254, []),
        ("commonsenseqa", "commonsenseqa/train", "train", 9741, []),
        ("commonsenseqa", "commonsenseqa/dev", "test", 1221, []),
        ("strategyqa", "strategyqa/strategyqa", "train", 2290, []),
        ("mbpp", "mbpp/mbpp", "prompt", 10, []),
        ("mbpp", "mbpp/mbpp", "test", 500, []),
        ("mbpp", "mbpp/mbpp", "validation", 90, []),
        ("mbpp", "mbpp/mbpp", "train", 374, []),
        ("humaneval", "humaneval/humaneval", "test", 164, []),
    ],
)
def test_every_real_row_is_read(name: str, file: str, split: str, count: int, rejected: list[tuple[str, str]]) -> None:
    problems, rejects = read(name, REAL / f"{file}.jsonl.gz", split=split)
    assert (len(problems), named(rejects)) == (count, rejected)
    if name in ("gsm8k", "svamp"):
        assert all(problem.answer.removeprefix("-").isdecimal() for problem in problems)
    if name == "strategyqa":
        assert Counter(problem.answer for problem in problems) == {"A": 1071, "B": 1219}


@needs_real_data
@pytest.mark.parametrize(
    ("name", "file", "split", "expected"),
    [
        ("gsm8k", "gsm8k/train", "train", {}),
        ("math", "math/train", "train", {"duplicate": 1, "no_answer": 2}),
        ("asdiv", "asdiv/asdiv", "train", {"duplicate": 1}),
        ("strategyqa", "strategyqa/strategyqa", "train", {"duplicate": 1}),
        ("mbpp", "mbpp/mbpp", "test", {"conflicting_answer": 1}),
    ],
)
def test_the_real_files_repeat_what_we_know_they_repeat(
    name: str, file: str, split: str, expected: dict[str, int]
) -> None:
    items = deduplicate(read_problems(name, path=str(REAL / f"{file}.jsonl.gz"), split=split))
    assert Counter(item.reason for item in items if isinstance(item, Reject)) == expected


@needs_real_data
def test_math_s_boxes_hold_the_numbers_of_the_converter_s_answers() -> None:
    problems, _ = read("math", REAL / "math/train.jsonl.gz")
    with gzip.open(REAL / "math/train.jsonl.gz", "rt") as stream:
        given = {row["problem"]: row["answer"] for row in map(json.loads, stream)}
    differing = [p.answer for p in problems if re.findall(r"\d", p.answer) != re.findall(r"\d", given[p.prompt])]
    # `.3` for `0.3` and the like, `48.0`, `10.00`, and a matrix whose field is empty.
    assert len(differing) == 11, differing


@needs_real_data
@pytest.mark.parametrize("file", ["gsm8k/train", "gsm8k/test"])
def test_the_splitter_gives_one_step_a_line_on_gsm8k(file: str) -> None:
    problems, _ = read("gsm8k", REAL / f"{file}.jsonl.gz")
    for problem in problems:
        steps = [step.strip() for step in split_steps(problem.solution)]
        assert steps == [line.strip() for line in problem.solution.split("\n") if line.strip()], problem.solution


@needs_real_data
@pytest.mark.parametrize(("name", "file"), [("humaneval", "humaneval/humaneval"), ("mbpp", "mbpp/mbpp")])
def test_every_reference_program_passes_its_tests(name: str, file: str) -> None:
    # In one process: 164 and 500 interpreters would take minutes. All are public reference solutions.
    problems, _ = read(name, REAL / f"{file}.jsonl.gz", split="test")
    programs = json.dumps([f"{problem.solution}\n{problem.tests}" for problem in problems])
    runner = "import json, sys\nfor program in json.load(sys.stdin):\n    exec(program, {'__name__': 'candidate'})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", runner], input=programs, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-500:]
