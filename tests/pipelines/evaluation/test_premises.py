"""Twins with a premise turned round: the text says the opposite, the gold answer follows, and doubt means no twin."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from data.records import Kind, Problem
from data.sources import Reject, read_problems
from pipelines.evaluation.premises import premise_twin

DATA = Path(__file__).parents[3].parent / "shared" / "data"


def word_problem(prompt: str, equation: str) -> Problem:
    left, _, answer = equation.partition("=")
    return Problem.create(prompt=prompt, answer=answer, kind=Kind.MATH, solution=left, source="svamp")


@pytest.mark.parametrize(
    ("prompt", "equation", "turned", "answer"),
    [
        ("Ann did 44 sums. Ann did 9 more sums than Ben. How many sums did Ben do?", "44-9=35",
         "Ann did 44 sums. Ann did 9 fewer sums than Ben. How many sums did Ben do?", "53"),
        ("Ann did six fewer sums than Ben. Ben did 14. How many sums did Ann do?", "14-6=8",
         "Ann did six more sums than Ben. Ben did 14. How many sums did Ann do?", "20"),
        ("Ann saved $5 more than Ben. Ben saved $7. How much did Ann save?", "7+5=12",
         "Ann saved $5 less than Ben. Ben saved $7. How much did Ann save?", "2"),
        ("Ann had 26 cakes. She ate 9 cakes. How many cakes does she have left?", "26-9=17",
         "Ann had 26 cakes. She bought 9 cakes. How many cakes does she have in the end?", "35"),
        ("Ann had 26 cards. She bought 9 more cards. How many cards does she have now?", "26+9=35",
         "Ann had 26 cards. She sold 9 cards. How many cards does she have now?", "17"),
        ("Ann found 9 cards. Now she has 26 cards. How many cards did she have at first?", "26-9=17",
         "Ann lost 9 cards. Now she has 26 cards. How many cards did she have at first?", "35"),
        ("Ann had 26 cards. She gave 9 cards to her sister. How many cards does she have now?", "26-9=17",
         "Ann had 26 cards. She got 9 cards from her sister. How many cards does she have now?", "35"),
    ],
)  # fmt: skip
def test_a_change_turned_round_changes_its_sign_whatever_is_asked(
    prompt: str, equation: str, turned: str, answer: str
) -> None:
    found = premise_twin(word_problem(prompt, equation), 0)
    assert found is not None
    assert (found.prompt, found.answer, found.source) == (turned, answer, "svamp")


@pytest.mark.parametrize(
    ("prompt", "equation"),
    [
        # What is asked for is the change, or a comparison with it.
        ("Ann found 9 cards and 4 coins. How many more cards than coins did Ann find?", "9-4=5"),
        ("Ann had 26 cards. She lost 9 cards. How many did she lose and keep in all?", "26+9=35"),
        # The text says what came of it.
        ("Ann lost 9 cards. She has 26 cards left. How many cards did she have at first?", "26+9=35"),
        ("Ann bought 25 cakes. She ate a total of 43. How many had she eaten at the start?", "43-25=18"),
        # The verb is bound to something else, or the number is a part.
        ("Ann had 26 cards. She lost 9 of them. How many cards does she have now?", "26-9=17"),
        ("Ann had 26 cards. She bought 9 from Ben. How many cards does she have now?", "26+9=35"),
        ("Ann had 26 cards. She gave 9 of her cards to Ben. How many cards does she have now?", "26-9=17"),
        # Two comparisons, a number stated twice, more than one operation, an answer below zero.
        ("Ann has 9 more cards than Ben, 4 fewer than Cid. Ben has 5. How many cards has Ann?", "5+9=14"),
        ("Ann did 9 sums, 9 more than Ben. How many did Ben do?", "9-9=0"),
        ("Ann has 9 more cards than Ben. Ben has 5 packs of 3. How many cards has Ann?", "5*3+9=24"),
        ("Ann has 9 more cards than Ben. Ben has 5. How many cards does Ann have?", "5+9=14"),
        ("Ann has 22 boys for 15 girls. How many more is that than nothing?", "22-15=22:15"),
    ],
)
def test_where_anything_is_left_to_doubt_there_is_no_twin(prompt: str, equation: str) -> None:
    assert premise_twin(word_problem(prompt, equation), 0) is None


def test_a_bare_expression_gets_one_other_sign_and_its_own_gold() -> None:
    problem = Problem.create(prompt="12+3-4=?", answer="11", kind=Kind.MATH)
    found = {(other.prompt, other.answer) for seed in range(20) if (other := premise_twin(problem, seed))}
    assert found == {("12-3-4=?", "5"), ("12+3+4=?", "19")}
    assert premise_twin(problem, 3) == premise_twin(problem, 3)
    # 3-5 would fall below zero, and a product has no sign to turn.
    assert premise_twin(Problem.create(prompt="3+5=?", answer="8", kind=Kind.MATH), 0) is None
    assert premise_twin(Problem.create(prompt="3*5=?", answer="15", kind=Kind.MATH), 0) is None


@pytest.mark.parametrize(("source", "least"), [("svamp", 25), ("asdiv", 25)])
def test_real_problems_keep_their_numbers_and_turn_one_sign(source: str, least: int) -> None:
    file = DATA / source / f"{source}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    problems = [row for row in read_problems(source, path=str(file), split="test") if not isinstance(row, Reject)]
    twins = [(row, found) for row in problems if (found := premise_twin(row, 0))]
    assert len(twins) >= least
    for problem, found in twins:
        old, new = (re.findall(r"\d[\d,.]*\d|\d", row.prompt) for row in (problem, found))
        assert old == new
        assert found.prompt != problem.prompt
        numbers = re.findall(r"\d+(?:\.\d+)?", problem.solution.partition("=")[0])
        one, other = map(Fraction, numbers)
        assert {Fraction(problem.answer), Fraction(found.answer)} == {one + other, one - other} or {
            Fraction(problem.answer),
            Fraction(found.answer),
        } == {one + other, other - one}
