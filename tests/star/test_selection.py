"""Rationalization and selection: no hint survives, and every rationale has one fate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.prompts import PromptTemplate
from data.records import FinishReason, Kind, Origin, Problem, Provenance, Rationale, Status, Verdict
from star.rationalize import (
    RationalizationConfig,
    has_failed,
    hint_of,
    hint_swap,
    is_drawn,
    mentions_hint,
    swap_outcomes,
    swapped_prompts,
    wrong_hint,
)
from star.selection import SelectionConfig, copies, diversity, pass_rates, replayed, select
from tests.conftest import make_rationale
from verifiers import check_answer


def verdict(status: Status = Status.CORRECT) -> Verdict:
    return Verdict(status=status, extracted="11", method="integer")


def fates(
    problem: Problem, made_by: Provenance, cases: list[tuple[str, Status, dict[str, object]]], cap: int = 9
) -> list[str]:
    rationales = [
        make_rationale(problem, text, replace(made_by, seed=place), **changes)
        for place, (text, _, changes) in enumerate(cases)
    ]
    verdicts = {row.id: verdict(case[1]) for row, case in zip(rationales, cases, strict=True)}
    chosen = select(
        rationales, verdicts, {problem.id: problem}, SelectionConfig(max_per_problem=cap), arm="star", round_=1, seed=0
    )
    assert [row.rationale_id for row in chosen] == [row.id for row in rationales]
    return [row.reason for row in chosen]


def test_each_rule_names_itself(problem: Problem, provenance: Provenance) -> None:
    hinted = {"origin": Origin.RATIONALIZED}
    assert fates(
        problem,
        provenance,
        [
            ("12+3=15\n#### 11", Status.CORRECT, {}),
            ("#### 12", Status.INCORRECT, {}),
            ("I do not know", Status.NO_ANSWER, {}),
            ("#### (", Status.UNDECIDED, {}),
            ("12+3=15\n15-4=11\n#### 11", Status.CORRECT, {"finish_reason": FinishReason.LENGTH}),
            ("", Status.NO_ANSWER, {"finish_reason": FinishReason.ERROR}),
            ("The answer is known, as given it is 11\n#### 11", Status.CORRECT, hinted),
        ],
    ) == ["kept", "incorrect", "no_answer", "undecided", "truncated", "error", "leak"]


def test_a_text_is_kept_once_whatever_its_spacing(problem: Problem, provenance: Provenance) -> None:
    reasons = fates(problem, provenance, [("a b\n#### 11", Status.CORRECT, {}), ("a  b\n#### 11", Status.CORRECT, {})])
    assert sorted(reasons) == ["duplicate", "kept"]


def test_the_cap_holds_a_problem_and_does_not_depend_on_the_order(problem: Problem, provenance: Provenance) -> None:
    rows = [make_rationale(problem, f"{place}\n#### 11", replace(provenance, seed=place)) for place in range(6)]
    verdicts = {row.id: verdict() for row in rows}
    found = []
    for order in (rows, rows[::-1]):
        chosen = select(
            order, verdicts, {problem.id: problem}, SelectionConfig(max_per_problem=2), arm="star", round_=1, seed=0
        )
        found.append({row.rationale_id for row in chosen if row.kept})
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_only_problems_without_a_right_sample_failed() -> None:
    assert has_failed([Status.INCORRECT, Status.UNDECIDED])
    assert not has_failed([Status.INCORRECT, Status.CORRECT])
    assert not has_failed([Status.UNDECIDED])
    assert not has_failed([])


def test_the_share_p_is_drawn_by_hash() -> None:
    problems = [Problem.create(prompt=str(place), answer="1") for place in range(2000)]
    config = RationalizationConfig(p=0.25)
    drawn = [is_drawn(row, config, 0, 1) for row in problems]
    assert 0.2 < sum(drawn) / len(drawn) < 0.3
    assert drawn == [is_drawn(row, config, 0, 1) for row in problems]
    assert drawn != [is_drawn(row, config, 0, 2) for row in problems]


def test_the_hint_is_the_bare_answer_and_only_in_the_hinted_prompt() -> None:
    solved = Problem.create(prompt="12+3=?", answer="15", solution="12+3=15\n#### 15")
    for name in ("arithmetic", "math"):
        template = PromptTemplate(name)
        plain, hinted = template.render(solved), template.render(solved, hint=hint_of(solved))
        assert "15" not in plain
        assert "15" in hinted
        assert "12+3=15" not in hinted
        assert template.hash() != template.hash(hinted=True)


def test_a_choice_is_hinted_by_a_mark_on_the_right_option_alone() -> None:
    asked = Problem.create(prompt="Where?", answer="B", kind=Kind.CHOICE, choices=("bank", "library"))
    hinted = PromptTemplate("choice").render(asked, hint=hint_of(asked))
    assert hinted.count("(CORRECT)") == 1
    assert "(B) library (CORRECT)" in hinted


@pytest.mark.parametrize("text", ["as given, 11", "The correct answer is given: 11", "12+3=? (11)", "the HINT says 11"])
def test_talk_of_the_hint_is_seen(problem: Problem, text: str) -> None:
    shown = replace(problem, prompt="12+3=?")
    assert mentions_hint(text, shown)


@pytest.mark.parametrize("text", ["12+3=15\n15-4=11\n#### 11", "So the correct answer is 11.", "Ana has given 4 away."])
def test_an_honest_rationale_is_not_called_leaky(problem: Problem, text: str) -> None:
    assert not mentions_hint(text, problem)


def samples(
    problem: Problem, made_by: Provenance, texts: list[str], statuses: list[Status] | None = None, **changes: object
) -> tuple[list[Rationale], dict[str, Verdict]]:
    rows = [make_rationale(problem, text, replace(made_by, seed=place), **changes) for place, text in enumerate(texts)]
    outcomes = statuses or [Status.CORRECT] * len(rows)
    return rows, {row.id: verdict(status) for row, status in zip(rows, outcomes, strict=True)}


def reasons_of(
    problem: Problem,
    rows: list[Rationale],
    verdicts: dict[str, Verdict],
    quarantined: set[str] | None = None,
    **config: object,
) -> list[str]:
    settings = SelectionConfig.model_validate({"max_per_problem": 9, **config})
    chosen = select(
        rows, verdicts, {problem.id: problem}, settings, arm="star", round_=1, seed=0, quarantined=quarantined or ()
    )
    return [row.reason for row in chosen]


def test_rationales_with_the_same_equations_are_one_where_that_is_asked_for(
    problem: Problem, provenance: Provenance
) -> None:
    texts = ["12+3=15\n15-4=11\n#### 11", "So 12 + 3 = 15.\nThen 15 - 4 = 11.\n#### 11", "12-4=8\n8+3=11\n#### 11"]
    rows, verdicts = samples(problem, provenance, texts)
    found = reasons_of(problem, rows, verdicts, distinct="equations")
    assert sorted(found[:2]) == ["kept", "same_equations"]
    assert found[2] == "kept"
    assert reasons_of(problem, rows, verdicts) == ["kept"] * 3


def test_rationales_without_equations_are_told_apart_by_their_text(problem: Problem, provenance: Provenance) -> None:
    rows, verdicts = samples(problem, provenance, ["it is\n#### 11", "it must be\n#### 11"])
    assert reasons_of(problem, rows, verdicts, distinct="equations") == ["kept", "kept"]


@pytest.mark.parametrize(
    ("band", "reason"),
    [((0.0, 1.0), "kept"), ((0.25, 0.25), "kept"), ((0.5, 1.0), "too_hard"), ((0.0, 0.2), "too_easy")],
)
def test_problems_outside_the_band_of_pass_rates_are_left_out(
    problem: Problem, provenance: Provenance, band: tuple[float, float], reason: str
) -> None:
    statuses = [Status.CORRECT, Status.INCORRECT, Status.NO_ANSWER, Status.INCORRECT, Status.UNDECIDED]
    rows, verdicts = samples(problem, provenance, list("abcde"), statuses)
    assert pass_rates(rows, verdicts) == {problem.id: 0.25}
    found = reasons_of(problem, rows, verdicts, min_pass_rate=band[0], max_pass_rate=band[1])
    assert found == [reason, "incorrect", "no_answer", "incorrect", "undecided"]


def test_a_band_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above"):
        SelectionConfig(min_pass_rate=0.6, max_pass_rate=0.5)


def test_quarantined_rationales_are_not_trained_on_and_counted(problem: Problem, provenance: Provenance) -> None:
    rows, verdicts = samples(problem, provenance, ["a", "b"])
    assert reasons_of(problem, rows, verdicts, {rows[1].id}) == ["kept", "quarantine"]


def test_the_harder_a_problem_the_more_copies() -> None:
    config = SelectionConfig(max_copies=5)
    rates = {"never": 0.0, "half": 0.5, "always": 1.0}
    assert [copies(rates, name, config) for name in (*rates, "unsampled")] == [5, 3, 1, 1]
    assert {copies(rates, name, SelectionConfig()) for name in rates} == {1}


def test_a_tiny_round_is_filled_with_earlier_rows_of_problems_it_lacks(provenance: Provenance) -> None:
    problems = [Problem.create(prompt=f"{place}+1=?", answer=str(place + 1)) for place in range(4)]
    old = [
        make_rationale(problem, f"{text}\n#### 1", replace(provenance, round=round_))
        for problem in problems
        for round_, text in enumerate(("first", "second"))
    ]
    now = [make_rationale(problems[0], "now\n#### 1", replace(provenance, round=2))]
    found = replayed(now, old, SelectionConfig(min_rows=4), round_=3, seed=0)
    assert [row.made_by.round for row in found] == [1, 1, 1]
    assert {row.problem_id for row in found} == {problem.id for problem in problems[1:]}
    assert found == replayed(now, old[::-1], SelectionConfig(min_rows=4), round_=3, seed=0)
    assert replayed(now, old, SelectionConfig(), round_=3, seed=0) == []
    everything = replayed(now, old, SelectionConfig(min_rows=99, max_per_problem=2), round_=3, seed=0)
    assert len(everything) == 7
    assert replayed(old, old, SelectionConfig(min_rows=99), round_=3, seed=0) == []


def test_diversity_counts_equation_lists_and_what_sampling_more_buys(problem: Problem, provenance: Provenance) -> None:
    texts = ["12+3=15\n15-4=11\n#### 11", "12 + 3 = 15 and 15 - 4 = 11\n#### 11", "12-4=8\n8+3=11\n#### 11", "#### 12"]
    rows, verdicts = samples(problem, provenance, texts, [Status.CORRECT] * 3 + [Status.INCORRECT])
    found = diversity([(rows, verdicts)], k=2)
    assert (found.n_solved, found.equation_lists) == (1, 2.0)
    assert (found.pass_at_1, found.pass_at_k) == (0.75, 1.0)
    assert found.is_low(SelectionConfig(min_equation_lists=2.5))
    assert not found.is_low(SelectionConfig(min_equation_lists=2.0))
    assert not diversity([], k=2).is_low(SelectionConfig(min_equation_lists=9))


@pytest.mark.parametrize("gold", ["7", "1,234", "-3", "2.50", "100000000"])
def test_a_wrong_hint_is_near_the_gold_answer_and_looks_like_it(gold: str) -> None:
    asked = Problem.create(prompt="Ana has 8 pens.", answer=gold)
    for seed in range(30):
        hint = wrong_hint(asked, seed)
        assert check_answer(gold, hint, kind="answer").status is Status.INCORRECT
        assert ("," in hint, "." in hint, "-" in hint) == ("," in gold, "." in gold, "-" in gold)
        assert hint != "8"
        assert hint == wrong_hint(asked, seed)
    assert len({wrong_hint(asked, seed) for seed in range(30)}) > 1


def test_no_wrong_hint_is_made_up_for_what_has_no_neighbour() -> None:
    assert wrong_hint(Problem.create(prompt="?", answer="x+1"), 0) == ""
    assert wrong_hint(Problem.create(prompt="?", answer="", kind=Kind.CODE, tests="assert f()"), 0) == ""
    choice = Problem.create(prompt="Where?", answer="B", kind=Kind.CHOICE, choices=("a", "b", "c"))
    assert {wrong_hint(choice, seed) for seed in range(30)} == {"A", "C"}


def test_a_model_that_proves_what_it_is_shown_is_found_out(problem: Problem) -> None:
    problems = [Problem.create(prompt=f"{place}+90=?", answer=str(place + 90)) for place in range(20)]
    shown = list(swapped_prompts([*problems, Problem.create(prompt="?", answer="x")], PromptTemplate("arithmetic"), 0))
    assert len(shown) == 20
    assert all(prompt.strip() == f"{asked.prompt} ({hint})" for asked, hint, prompt in shown)
    pairs = [(asked, hint) for asked, hint, _ in shown]
    texts = [f"#### {hint if place < 5 else asked.answer}" for place, (asked, hint) in enumerate(pairs)]
    found = hint_swap(swap_outcomes(pairs, [*texts[:-1], "I cannot tell"]))
    assert (found.n, found.proved, found.resisted) == (20, 5, 14)


@pytest.mark.parametrize(
    "text",
    [
        "We already know that the answer is 11.",
        "The provided answer was 11, so we work back from the answer.",
        "Since the answer is 11, 15 - 4 must be taken.",
        "This matches the expected answer.",
        "We are told the final answer is 11.",
        "Option B is marked as correct.",
    ],
)
def test_less_open_talk_of_the_hint_is_seen_too(problem: Problem, text: str) -> None:
    assert mentions_hint(text, problem)


@pytest.mark.parametrize(
    "text",
    [
        "To get the answer, add 3.",
        "The expected value is 3.",
        "To get our final answer we need 15-4=11.",
        "Because the answer should be whole",
    ],
)
def test_talk_of_an_answer_to_come_is_not_talk_of_the_hint(problem: Problem, text: str) -> None:
    assert not mentions_hint(text, problem)
