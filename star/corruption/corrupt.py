"""Near-miss solutions: a right solution with one slip (or two that cancel), the first wrong step known, all verified.

The checker must flag the edited step, and no other, where the slip stands alone; where it is carried on, no step but
the edited ones. What does not hold up is dropped by name and counted. Equal input and seed give equal output.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from data.config import Config
from data.ids import derive_seed
from data.records import FinishReason, Kind, Origin, Problem, Rationale, Status, StepLabel
from prm.labels.solution import LabelledSolution, step_labels, values_up_to
from star.corruption.carry import isolated, propagated
from star.corruption.slips import Slip, SlipKind, slips_of
from star.corruption.solution import Solution, Unfit
from verifiers import StepStatus, check_answer, check_steps


class Mode(StrEnum):
    """What becomes of the steps after the slip."""

    ISOLATED = "isolated"
    """They stay as they are. The edited equation does not hold; the final answer mostly still does."""
    PROPAGATED = "propagated"
    """They are computed anew, and the final answer is wrong. But for the kind `result` the equations mostly hold: the
    first wrong step is known by construction."""
    CANCELLING = "cancelling"
    """A second slip brings the right numbers back: the final answer is right although two steps are wrong."""


class CorruptionConfig(Config):
    """Which near-misses are made of a solution."""

    kinds: list[Annotated[SlipKind, Field(strict=False)]] = Field(default=list(SlipKind), min_length=1)
    modes: list[Annotated[Mode, Field(strict=False)]] = Field(default=list(Mode), min_length=1)
    n: int = Field(default=1, ge=1)
    """Near-misses of each kind and mode."""
    max_tries: int = Field(default=24, ge=1)
    """Slips that are tried for each kind and mode before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """A near-miss solution."""

    steps: tuple[str, ...]
    """Joined without a separator, as in `Rationale.steps`."""
    first_error: int
    """0-based index of the first wrong step."""
    second_error: int | None = None
    """For `cancelling`: the step of the second slip."""
    kind: SlipKind
    """The (first) slip."""
    mode: Mode
    answer: str
    """The final answer that the steps now state."""
    is_answer_right: bool
    is_caught: bool
    """Whether `check_steps` flags the first wrong step: its equations alone show it."""

    def labelled(self, problem: Problem) -> LabelledSolution:
        """Labels of the steps: right before the slip, wrong there, none after it."""
        return LabelledSolution(
            problem=problem.prompt,
            steps=self.steps,
            values=values_up_to(self.first_error, len(self.steps)),
            source="near_miss",
            gold=problem.answer,
            outcome=self.is_answer_right,
        )

    def labels(self, problem: Problem, rationale_id: str) -> list[StepLabel]:
        """The labels as records of the store, source `near_miss`."""
        return step_labels(self.labelled(problem), rationale_id)

    def rationale(self, parent: Rationale, seed: int) -> Rationale:
        """The record, of origin `corrupted`, derived from `parent`; its provenance names engine `corruption`."""
        how = json.dumps({"kind": self.kind, "mode": self.mode}, sort_keys=True)
        return Rationale.create(
            problem_id=parent.problem_id,
            steps=self.steps,
            origin=Origin.CORRUPTED,
            made_by=replace(parent.made_by, engine="corruption", sampling=how, seed=seed),
            answer=self.answer,
            finish_reason=FinishReason.STOP,
            n_tokens=0,
            parent_id=parent.id,
        )


