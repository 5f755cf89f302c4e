"""Leak tests: each fires on what it is made for, stays silent on honest work, and says so where it cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.records import Kind, Problem, Provenance, Rationale
from data.run_records import LeakTest, LogprobGap
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from star.leaks import (
    LeakConfig,
    answer_order,
    answer_tokens,
    failed_tests,
    leak_rates,
    leak_report,
    logprob_gap,
    quarantine,
    wrong_step_share,
)
from tests.conftest import make_rationale

CLIPS = Problem.create(prompt="Ana sold 48 clips in April and half as many in May. How many in all?", answer="72")
HONEST = "In May she sold 48/2 = 24 clips.\nTogether 48+24 = <<48+24=72>>72 clips.\n#### 72"
ALL = LeakConfig.model_validate({"quarantine": list(LeakTest)})


def order(answer: str, text: str, prompt: str = CLIPS.prompt) -> tuple[bool | None, bool | None]:
    return answer_order(Problem.create(prompt=prompt, answer=answer), split_steps(text))


def test_an_honest_rationale_passes_every_test(provenance: Provenance) -> None:
    gap = LogprobGap(mean=0.01, at_answer=0.1)
    report = leak_report(CLIPS, make_rationale(CLIPS, HONEST, provenance), ALL, gap)
    assert report.quarantined_by == ()
    assert set(failed_tests(report, ALL).values()) == {False}


def test_no_worked_solution_of_the_arithmetic_domain_looks_leaked(provenance: Provenance) -> None:
    for problem in read_arithmetic({"difficulty": [2, 5, 9], "n": 40}):
        report = leak_report(problem, make_rationale(problem, problem.solution, provenance), ALL)
        assert (report.phrase, report.underived, report.wrong_steps) == ("", False, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "It will be 72 clips.\nIn May she sold 48/2 = 24.\nTogether 48+24 = 72.\n#### 72",
        "To have 72.00 in all, May must bring 48/2 = 24.\n48+24 = 72\n#### 72",
    ],
)
def test_an_answer_before_its_derivation_is_a_leak(text: str) -> None:
    assert order("72", text) == (True, False)


def test_equal_numbers_written_otherwise_are_one_number() -> None:
    text = "The total is 1234.\nThen 1,200 + 34 = 1,234.\n#### 1,234"
    for answer in ("1234", "1,234", "$1,234.00"):
        assert order(answer, text) == (True, False)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("72", HONEST),
        ("72", "She sold 72 because 48 + 24 = 72.\n#### 72"),
        ("27", "She sold 27/1 = 27 and 54/2 = 27.\n#### 27"),
    ],
)
def test_an_answer_in_the_step_that_computes_it_is_none(answer: str, text: str) -> None:
    assert order(answer, text) == (False, False)


def test_numbers_of_the_problem_and_of_the_calendar_say_nothing() -> None:
    assert order("48", "She had 48.\n24 * 2 = 48\n#### 48") == (None, False)
    assert order("12", "A year has 12 months.\n24 / 2 = 12\n#### 12") == (None, False)
    assert order("2", "As 2 is half.\n48 / 24 = 2\n#### 2") == (None, False)


def test_an_answer_that_no_step_computes_is_underived() -> None:
    assert order("72", "In May she sold 48/2 = 24.\nSo it is 72 in all.\n#### 72") == (None, True)


@pytest.mark.parametrize("answer", ["x+1", "-72", "72 apples", "1/2", ""])
def test_what_is_no_plain_number_is_not_judged(answer: str) -> None:
    assert order(answer, HONEST) == (None, None)
    assert order("72", "It is 72.\n#### 72") == (None, None)
    assert answer_order(replace(CLIPS, kind=Kind.CHOICE), split_steps(HONEST)) == (None, None)


def test_the_share_of_wrong_steps_is_among_those_that_can_be_checked() -> None:
    assert wrong_step_share("", ["2+2=5\n", "3+3=6\n", "so it is\n"]) == 0.5
    assert wrong_step_share("", ["so it is"]) is None


def test_the_gap_is_what_the_hint_adds_for_each_token() -> None:
    assert logprob_gap([-1.0, -2.0, -0.5], [-1.5, -2.0, -4.0], [2]) == LogprobGap(mean=4 / 3, at_answer=3.5)
    assert logprob_gap([-1.0], [-1.0]) == LogprobGap(mean=0.0, at_answer=None)


@pytest.mark.parametrize(
    ("hinted", "plain"), [([], []), ([-1.0], [-1.0, -2.0]), ([-1.0], [float("-inf")]), ([float("nan")], [-1.0])]
)
def test_log_probabilities_that_do_not_compare_are_refused(hinted: list[float], plain: list[float]) -> None:
    with pytest.raises(ValueError, match="log-probabilit"):
        logprob_gap(hinted, plain)


def test_the_tokens_of_the_answer_are_those_that_state_it_first() -> None:
    text = "a 172, then 7,2 and 72 and 72"
    offsets = [(place, place + 1) for place in range(len(text))]
    found = answer_tokens(CLIPS, text, offsets)
    assert found == [text.index("72 and"), text.index("72 and") + 1]
    assert answer_tokens(CLIPS, "none", [(0, 4)]) == []


def test_the_config_says_which_tests_quarantine(provenance: Provenance) -> None:
    row = make_rationale(CLIPS, "As given, it is 72.\n48/2 = 25\n48+24 = 72\n#### 72", provenance)
    gap = LogprobGap(mean=0.6, at_answer=None)
    report = leak_report(CLIPS, row, ALL, gap)
    assert report.quarantined_by == (
        LeakTest.PHRASE, LeakTest.EARLY_ANSWER, LeakTest.WRONG_STEPS, LeakTest.LOGPROB_GAP
    )  # fmt: skip
    assert failed_tests(report, ALL)[LeakTest.ANSWER_GAP] is None
    assert leak_report(CLIPS, row, LeakConfig(), gap).quarantined_by == (LeakTest.PHRASE,)
    lenient = LeakConfig(quarantine=[LeakTest.WRONG_STEPS], max_wrong_steps=0.5)
    assert leak_report(CLIPS, row, lenient).quarantined_by == ()


def test_rates_leave_out_rows_that_a_test_does_not_apply_to(provenance: Provenance) -> None:
    texts = [HONEST, "It is 72.\n48/2 = 24\n48+24 = 72\n#### 72", "as given\n48/2 = 24\n#### 72"]
    reports = [leak_report(CLIPS, make_rationale(CLIPS, text, provenance), ALL) for text in texts]
    rates = leak_rates(reports, ALL)
    assert (rates.n, rates.n_quarantined) == (3, 2)
    assert (rates.failed[LeakTest.EARLY_ANSWER], rates.decided[LeakTest.EARLY_ANSWER]) == (1, 2)
    early, gap = rates.rate(LeakTest.EARLY_ANSWER), rates.rate(LeakTest.LOGPROB_GAP)
    assert early is not None
    assert early.low < 0.5 < early.high
    assert gap is None


def test_what_descends_from_a_quarantined_row_is_in_quarantine_too(provenance: Provenance) -> None:
    def derived(text: str, parent: Rationale) -> Rationale:
        return make_rationale(CLIPS, text, provenance, parent_id=parent.id)

    leaky = make_rationale(CLIPS, "as given\n#### 72", provenance)
    clean = make_rationale(CLIPS, HONEST, provenance)
    child = derived("child\n#### 72", leaky)
    grandchild = derived("grandchild\n#### 72", child)
    other = derived("other\n#### 72", clean)
    rows = [other, grandchild, clean, child, leaky]
    found = quarantine([leak_report(CLIPS, row, LeakConfig()) for row in rows], rows)
    assert found == {
        leaky.id: "leak: phrase",
        child.id: f"descends from {leaky.id}",
        grandchild.id: f"descends from {child.id}",
    }
