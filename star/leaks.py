"""Leak tests of rationalized rationales: was the answer derived, or was the hint written down with steps around it?

Each test is a named measure of one row, with a rate over a batch; which tests put a row into quarantine is
configuration. A quarantined row is kept and flagged with the reason, and so is what was derived from it. `logprob_gap`
takes what an engine computed; a further test, `star.rationalize.hint_swap`, is of the model and not of a row. Lexical,
structural and probabilistic leaks after arXiv 2602.14469.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from data.config import Config
from data.records import Kind, Problem, Rationale
from data.run_records import LeakReport, LeakTest, LogprobGap
from star.equations import CONSTANTS, equations_of, numbers_of, stated_numbers
from star.rationalize import hint_phrase
from verifiers import Interval, StepStatus, check_steps, wilson_interval


class LeakConfig(Config):
    """Which tests count, and from where on."""

    quarantine: list[Annotated[LeakTest, Field(strict=False)]] = Field(default=[LeakTest.PHRASE])
    """Tests that put a row into quarantine; the others are measured."""
    max_wrong_steps: float = Field(default=0.0, ge=0, le=1)
    """Share of the checked steps that may be wrong."""
    max_logprob_gap: float = Field(default=0.5, ge=0)
    """Mean gain by the hint that is allowed, in nats per token."""
    max_answer_gap: float = Field(default=2.0, ge=0)
    """The same at the tokens of the answer."""


def failed_tests(report: LeakReport, config: LeakConfig) -> dict[LeakTest, bool | None]:
    """Every test of a report: failed, passed, or None where it does not apply."""
    gap = report.gap
    return {
        LeakTest.PHRASE: bool(report.phrase),
        LeakTest.EARLY_ANSWER: report.early_answer,
        LeakTest.UNDERIVED: report.underived,
        LeakTest.WRONG_STEPS: _above(report.wrong_steps, config.max_wrong_steps),
        LeakTest.LOGPROB_GAP: _above(gap.mean if gap else None, config.max_logprob_gap),
        LeakTest.ANSWER_GAP: _above(gap.at_answer if gap else None, config.max_answer_gap),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakRates:
    """The tests over a batch."""

    n: int
    failed: Mapping[LeakTest, int]
    """Rows that failed a test."""
    decided: Mapping[LeakTest, int]
    """Rows that it applies to."""
    n_quarantined: int

    def rate(self, test: LeakTest) -> Interval | None:
        """Share of the rows that failed a test among those that it applies to, with a 95 % interval."""
        return wilson_interval(self.failed[test], self.decided[test]) if self.decided[test] else None


def leak_report(
    problem: Problem, rationale: Rationale, config: LeakConfig, gap: LogprobGap | None = None
) -> LeakReport:
    """Take all measures of one row.

    Args:
        problem: with its gold answer.
        rationale: usually of origin `rationalized`; the measures say nothing about where it came from.
        config: thresholds, and which tests put it into quarantine.
        gap: from `logprob_gap`, where an engine scored the row.
    """
    early, underived = answer_order(problem, rationale.steps)
    report = LeakReport(
        rationale_id=rationale.id,
        phrase=hint_phrase(rationale.text, problem),
        early_answer=early,
        underived=underived,
        wrong_steps=wrong_step_share(problem.prompt, rationale.steps),
        gap=gap,
    )
    failed = failed_tests(report, config)
    return replace(report, quarantined_by=tuple(test for test in config.quarantine if failed[test]))


def leak_rates(reports: Iterable[LeakReport], config: LeakConfig) -> LeakRates:
    """Add up the reports of a batch."""
    n, n_quarantined = 0, 0
    failed, decided = Counter[LeakTest](), Counter[LeakTest]()
    for report in reports:
        n += 1
        n_quarantined += bool(report.quarantined_by)
        for test, outcome in failed_tests(report, config).items():
            failed[test] += outcome is True
            decided[test] += outcome is not None
    return LeakRates(n=n, failed=failed, decided=decided, n_quarantined=n_quarantined)


def answer_order(problem: Problem, steps: Sequence[str]) -> tuple[bool | None, bool | None]:
    """Whether the answer is stated in a step before the one that computes it, and whether no step computes it.

    1,234 and 1234.0 are one number. A number that the problem states, or that needs no source (the months of a year),
    may stand anywhere. A number and the equation that results in it may share a step in any order.
    """
    gold = _number(problem)
    results = [{equation.result.value for equation in equations_of(step)} for step in steps]
    if gold is None or not any(results):
        return None, None
    derived = next((place for place, values in enumerate(results) if gold in values), None)
    if derived is None or gold in stated_numbers(problem.prompt) | CONSTANTS:
        return None, derived is None
    return any(token.value == gold for step in steps[:derived] for token in numbers_of(step)), False


def wrong_step_share(problem: str, steps: Sequence[str]) -> float | None:
    """Share of the steps that fail `check_steps` among those that it can check; None if it can check none."""
    verdicts = [verdict.status for verdict in check_steps(problem, steps)]
    n_checked = sum(status is not StepStatus.NOT_CHECKABLE for status in verdicts)
    return verdicts.count(StepStatus.INCORRECT) / n_checked if n_checked else None


def logprob_gap(hinted: Sequence[float], plain: Sequence[float], answer: Sequence[int] = ()) -> LogprobGap:
    """What the hint adds to the likelihood of one completion.

    Args:
        hinted: log-probability of each token of the completion after the hinted prompt, in nats, [T].
        plain: the same after the plain prompt, [T].
        answer: indices of the tokens that first state the answer; see `answer_tokens`.

    Raises:
        ValueError: the two differ in length, are empty, or hold a value that is not finite.
    """
    if len(hinted) != len(plain) or not hinted:
        raise ValueError(f"{len(hinted)} and {len(plain)} log-probabilities of one completion")
    gains = [one - other for one, other in zip(hinted, plain, strict=True)]
    if not all(map(math.isfinite, gains)):
        raise ValueError("a log-probability is not finite")
    at_answer = sum(gains[place] for place in answer) / len(answer) if answer else None
    return LogprobGap(mean=sum(gains) / len(gains), at_answer=at_answer)


def answer_tokens(problem: Problem, text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Tokens of a completion that first state the gold answer.

    Args:
        problem: with its gold answer.
        text: the completion.
        offsets: first character of each token and the one behind its last, as fast tokenizers give them.
    """
    gold = _number(problem)
    found = next((token for token in numbers_of(text) if token.value == gold), None)
    if found is None:
        return []
    return [place for place, (start, end) in enumerate(offsets) if start < found.end and end > found.start]