def corruptions(
    problem: Problem, steps: Sequence[str], config: CorruptionConfig, *, seed: int, counts: Counter[str]
) -> Iterator[Corruption]:
    """Near-misses of one right solution.

    Args:
        problem: with its gold answer; of kind `code` nothing is made.
        steps: the solution; the text must state its final answer.
        config: which.
        seed: draws come from it, the problem and the solution, not from the order of the calls.
        counts: filled with `made` and the reasons for all else: `flawed_original` (a step or the answer of the
            solution itself does not check), `no_slip` (a kind and mode for which no slip held up), and what each
            slip that was tried failed by: see `star.corruption.carry`, and `not_caught`, `caught_elsewhere`,
            `same_answer`, `other_answer`, `no_answer`, `undecided`.
    """
    solution = Solution.parse(problem, steps)
    if not _is_right(solution):
        counts["flawed_original"] += 1
        return
    for mode in config.modes:
        for kind in config.kinds:
            rng = random.Random(derive_seed("corrupt", seed, problem.id, "".join(steps), mode, kind))
            made = 0
            for corruption in _of_kind(solution, kind, mode, rng, config.max_tries, counts):
                yield corruption
                made += 1
                if made == config.n:
                    break
            counts["made"] += made
            counts["no_slip"] += not made


def _is_right(solution: Solution) -> bool:
    status, _ = _answer(solution.problem, solution.steps)
    verdicts = check_steps(solution.problem.prompt, solution.steps)
    return status is Status.CORRECT and all(verdict.status is not StepStatus.INCORRECT for verdict in verdicts)


def _answer(problem: Problem, steps: Sequence[str]) -> tuple[Status, str]:
    """Whether the final answer of the steps is right, and what it is."""
    if problem.kind is Kind.CODE:
        return Status.UNDECIDED, ""
    kind = "choice" if problem.kind is Kind.CHOICE else "text"
    verdict = check_answer(problem.answer, "".join(steps), kind=kind)
    return verdict.status, verdict.extracted


def _of_kind(
    solution: Solution, kind: SlipKind, mode: Mode, rng: random.Random, max_tries: int, counts: Counter[str]
) -> Iterator[Corruption]:
    """Near-misses that hold up, in the order of a draw."""
    slips = list(slips_of(solution, kind, across=mode is not Mode.ISOLATED))
    rng.shuffle(slips)
    tries = 0
    for slip in slips:
        for balance in _balances(solution, slip, mode):
            if tries == max_tries:
                return
            tries += 1
            try:
                yield _made(solution, slip, mode, balance)
            except Unfit as unfit:
                counts[unfit.reason] += 1


def _balances(solution: Solution, slip: Slip, mode: Mode) -> Sequence[int | None]:
    """Sites where a second slip could cancel the first; just None in the other modes."""
    if mode is not Mode.CANCELLING:
        return [None]
    if slip.drops_step or len(slip.edits) > 1:
        return []
    step = solution.sites[slip.site].step
    later = range(slip.site + 1, len(solution.sites))
    return [place for place in later if solution.sites[place].step > step][:3]


def _made(solution: Solution, slip: Slip, mode: Mode, balance: int | None) -> Corruption:
    first = solution.sites[slip.site].step
    second = None if balance is None else solution.sites[balance].step
    steps = isolated(solution, slip) if mode is Mode.ISOLATED else propagated(solution, slip, balance)
    flagged = _flagged(solution.problem, steps)
    if (mode is Mode.ISOLATED or slip.result is not None) and first not in flagged:
        raise Unfit("not_caught")
    if flagged - {first, second}:
        raise Unfit("caught_elsewhere")
    status, answer = _answer(solution.problem, steps)
    if status not in (Status.CORRECT, Status.INCORRECT):
        raise Unfit(str(status))
    is_right = status is Status.CORRECT
    if mode is Mode.PROPAGATED and is_right:
        raise Unfit("same_answer")
    if mode is Mode.CANCELLING and not is_right:
        raise Unfit("other_answer")
    return Corruption(
        steps=steps,
        first_error=first,
        second_error=second,
        kind=slip.kind,
        mode=mode,
        answer=answer,
        is_answer_right=is_right,
        is_caught=first in flagged,
    )


def _flagged(problem: Problem, steps: Sequence[str]) -> set[int | None]:
    verdicts = check_steps(problem.prompt, steps)
    return {place for place, verdict in enumerate(verdicts) if verdict.status is StepStatus.INCORRECT}
