"""Selection: which rationales a round trains on, and the rule that dropped each of the others.

Rules in order, the first that applies is the reason: `error`, `undecided`, `no_answer`, `incorrect`, `truncated`,
`leak`, `duplicate`, `over_cap`; what is left is `kept`. Undecided is not wrong: it is dropped and counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field

from data.config import Config
from data.ids import derive_seed
from data.records import FinishReason, Origin, Problem, Rationale, Selection, Status, Verdict
from star.rationalize import mentions_hint


class SelectionConfig(Config):
    """Settings of selection."""

    max_per_problem: int = Field(default=4, ge=1)
    """Rationales kept of one problem."""


def _fault(rationale: Rationale, verdict: Verdict, problem: Problem) -> str:
    """The rule that drops a rationale for its own sake, or nothing."""
    if rationale.finish_reason is FinishReason.ERROR:
        return "error"
    if verdict.status is not Status.CORRECT:
        return str(verdict.status)
    if rationale.finish_reason is FinishReason.LENGTH:
        return "truncated"
    if rationale.origin is Origin.RATIONALIZED and mentions_hint(rationale.text, problem):
        return "leak"
    return ""


def _normalized(text: str) -> str:
    return " ".join(text.split())


def select(
    rationales: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
    problems: Mapping[str, Problem],
    config: SelectionConfig,
    *,
    arm: str,
    round_: int,
    seed: int,
) -> list[Selection]:
    """Decide on every rationale of a round.

    Args:
        rationales: all of the round.
        verdicts: by rationale id.
        problems: by problem id.
        config: caps.
        arm: name of the arm, stored.
        round_: number of the round, stored.
        seed: which of too many rationales stay is drawn from it, not from the order.

    Returns:
        One selection for each rationale, in the order of `rationales`.
    """
    reasons: dict[str, str] = {}
    kept: Counter[str] = Counter()
    texts: set[tuple[str, str]] = set()
    # A hash order is random but independent of how the rationales arrived.
    for rationale in sorted(rationales, key=lambda row: derive_seed("select", seed, round_, row.id)):
        text = (rationale.problem_id, _normalized(rationale.text))
        reason = _fault(rationale, verdicts[rationale.id], problems[rationale.problem_id])
        if not reason and text in texts:
            reason = "duplicate"
        if not reason and kept[rationale.problem_id] >= config.max_per_problem:
            reason = "over_cap"
        if not reason:
            kept[rationale.problem_id] += 1
            texts.add(text)
        reasons[rationale.id] = reason or "kept"
    return [
        Selection(
            rationale_id=row.id,
            problem_id=row.problem_id,
            arm=arm,
            round=round_,
            kept=reasons[row.id] == "kept",
            reason=reasons[row.id],
        )
        for row in rationales
    ]