def quarantine(reports: Iterable[LeakReport], rationales: Iterable[Rationale]) -> dict[str, str]:
    """Why rationales are in quarantine, by id: `leak: phrase, underived`, or `descends from ID` through `parent_id`."""
    reasons = {
        report.rationale_id: f"leak: {', '.join(report.quarantined_by)}" for report in reports if report.quarantined_by
    }
    children: dict[str, list[str]] = {}
    for rationale in rationales:
        if rationale.parent_id:
            children.setdefault(rationale.parent_id, []).append(rationale.id)
    heads = list(reasons)
    while heads:
        head = heads.pop()
        for child in children.get(head, ()):
            if child not in reasons:
                reasons[child] = f"descends from {head}"
                heads.append(child)
    return reasons


def _above(value: float | None, bound: float) -> bool | None:
    return None if value is None else value > bound


def _number(problem: Problem) -> Fraction | None:
    """The gold answer, if it is a number; a leading minus sign has no place in what is compared."""
    if problem.kind is not Kind.MATH or problem.answer.lstrip().startswith("-"):
        return None
    tokens = numbers_of(problem.answer)
    rest = problem.answer.replace(tokens[0].text, "", 1) if len(tokens) == 1 else "?"
    return tokens[0].value if not rest.strip(" $€£%.") else None
