"""What counts as an overlap with a benchmark, what does not, and that the index misses and invents nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.decontamination import EQUATIONS, WORDS, Benchmarks, equations_of, texts_of
from data.errors import InputError
from data.ngrams import SHARED, NgramIndex, words_of

DATA = Path(__file__).parents[2].parent / "shared" / "data"

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)
SOLUTION = "She sold 48/2 = <<48/2=24>>24 in May, 48+24 = <<48+24=72>>72 in all, 72*1 = <<72*1=72>>72.\n#### 72"


def benchmark(*texts: str) -> Benchmarks:
    return Benchmarks((f"bench.jsonl:{place}", [text]) for place, text in enumerate(texts, 1))


def kind(found: Benchmarks, *texts: str) -> str:
    (overlap,) = found.check([texts])
    return overlap.kind if overlap else ""


def test_a_whole_problem_is_found_whatever_its_case_and_spacing() -> None:
    found = benchmark(QUESTION, "12+3-4=?")
    assert kind(found, QUESTION.upper().replace(" ", "  ")) == "problem"
    assert kind(found, "12+3-4=?") == "problem"
    assert kind(found, "12+3-5=?") == ""


def test_thirteen_words_in_a_row_are_found_through_punctuation_and_twelve_are_not() -> None:
    found = benchmark(QUESTION)
    words = words_of(QUESTION)
    for start in (0, 5, len(words) - WORDS):
        run = words[start : start + WORDS]
        assert kind(found, f"Now, {'; '.join(run)} — and so on") == "words"
        assert kind(found, f"Now, {' '.join(run[:-1])} zebra {run[-1]}") == ""
    (overlap,) = found.check([("other text", f"xx {QUESTION} yy")])
    assert overlap is not None
    assert overlap.benchmark == "bench.jsonl:1"
    assert overlap.excerpt == " ".join(words[:WORDS])


def test_words_of_two_benchmark_rows_or_of_two_texts_of_a_row_make_no_run() -> None:
    words = words_of(QUESTION)
    found = benchmark(" ".join(words[:7]), " ".join(words[7:]))
    assert kind(found, " ".join(words)[:-4]) == "words"
    assert kind(found, " ".join(words[:13])) == ""
    assert kind(benchmark(QUESTION), " ".join(words[:7]), " ".join(words[7:13])) == ""


def test_three_equations_in_a_row_are_found_in_any_spelling() -> None:
    found = benchmark(SOLUTION)
    assert kind(found, "48 ÷ 2 = 24 then $48 + $24 = $72 and 72 × 1 = 72") == "equations"
    assert kind(found, "We get 48/2=24. So 48+24=72.") == ""
    assert kind(found, "48/2=24\n48+24=72\n72*2=144") == ""


def test_a_long_expression_is_a_sign_by_itself() -> None:
    found = benchmark("What is (3 + 4) * 5 - 6 / 2?", "(3+4)*5-6/2 = 32")
    assert kind(found, "so (3 + 4) × 5 − 6 ÷ 2 = 31") == "equations"
    assert kind(benchmark("3+4 = 7"), "3+4 = 7") == "problem"
    assert kind(benchmark("First 3+4 = 7"), "then 3+4 = 7") == ""


@pytest.mark.parametrize(
    ("text", "equations"),
    [
        ("$1,200 / 4 = $300.", [("1200/4", "300")]),
        ("7 x 8 = 56, 3\\times 2=6", [("7*8", "56"), ("3*2", "6")]),
        ("20% * 50 = 10", [("20%*50", "10")]),
        ("12+3-4=?", [("12+3-4", "?")]),
        ("2 days, 3+4=7", [("3+4", "7")]),
        ("x = 5, 5 = 5", []),
        ("half is <<48/2=24>>24 clips of 9+9=18", [("48/2", "24")]),
    ],
)
def test_equations_are_read_in_one_spelling(text: str, equations: list[tuple[str, str]]) -> None:
    assert equations_of(text) == equations


def test_what_many_rows_of_a_benchmark_share_is_no_sign() -> None:
    instruction = "Think step by step and put the final answer of the problem within a box at the end."
    rows = [f"{instruction} Problem {place}: {QUESTION if place == 3 else place * 7919}" for place in range(SHARED)]
    found = benchmark(*rows)
    assert kind(found, f"{instruction} What is love?") == ""
    assert kind(found, f"{instruction} {QUESTION}") == "words"
    assert kind(benchmark(*rows[: SHARED - 1]), f"{instruction} What is love?") == "words"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=5),
    st.lists(st.lists(st.sampled_from("abcd"), max_size=12), max_size=5),
)
def test_the_index_finds_exactly_the_runs_that_a_search_finds(texts: list[list[str]], rows: list[list[str]]) -> None:
    def runs(tokens: list[str]) -> list[tuple[str, ...]]:
        return [tuple(tokens[at : at + EQUATIONS]) for at in range(len(tokens) - EQUATIONS + 1)]

    index = NgramIndex(enumerate(texts), EQUATIONS)
    known = {run for text in texts for run in runs(text)}
    wanted = {at: next(i for i, run in enumerate(runs(row)) if run in known) for at, row in enumerate(rows)
              if known & set(runs(row))}  # fmt: skip
    found = index.find(rows)
    assert {at: here for at, (_, here) in found.items()} == wanted
    assert all(runs(rows[at])[here] in runs(texts[place]) for at, (place, here) in found.items())


@pytest.mark.parametrize(
    "hostile", ["1+" * 30_000, "(" * 50_000, "1 " * 50_000 + "= 2", "<<" * 50_000, "\ud800 =", "9" * 99_999]
)
def test_hostile_texts_cost_no_more_than_their_length(hostile: str) -> None:
    found = benchmark(QUESTION, SOLUTION)
    assert found.check([[hostile], [f"{hostile} {QUESTION}"]])[0] is None


def test_texts_are_found_however_deep_a_row_holds_them() -> None:
    row = {"a": "one", "n": 3, "messages": [{"role": "user", "content": "two"}], "none": None, "pair": ("three", 4.0)}
    assert texts_of(row) == ["one", "user", "two", "three"]


def test_benchmarks_without_text_and_missing_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(InputError, match="no text"):
        Benchmarks.read([str(tmp_path / "b.jsonl")])
    with pytest.raises(InputError, match="no file"):
        Benchmarks.read([str(tmp_path / "nothing.jsonl")])


def test_gsm8k_test_problems_are_found_and_few_training_problems_are() -> None:
    if not (DATA / "gsm8k").exists():
        pytest.skip(f"{DATA} is not here")
    found = Benchmarks.read([str(DATA / "gsm8k/test.jsonl.gz")])
    rows = {
        split: [
            json.loads(line) for line in gzip.decompress((DATA / f"gsm8k/{split}.jsonl.gz").read_bytes()).splitlines()
        ]
        for split in ("train", "test")
    }
    within = [[f"Please solve: {row['question']} Thank you."] for row in rows["test"][:500]]
    missed = [texts[0] for texts, overlap in zip(within, found.check(within), strict=True) if overlap is None]
    # Those are shorter than thirteen words.
    assert all(len(words_of(text)) < WORDS + 4 for text in missed)
    overlaps = found.check([[row["question"], row["answer"]] for row in rows["train"][:1000]])
    assert sum(overlap is not None for overlap in overlaps) <= 5
