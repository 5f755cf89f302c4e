"""Selection: which rationales a round trains on, and the rule that dropped each of the others.

Rules in order, the first that applies is the reason: `error`, `undecided`, `no_answer`, `incorrect`, `truncated`,
`leak`, `quarantine`, `too_hard`, `too_easy`, `duplicate`, `same_equations`, `over_cap`; what is left is `kept`.
Undecided is not wrong: it is dropped and counted apart. What else shapes a training set is here too, as pure functions:
copies of hard problems, rows of earlier rounds that are replayed, and the diversity that is left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from data.config import Config
from data.ids import derive_seed
from data.records import FinishReason, Origin, Problem, Rationale, Status, Verdict
from data.run_records import Selection
from star.equations import equation_list
from star.rationalize import mentions_hint
from verifiers import pass_at_k


class SelectionConfig(Config):
    """Settings of selection."""

    max_per_problem: int = Field(default=4, ge=1)
    """Rationales kept of one problem."""
    distinct: Literal["text", "equations"] = "text"
    """What two kept rationales of a problem must differ in: `text` up to white space, or also the list of their
    `equations` (RFT, Yuan et al. 2023; a rationale without any differs by its text alone)."""
    min_pass_rate: float = Field(default=0.0, ge=0, le=1)
    """Problems that a smaller share of its samples solves are left out, their rationalizations with them."""
    max_pass_rate: float = Field(default=1.0, ge=0, le=1)
    """Problems that a larger share of its samples solves are left out: there is nothing to learn."""
    max_copies: int = Field(default=1, ge=1)
    """How often a rationale of a problem that no sample solves is trained on; fewer copies the easier the problem."""
    min_rows: int = Field(default=0, ge=0)
    """Rationales that a round trains on at least, filled up by those of earlier rounds: a tiny round would regress."""
    min_equation_lists: float = Field(default=0.0, ge=0)
    """Below so many distinct equation lists a solved problem, on average, the round is reported as too uniform."""

    @model_validator(mode="after")
    def _band(self) -> SelectionConfig:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError("min_pass_rate is above max_pass_rate")
        return self


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


def _out_of_band(rate: float | None, config: SelectionConfig) -> str:
    """The rule that drops a problem, or nothing; a problem without a decided sample has no pass rate to drop it by."""
    if rate is None:
        return ""
    if rate < config.min_pass_rate:
        return "too_hard"
    return "too_easy" if rate > config.max_pass_rate else ""


def _normalized(text: str) -> str:
    return " ".join(text.split())


class _Kept:
    """What was kept so far: enough to tell whether one more of a problem may be."""

    def __init__(self, config: SelectionConfig) -> None:
        self._config = config
        self._n: Counter[str] = Counter()
        self._seen: set[tuple[str, object]] = set()

    def admit(self, rationale: Rationale) -> str:
        """Keep a rationale, or name the rule against it."""
        problem_id = rationale.problem_id
        equations = equation_list(rationale.steps) if self._config.distinct == "equations" else ()
        text = _normalized(rationale.text)
        if (problem_id, text) in self._seen:
            return "duplicate"
        if equations and (problem_id, equations) in self._seen:
            return "same_equations"
        if self._n[problem_id] >= self._config.max_per_problem:
            return "over_cap"
        self._n[problem_id] += 1
        self._seen |= {(problem_id, text), (problem_id, equations)}
        return ""


def select(
    rationales: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
    problems: Mapping[str, Problem],
    config: SelectionConfig,
    *,
    arm: str,
    round_: int,
    seed: int,
    quarantined: Collection[str] = (),
) -> list[Selection]:
    """Decide on every rationale of a round.

    Args:
        rationales: all of the round.
        verdicts: by rationale id.
        problems: by problem id.
        config: rules.
        arm: name of the arm, stored.
        round_: number of the round, stored.
        seed: which of too many rationales stay is drawn from it, not from the order.
        quarantined: ids of rationales that must not be trained on; see `star.leaks.quarantine`.

    Returns:
        One selection for each rationale, in the order of `rationales`.
    """
    reasons: dict[str, str] = {}
    kept, rates = _Kept(config), pass_rates(rationales, verdicts)
    # A hash order is random but independent of how the rationales arrived.
    for rationale in sorted(rationales, key=lambda row: derive_seed("select", seed, round_, row.id)):
        reason = (
            _fault(rationale, verdicts[rationale.id], problems[rationale.problem_id])
            or ("quarantine" if rationale.id in quarantined else "")
            or _out_of_band(rates.get(rationale.problem_id), config)
            or kept.admit(rationale)
        )
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


def pass_rates(rationales: Iterable[Rationale], verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """Share of right ones among a problem's plain samples, by problem id; undecided ones count for nothing."""
    return {problem_id: n_right / n for problem_id, (n, n_right) in _tally(rationales, verdicts).items()}


