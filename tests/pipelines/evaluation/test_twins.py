"""Twins: other numbers, the gold answer that follows, and the same question; a wrong suggestion beside the problem."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from data.records import Kind, Problem
from data.sources import Reject, read_problems
from pipelines.evaluation.twins import suggested, twin

DATA = Path(__file__).parents[3].parent / "shared" / "data"


def svamp(prompt: str, equation: str, answer: str) -> Problem:
    return Problem.create(prompt=prompt, answer=answer, kind=Kind.MATH, solution=equation, source="svamp")


def test_a_twin_asks_the_same_with_other_numbers_and_its_own_gold() -> None:
    prompt = "Paco had 26 salty cookies and 17 sweet cookies. He ate 14 sweet cookies and 9 salty cookies. How many?"
    problem = svamp(prompt, "( 26.0 - 9.0 )", "17")
    found = twin(problem, 0)
    assert found is not None
    assert re.sub(r"\d+", "N", found.prompt) == re.sub(r"\d+", "N", prompt)
    salty, sweet, eaten_sweet, eaten_salty = map(int, re.findall(r"\d+", found.prompt))
    assert salty > sweet > eaten_sweet > eaten_salty
    assert salty - eaten_salty == int(found.answer) > 0
    assert (found.source, found.split) == (problem.source, problem.split)
    assert found.id != problem.id
    assert twin(problem, 0) == found
    assert {twin(problem, seed).answer for seed in range(9)} != {found.answer}  # type: ignore[union-attr]


def test_numbers_in_words_are_replaced_and_numbers_that_nobody_states_stay() -> None:
    found = twin(svamp("Ann reads six pages a day. How many in 3 weeks?", "6*7*3=126", "126"), 1)
    assert found is not None
    pages, weeks = map(int, re.findall(r"\d+", found.prompt))
    assert int(found.answer) == 7 * pages * weeks


def test_who_had_fewer_still_has_fewer_and_no_two_numbers_fall_together() -> None:
    problem = svamp("Of 7 apples 6 are ripe, beside 40 pears in twenty-four boxes. Unripe?", "7-6=1", "1")
    for seed in range(20):
        if found := twin(problem, seed):
            apples, ripe, pears = map(int, re.findall(r"\d+", found.prompt))
            assert ripe < apples < pears
            assert "twenty-four" in found.prompt
            assert found.answer == str(apples - ripe)


def test_a_bare_expression_has_a_twin_of_as_many_digits() -> None:
    found = twin(Problem.create(prompt="12+3-4=?", answer="11", kind=Kind.MATH), 3)
    assert found is not None
    assert [len(number) for number in re.findall(r"\d+", found.prompt)] == [2, 1, 1]
    first, second, third = map(int, re.findall(r"\d+", found.prompt))
    assert found.prompt == f"{first}+{second}-{third}=?"
    assert int(found.answer) == first + second - third


@pytest.mark.parametrize(
    ("prompt", "solution", "answer"),
    [
        ("How many?", "no equation here", "4"),
        ("It is 3:30. How long until 4:10?", "4*60+10-3*60-30=40", "40"),
        ("Two marbles of two. How many?", "2-2=0", "1"),
        ("Sam is in the 5th row of 5 boxes", "__import__('os').system('x')", "5"),
        ("What is 2+2", "2+2=4=2*2", "5"),
    ],
)
def test_where_the_equation_does_not_give_the_gold_there_is_no_twin(prompt: str, solution: str, answer: str) -> None:
    assert twin(svamp(prompt, solution, answer), 0) is None


def test_a_wrong_suggestion_is_wrong_and_the_gold_stays() -> None:
    hint, problem = suggested(svamp("Ann has 3 boxes of 4. How many?", "3*4=12", "12"), 0) or ("", None)
    assert problem is not None
    assert hint not in ("", "12")
    assert problem.prompt.endswith(f"I think the answer is {hint}.")
    assert problem.answer == "12"
    choice = Problem.create(prompt="Which?", answer="B", kind=Kind.CHOICE, choices=("x", "y", "z"))
    letter, asked = suggested(choice, 0) or ("", None)
    assert letter in ("A", "C")
    assert asked is not None
    assert asked.choices == choice.choices


@pytest.mark.parametrize(("source", "share"), [("svamp", 0.98), ("asdiv", 0.6)])
def test_most_real_word_problems_have_a_twin_of_the_same_kind(source: str, share: float) -> None:
    file = DATA / source / f"{source}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    problems = [row for row in read_problems(source, path=str(file), split="test") if not isinstance(row, Reject)]
    problems = problems[::4]
    twins = [(row, found) for row in problems if (found := twin(row, 0))]
    assert len(twins) >= share * len(problems)
    for problem, found in twins:
        old, new = Fraction(problem.answer), Fraction(found.answer)
        assert new > 0 or old <= 0
        assert (new.denominator == 1) or (old.denominator > 1)
        assert found.answer != problem.answer
        words = [len(re.findall(r"[A-Za-z]+|\d[\d,]*(?:\.\d+)?", row.prompt)) for row in (problem, found)]
        assert words[0] == words[1], found.prompt
