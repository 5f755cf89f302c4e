"""Records of a run's decisions: what was kept and why, leak measures, wrong hints, gates, evaluations.

Frozen and keyword-only like `data.records`, each a table of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from data.records import FinishReason, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Whether a rationale went into a round's training set, and why (not)."""

    rationale_id: str
    problem_id: str
    arm: str
    """`star` (the main job) or `no_rationalization` (the ablation)."""
    round: int
    kept: bool
    reason: str
    """`kept`, or the rule that dropped it: `incorrect`, `undecided`, `duplicate`, `leak`, ...; see `star.selection`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One model's answer to one held-out problem."""

    problem_id: str
    arm: str
    round: int
    """0 is the base model."""
    status: Status
    extracted: str
    text: str
    finish_reason: FinishReason
    n_tokens: int


class LeakTest(StrEnum):
    """The leak tests of a rationalized rationale; `star.leaks` takes them."""

    PHRASE = "phrase"
    """It speaks of the hint."""
    EARLY_ANSWER = "early_answer"
    """It states the answer in a step before the one that computes it."""
    UNDERIVED = "underived"
    """It computes, but no step computes the answer."""
    WRONG_STEPS = "wrong_steps"
    """Too many of its steps do not hold."""
    LOGPROB_GAP = "logprob_gap"
    """The hint makes the whole of it much more likely."""
    ANSWER_GAP = "answer_gap"
    """The hint makes the answer in it much more likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobGap:
    """What the hint in the prompt adds to the log-probability of a completion, in nats per token."""

    mean: float
    at_answer: float | None
    """At the tokens that first state the answer; None if none were named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakReport:
    """The measures of one rationalized rationale; None where a measure does not apply or was not taken."""

    rationale_id: str
    phrase: str
    """The words that speak of the hint; empty if none do."""
    early_answer: bool | None
    """None for an answer that is no number, that the problem states itself, or that no step computes."""
    underived: bool | None
    """None for an answer that is no number, and where no equation could be read."""
    wrong_steps: float | None
    """Share of the steps that fail `check_steps` among those that it can check."""
    gap: LogprobGap | None = None
    quarantined_by: tuple[LeakTest, ...] = ()
    """The tests that were to put it into quarantine and that it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongHint:
    """What a policy did with a wrong answer shown as the hint."""

    problem_id: str
    arm: str
    round: int
    hint: str
    """The wrong answer."""
    text: str
    """The completion."""
    outcome: str
    """`proved` the wrong answer, `resisted` (ended in the gold answer all the same), or `other`."""
    n_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The gate's decision on the model of one round and what it rests on."""

    arm: str
    round: int
    promoted: bool
    gained: int
    """Dev problems that the new model solves and the one before does not."""
    lost: int
    """Dev problems that the one before solves and the new model does not."""
    p_worse: float
    """Chance of at least as many losses among those that differ, if both were equally good; small: it is worse."""
    accuracy: float
    """Share of the dev problems that the new model solves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoIteration:
    """One iteration of PPO; means over its responses."""

    iteration: int
    """From 1; skipped ones are left out."""
    kl: float
    """To the reference, nats a response."""
    proxy: float
    """What the step scorer's opinion came to, a response."""
    gold: float
    """Share of right answers."""
    tokens: float
    """Length of a response."""
    steps: float
    """Number of steps of a response."""
    repeated: float
    """Share of the steps that repeat an earlier one of their response."""
    filler: float
    """Share of the steps that say nothing."""
    unseparated: float
    """Share of the responses that are a single step."""