def _tally(rationales: Iterable[Rationale], verdicts: Mapping[str, Verdict]) -> dict[str, tuple[int, int]]:
    """Decided plain samples of each problem, and the right ones among them."""
    found: dict[str, tuple[int, int]] = {}
    for row in rationales:
        status = verdicts[row.id].status
        if row.origin is Origin.SAMPLED and status is not Status.UNDECIDED:
            n, n_right = found.get(row.problem_id, (0, 0))
            found[row.problem_id] = (n + 1, n_right + (status is Status.CORRECT))
    return found


def copies(rates: Mapping[str, float], problem_id: str, config: SelectionConfig) -> int:
    """How often the rationales of a problem are trained on: from once where every sample is right to `max_copies`."""
    return 1 + round((config.max_copies - 1) * (1 - rates.get(problem_id, 1.0)))


def replayed(
    kept: Sequence[Rationale], earlier: Iterable[Rationale], config: SelectionConfig, *, round_: int, seed: int
) -> list[Rationale]:
    """Rationales of earlier rounds that fill a round up to `min_rows`, if there are enough.

    Those of problems that the round has none of come first, then those of later rounds; the caps and the rules
    against duplicates hold over old and new together.

    Args:
        kept: what the round itself keeps.
        earlier: what earlier rounds kept, in any order; leave out what was put into quarantine since.
        config: rules.
        round_: number of the round.
        seed: ties are drawn from it, not from the order.
    """
    missing = config.min_rows - len(kept)
    if missing <= 0:
        return []
    covered, admitted = {row.problem_id for row in kept}, _Kept(config)
    for row in kept:
        admitted.admit(row)
    found: list[Rationale] = []
    for row in sorted(
        earlier,
        key=lambda row: (row.problem_id in covered, -row.made_by.round, derive_seed("replay", seed, round_, row.id)),
    ):
        if len(found) < missing and not admitted.admit(row):
            found.append(row)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """How many ways to an answer a policy still knows; both fall when a policy only repeats itself."""

    n_solved: int
    """Problems with a right plain sample."""
    equation_lists: float
    """Distinct equation lists among the right samples of a solved problem, on average; 0 if none is."""
    pass_at_1: float
    pass_at_k: float
    """Over the problems with `k` decided samples. Close to `pass_at_1`, sampling more buys nothing."""
    k: int

    def is_low(self, config: SelectionConfig) -> bool:
        """Whether the solved problems have too few ways to their answers."""
        return self.n_solved > 0 and self.equation_lists < config.min_equation_lists


def diversity(batches: Iterable[tuple[Sequence[Rationale], Mapping[str, Verdict]]], k: int) -> Diversity:
    """Measure the plain samples of a round.

    Args:
        batches: rationales and their verdicts by id, all of a problem in one batch.
        k: at most the samples of a problem.
    """
    n_solved = n_lists = n_tried = 0
    at_1 = at_k = 0.0
    for rationales, verdicts in batches:
        right: dict[str, list[Rationale]] = defaultdict(list)
        for row in rationales:
            if row.origin is Origin.SAMPLED and verdicts[row.id].status is Status.CORRECT:
                right[row.problem_id].append(row)
        n_solved += len(right)
        # One sample is one list, whatever its equations.
        n_lists += sum(1 if len(rows) == 1 else len({equation_list(row.steps) for row in rows})
                       for rows in right.values())  # fmt: skip
        tally = [(n, n_right) for n, n_right in _tally(rationales, verdicts).values() if n >= k]
        n_tried += len(tally)
        at_1 += sum(pass_at_k(n, n_right, 1) for n, n_right in tally)
        at_k += sum(pass_at_k(n, n_right, k) for n, n_right in tally)
    return Diversity(
        n_solved=n_solved,
        equation_lists=n_lists / n_solved if n_solved else 0.0,
        pass_at_1=at_1 / n_tried if n_tried else 0.0,
        pass_at_k=at_k / n_tried if n_tried else 0.0,
        k=k,
    )
