"""Rationalization: sample failed problems again with the gold answer as a hint, and forget the hint.

The hint is the bare answer (the letter, for a choice), never a gold solution. It stands in the prompt alone: what is
stored and trained on is the completion, and training renders the plain prompt. A rationale that speaks of the hint is
dropped by name, not kept quietly. STaR, section 3.1.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import Field

from data.config import Config
from data.ids import derive_seed
from data.records import Kind, Problem, Status


class RationalizationConfig(Config):
    """Settings of rationalization."""

    enabled: bool = True
    p: float = Field(default=1.0, ge=0, le=1)
    """Share of the failed problems that are rationalized, drawn by hash."""
    n: int = Field(default=1, ge=1)
    """Hinted samples of each failed problem."""
    temperature: float = Field(default=0.8, ge=0)


_MENTIONS = re.compile(
    r"\bas given\b|\bgiven answer\b|\bthe hint\b|\bhinted\b|"
    r"(correct|right|final) answer (was|is) (given|provided|known|stated)|"
    r"we (already )?know (that )?the (correct |final )?answer|as if (i|we|you) did not know|\(CORRECT\)",
    re.IGNORECASE,
)


def hint_of(problem: Problem) -> str:
    """What the hinted prompt shows: the gold answer, or nothing where there is none to show."""
    return "" if problem.kind is Kind.CODE else problem.answer


def mentions_hint(text: str, problem: Problem) -> bool:
    """Whether a completion speaks of the hint or repeats its mark, e.g. `=? (42)`."""
    return bool(_MENTIONS.search(text)) or f"=? ({problem.answer})" in text


def failed_problems(problems: Iterable[Problem], statuses: Mapping[str, Sequence[Status]]) -> Iterator[Problem]:
    """Problems with no right sample; one with nothing but undecided checks did not fail.

    Args:
        problems: in order.
        statuses: problem id to the verdicts of its samples.
    """
    for problem in problems:
        found = statuses.get(problem.id, ())
        decided = [status for status in found if status is not Status.UNDECIDED]
        if decided and Status.CORRECT not in decided:
            yield problem


def is_drawn(problem: Problem, config: RationalizationConfig, seed: int, round_: int) -> bool:
    """Whether a failed problem is rationalized in this round; depends on its id, not on the order."""
    return random.Random(derive_seed("rationalize", seed, round_, problem.id)).random() < config.p
