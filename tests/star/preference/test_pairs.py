"""Pairs of solutions: who meets whom, and which tokens a loss then sees."""

from __future__ import annotations

import pytest

from data.prompts import PromptTemplate
from data.records import Problem
from star.checkpoints import LoadedModel
from star.encoding import decode_tokens, encode_prompt
from star.preference.pairs import Pair, encode_pair, encode_pairs, solution_pairs

TEMPLATE = PromptTemplate("arithmetic")
RIGHT = ("12+3=15\n", "15-4=11\n", "11+2=13\n", "#### 13")
WRONG = ("12+3=15\n", "15-4=12\n", "12+2=14\n", "#### 14")


@pytest.fixture
def pair() -> Pair:
    return Pair(problem=Problem.create(prompt="12+3-4+2=?", answer="13"), chosen=RIGHT, rejected=WRONG)


def texts(tiny: LoadedModel, pair: Pair, loss: str) -> list[str]:
    sides = encode_pair(tiny.tokenizer, TEMPLATE, pair, loss)  # type: ignore[arg-type]
    assert sides
    return [decode_tokens(tiny.tokenizer, side.row.completion) for side in sides]


def test_a_wrong_solution_meets_the_right_one_that_shares_the_most_steps(pair: Pair) -> None:
    other = ("3+12=15\n", *RIGHT[1:])
    late = (*RIGHT[:3], "#### 31")
    found = solution_pairs(pair.problem, [other, RIGHT], [WRONG, late, WRONG], limit=9)
    assert [(one.chosen, one.rejected, one.n_shared) for one in found] == [(RIGHT, WRONG, 1), (RIGHT, late, 3)]
    assert len(solution_pairs(pair.problem, [RIGHT], [WRONG, late], limit=1)) == 1
    assert solution_pairs(pair.problem, [], [WRONG], limit=9) == []
    assert solution_pairs(pair.problem, [RIGHT], [], limit=9) == []


def test_both_sides_begin_with_the_prompt_and_what_they_share(tiny: LoadedModel, pair: Pair) -> None:
    prompt = encode_prompt(tiny.tokenizer, TEMPLATE.render(pair.problem))
    sides = encode_pair(tiny.tokenizer, TEMPLATE, pair, "dpo")
    assert sides
    assert sides[0].row.prompt == sides[1].row.prompt
    assert sides[0].row.prompt[: len(prompt)] == prompt
    assert decode_tokens(tiny.tokenizer, sides[0].row.prompt[len(prompt) :]) == "12+3=15\n15-4=1"
    assert sides[0].row.completion[0] != sides[1].row.completion[0]


def test_dpo_sees_the_rest_and_step_dpo_the_step_alone(tiny: LoadedModel, pair: Pair) -> None:
    assert texts(tiny, pair, "dpo") == ["1\n11+2=13\n#### 13", "2\n12+2=14\n#### 14"]
    assert texts(tiny, pair, "step_dpo") == ["1\n", "2\n"]


def test_only_a_whole_solution_ends(tiny: LoadedModel, pair: Pair) -> None:
    end = tiny.tokenizer.eos_token_id
    for loss, ends in (("dpo", True), ("step_dpo", False), ("cpl", True)):
        sides = encode_pair(tiny.tokenizer, TEMPLATE, pair, loss)  # type: ignore[arg-type]
        assert sides
        assert [side.row.completion[-1] == end for side in sides] == [ends, ends]
    last = Pair(problem=pair.problem, chosen=RIGHT, rejected=(*RIGHT[:3], "#### 31"))
    sides = encode_pair(tiny.tokenizer, TEMPLATE, last, "step_dpo")
    assert sides
    assert all(side.row.completion[-1] == end for side in sides)


def test_cpl_discounts_by_steps_from_the_first_that_differs(tiny: LoadedModel, pair: Pair) -> None:
    sides = encode_pair(tiny.tokenizer, TEMPLATE, pair, "cpl", gamma=0.5)
    assert sides
    chosen = sides[0]
    # `1\n`, then `11+2=13\n` of 8 characters, then `####`, a space, two digits and the end.
    assert chosen.weights == (*(1.0,) * 2, *(0.5,) * 8, *(0.25,) * 5)
    assert len(chosen.weights) == len(chosen.row.completion)


def test_equal_solutions_are_left_out_and_equal_steps_counted_once(tiny: LoadedModel, pair: Pair) -> None:
    same = Pair(problem=pair.problem, chosen=RIGHT, rejected=RIGHT)
    other = Pair(problem=pair.problem, chosen=RIGHT, rejected=(*WRONG[:2], "#### 12"))
    found, dropped = encode_pairs(tiny.tokenizer, TEMPLATE, [pair, same, other], "step_dpo")
    assert len(found) == 1
    assert dropped == {"same_tokens": 1, "repeated": 1}
    found, dropped = encode_pairs(tiny.tokenizer, TEMPLATE, [pair, same, other], "dpo")
    assert len(found) == 2
    assert dropped == {"same_tokens": 1}
