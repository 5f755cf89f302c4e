"""Near-misses: one known slip, everything else as it was or consistent with it, and nothing that does not hold up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from data.records import Kind, Origin, Problem, Provenance, Status
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from star.corruption import Corruption, CorruptionConfig, Mode, SlipKind, corruptions
from star.equations import equation_list, equations_of, without_marks
from tests.conftest import make_rationale
from verifiers import StepStatus, check_answer, check_steps

PENS = Problem.create(
    prompt="Ana buys 8 boxes of 14 pens. She gives 33 pens to her class and sells the rest for $3 each. How much money "
    "does she get?",
    answer="237",
)
MARKED = split_steps(
    "Ana has 8*14 = <<8*14=112>>112 pens.\nAfter giving 33 away she has 112 - 33 = <<112-33=79>>79 pens.\n"
    "She gets 79 * $3 = $<<79*3=237>>237.\n#### 237"
)
PLAIN = split_steps(
    "Ana has 8 x 14 = 112 pens.\nOf those 112 pens, 112 - 33 = 79 are left.\nThe 79 pens bring 79 * 3 = 237 dollars.\n"
    "The answer is 237"
)


def made(
    problem: Problem, steps: tuple[str, ...], *, seed: int = 0, counts: Counter[str] | None = None, **config: object
) -> list[Corruption]:
    tally: Counter[str] = Counter() if counts is None else counts
    return list(corruptions(problem, steps, CorruptionConfig.model_validate(config), seed=seed, counts=tally))


def flagged(problem: Problem, steps: tuple[str, ...]) -> list[int]:
    verdicts = check_steps(problem.prompt, steps)
    return [place for place, verdict in enumerate(verdicts) if verdict.status is StepStatus.INCORRECT]


def chains() -> list[tuple[Problem, tuple[str, ...]]]:
    problems = read_arithmetic({"difficulty": [2, 4, 7], "n": 15, "seed": 5})
    return [(problem, split_steps(problem.solution)) for problem in problems]


ALL = [(PENS, MARKED), (PENS, PLAIN), *chains()]


def test_an_isolated_slip_fails_the_checker_at_the_edited_step_and_nowhere_else() -> None:
    for problem, steps in ALL:
        for row in made(problem, steps, modes=["isolated"]):
            assert flagged(problem, row.steps) == [row.first_error]
            assert row.is_caught
            changed = [place for place, (one, two) in enumerate(zip(steps, row.steps, strict=True)) if one != two]
            assert changed == [row.first_error]


def test_a_propagated_slip_ends_wrong_and_leaves_no_equation_after_it_that_fails() -> None:
    found = Counter[SlipKind]()
    for problem, steps in ALL:
        for row in made(problem, steps, modes=["propagated"]):
            found[row.kind] += 1
            assert row.steps[: row.first_error] == steps[: row.first_error]
            assert set(flagged(problem, row.steps)) <= {row.first_error}
            assert check_answer(problem.answer, "".join(row.steps), kind="text").status is Status.INCORRECT
            assert not row.is_answer_right
            if row.kind is SlipKind.RESULT:
                assert row.is_caught
    assert set(found) == set(SlipKind)


def test_slips_that_cancel_end_right_although_two_steps_are_wrong() -> None:
    for problem, steps in ALL:
        for row in made(problem, steps, modes=["cancelling"]):
            assert row.second_error is not None
            assert row.first_error < row.second_error
            assert row.is_answer_right
            assert check_answer(problem.answer, "".join(row.steps), kind="text").status is Status.CORRECT
            assert equation_list(row.steps) != equation_list(steps)
            assert row.steps[row.second_error + 1 :] == steps[row.second_error + 1 :]


def test_every_mode_and_kind_is_made_of_a_marked_solution() -> None:
    found = {(row.mode, row.kind) for row in made(PENS, MARKED)}
    # No calculation has a third term to drop.
    two_modes = {(mode, kind) for mode in (Mode.ISOLATED, Mode.PROPAGATED) for kind in SlipKind}
    assert two_modes - found == {(Mode.ISOLATED, SlipKind.DROPPED), (Mode.PROPAGATED, SlipKind.DROPPED)}
    assert {kind for mode, kind in found if mode is Mode.CANCELLING} >= {SlipKind.OPERAND, SlipKind.RESULT}


def test_a_slip_is_carried_through_marks_text_and_answer() -> None:
    rows = made(PENS, MARKED, modes=["propagated"], kinds=["sign"])
    assert ["".join(row.steps) for row in rows] == [
        "Ana has 8*14 = <<8*14=112>>112 pens.\nAfter giving 33 away she has 112 + 33 = <<112+33=145>>145 pens.\n"
        "She gets 145 * $3 = $<<145*3=435>>435.\n#### 435"
    ]
    assert rows[0].answer == "435"
    assert rows[0].first_error == 1


def test_the_words_of_later_steps_follow_the_slip() -> None:
    rows = made(PENS, PLAIN, modes=["propagated"], kinds=["result"], n=30)
    early = [row for row in rows if row.first_error == 0]
    assert early
    for row in early:
        total = equations_of(row.steps[0])[0].result.text
        assert row.steps[1].startswith(f"Of those {total} pens, {total} - 33 = ")


def test_every_form_of_a_calculation_changes_with_it() -> None:
    problem = Problem.create(prompt="Angela gets 2 hours more sleep on each of 31 days. How many hours?", answer="62")
    steps = split_steps("That is 2 x 31 = <<31*2=62>>62 hours for 31 days.\n#### 62")
    for row in made(problem, steps, modes=["propagated"], n=9):
        first, second = equations_of(row.steps[0])
        assert first.result.value == second.result.value == Fraction(row.answer)
        assert {token.value for token in first.left} == {token.value for token in second.left}
        assert first.echo is not None
        assert first.echo.text == row.answer


def test_a_calculation_in_two_unlike_forms_is_left_alone() -> None:
    problem = Problem.create(prompt="Bo has 41 red and 9 blue balls and 30 cups. How many things?", answer="80")
    steps = split_steps("He has 50 + 30 = <<41+9+30=80>>80 things.\n#### 80")
    assert made(problem, steps) == []


def test_no_slip_hides_in_a_calculator_mark() -> None:
    problem = Problem.create(prompt="Adlai has 2 dogs and a hen. How many legs?", answer="10")
    steps = split_steps(
        "Dogs have 4 legs: 2 x 4 = <<2*4=8>>8 legs.\nThat is 8 dog legs + 2 hen legs = <<8+2=10>>10.\n#### 10"
    )
    rows = made(problem, steps, n=30)
    assert any(row.first_error == 1 for row in rows)
    for row in rows:
        assert "".join(without_marks(step) for step in row.steps).split() != "".join(map(without_marks, steps)).split()
        numbers = [
            token.value
            for equation in equations_of(row.steps[1])
            for token in (equation.result, equation.echo)
            if token
        ]
        assert len(set(numbers)) == 1


def test_a_dropped_term_is_the_only_change_of_its_calculation() -> None:
    problem = Problem.create(prompt="Bo has 41 red, 23 blue and 16 green balls and loses 7. How many?", answer="73")
    steps = split_steps("Bo has 41 + 23 + 16 = 80 balls.\nThen 80 - 7 = 73 are left.\n#### 73")
    rows = made(problem, steps, modes=["propagated"], kinds=["dropped"], n=9)
    assert {row.steps[0] for row in rows} == {"Bo has 41 + 23 = 64 balls.\n", "Bo has 41 + 16 = 57 balls.\n"}
    assert {row.answer for row in rows} == {"57", "50"}


def test_a_number_that_may_stand_for_something_else_is_not_carried_on() -> None:
    problem = Problem.create(prompt="Cy has 5 bags of 4 nuts and 20 coins. He eats 3 nuts. Nuts left?", answer="17")
    steps = split_steps("Cy has 5 * 4 = 20 nuts.\nHe keeps his 20 coins.\nSo 20 - 3 = 17 nuts are left.\n#### 17")
    counts: Counter[str] = Counter()
    rows = made(problem, steps, modes=["propagated"], n=50, counts=counts)
    assert {row.first_error for row in rows} == {2}
    assert counts["ambiguous"] > 0


def test_a_chain_is_never_corrupted_into_another_order_of_itself() -> None:
    problem = Problem.create(prompt="12+3+4=?", answer="19")
    steps = split_steps("12+3=15\n15+4=19\n#### 19")
    rows = made(problem, steps, modes=["propagated", "cancelling"], n=50)
    assert rows
    assert not any("".join(row.steps).startswith("12+4=16\n16+3=") for row in rows)
    assert not [row for row in rows if row.kind is SlipKind.SWAPPED]


def test_a_flawed_solution_is_not_corrupted_but_counted() -> None:
    for text in ("12+3=16\n16-4=12\n#### 11", "12+3=15\n15-4=11\n#### 12"):
        counts: Counter[str] = Counter()
        problem = Problem.create(prompt="12+3-4=?", answer="11")
        assert made(problem, split_steps(text), counts=counts) == []
        assert counts == {"flawed_original": 1}


def test_a_program_has_no_near_miss() -> None:
    assert made(replace(PENS, kind=Kind.CODE), MARKED) == []


def test_equal_seeds_give_equal_near_misses_and_others_differ() -> None:
    problem, steps = chains()[-1]
    assert made(problem, steps, seed=3) == made(problem, steps, seed=3)
    assert made(problem, steps, seed=3) != made(problem, steps, seed=4)
    one = made(problem, steps, seed=3, modes=["isolated"], kinds=["operand"])
    assert one == [row for row in made(problem, steps, seed=3) if row.mode is Mode.ISOLATED and row.kind == "operand"]


def test_the_labels_end_at_the_first_wrong_step() -> None:
    row = made(PENS, MARKED, modes=["propagated"], kinds=["sign"])[0]
    labels = row.labels(PENS, "r")
    assert [(label.step, label.value, label.source) for label in labels] == [
        (0, 1.0, "near_miss"),
        (1, 0.0, "near_miss"),
    ]
    assert row.labelled(PENS).first_error == 1
    assert row.labelled(PENS).outcome is False


def test_the_record_names_its_parent(provenance: Provenance) -> None:
    parent = make_rationale(PENS, "".join(MARKED), provenance, answer="237")
    row = made(PENS, MARKED, modes=["isolated"], kinds=["operand"])[0]
    child = row.rationale(parent, seed=7)
    assert child.origin is Origin.CORRUPTED
    assert child.parent_id == parent.id != child.id
    assert child.made_by.engine == "corruption"
    assert child.text == "".join(row.steps)


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        ("48/2 = $<<48/2=24>>24 left", [(48, "/", 2, 24), (48, "/", 2, 24)]),
        ("12 x 2 = 1,024.50 and 3 × (4−1) = 9", [(12, "*", 2, Fraction(2049, 2)), (3, "*", "(", 4, "-", 1, ")", 9)]),
        ("S + 143 = 200 - 16 = 184", [(200, "-", 16, 184)]),
        ("2 * 2S = 4S, 7 apples + 3 = 10, 3/4 * 2 = 1 1/2, 8/3 = 24/Y, 5 = 5", []),
        ("100% - 40% = 60%", [(100, "-", 40, 60)]),
    ],
)
def test_only_plain_equations_are_read(step: str, keys: list[tuple[object, ...]]) -> None:
    assert [equation.key for equation in equations_of(step)] == keys


def test_an_equation_list_forgets_words_spacing_and_marks_but_not_the_order() -> None:
    assert equation_list(MARKED) == equation_list(PLAIN)
    assert equation_list(["3+4=7"]) != equation_list(["4+3=7"])
    assert equation_list(["no equation"]) == ()


def test_hostile_text_is_read_in_linear_time_and_never_raises() -> None:
    for text in (
        "9" * 50_000 + "+1=2",
        "(" * 50_000 + "=1",
        "1+" * 50_000 + "1=2",
        "<<" * 50_000,
        "=" * 50_000,
        "1,111" * 9999,
    ):
        assert equations_of(text) == []
