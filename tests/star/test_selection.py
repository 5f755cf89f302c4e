"""Rationalization and selection: no hint survives, and every rationale has one fate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.prompts import PromptTemplate
from data.records import FinishReason, Kind, Origin, Problem, Provenance, Status, Verdict
from star.rationalize import RationalizationConfig, failed_problems, hint_of, is_drawn, mentions_hint
from star.selection import SelectionConfig, select
from tests.conftest import make_rationale


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
    problems = [Problem.create(prompt=name, answer="1") for name in "abcd"]
    statuses = {
        problems[0].id: [Status.INCORRECT, Status.CORRECT],
        problems[1].id: [Status.INCORRECT, Status.UNDECIDED],
        problems[2].id: [Status.UNDECIDED],
    }
    assert [row.prompt for row in failed_problems(problems, statuses)] == ["b"]


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
