"""From responses to rewards: the gold verdict, the scorer's opinion of each step, the credit form, the placement.

An undecided verdict is not a wrong answer: the response has no part in the loss. A truncated response gets a fixed
reward, or no part either; its last step is half a step, so it is never scored, and its answer never checked. A scorer
that answers with another number of steps is an error: scores are never cut or padded to fit.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from data.errors import UserError
from data.records import Kind, Problem, Status
from star.ppo.config import PpoConfig
from star.ppo.credit import step_rewards
from star.ppo.placement import place_rewards
from star.ppo.rollouts import Rollout

Verify = Callable[[Sequence[tuple[Problem, str]]], Sequence[Status]]
"""Gold verdicts of whole responses, in order."""
Solutions = Sequence[tuple[str, Sequence[str]]]
"""Problems with the steps of a response to each; those to one problem follow each other."""
StepScorer = Callable[[Solutions], Sequence[Sequence[float]]]
"""Of each solution one score a step, in [0, 1] but for the form `implicit`."""


class NonFiniteError(ValueError):
    """A number that training needs is NaN or infinite; says which, and of which problem."""


def one_by_one(score: Callable[[str, Sequence[str]], Sequence[float]]) -> StepScorer:
    """A function of one problem and its steps as a step scorer; a model is faster with all solutions at once."""
    return lambda solutions: [score(problem, steps) for problem, steps in solutions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A response that has a part in the loss."""

    rollout: Rollout
    rewards: tuple[float, ...]
    """[T], without the KL penalty."""
    solved: bool
    """The verifier said correct."""
    proxy: float
    """What the scorer's opinion came to: the sum of the step rewards, unweighted; 0 for a truncated response."""


def verify_texts(pairs: Sequence[tuple[Problem, str]]) -> list[Status]:
    """Verdicts of solutions by their final answers.

    Raises:
        UserError: a problem is a programming problem, which needs a verifier of its own.
    """
    from verifiers import check_answers

    if any(problem.kind is Kind.CODE for problem, _ in pairs):
        raise UserError("PPO's own verifier knows no programs.", "Pass `verify`, e.g. one made with `run_programs`.")
    kinds = {Kind.MATH: "text", Kind.CHOICE: "choice"}
    found: dict[int, Status] = {}
    for kind, name in kinds.items():
        places = [place for place, (problem, _) in enumerate(pairs) if problem.kind is kind]
        answers = [(pairs[place][0].answer, pairs[place][1]) for place in places]
        verdicts = check_answers(answers, kind=name) if answers else []
        found |= {place: verdict.status for place, verdict in zip(places, verdicts, strict=True)}
    return [found[place] for place in range(len(pairs))]


def judge(
    rollouts: Sequence[Rollout], config: PpoConfig, *, verify: Verify, scorer: StepScorer | None
) -> tuple[list[Judged], Counter[str]]:
    """Rewards of responses.

    Args:
        rollouts: of one iteration.
        config: credit form, weights and the rule for truncation.
        verify: gives the gold verdicts.
        scorer: gives the step scores; none where `process_weight` is 0.

    Returns:
        The responses that have a part in the loss, in order, and how many do not, by reason.

    Raises:
        UserError: nothing or too little could be decided, or the scorer's answer is of the wrong length or range.
        NonFiniteError: a score is NaN or infinite.
    """
    whole = [row for row in rollouts if not row.truncated]
    statuses = verify([(row.problem, row.text) for row in whole])
    check_decided(statuses, config)
    decided = {id(row): status for row, status in zip(whole, statuses, strict=True) if status is not Status.UNDECIDED}
    rates = _solve_rates(whole, statuses)
    scores = _scores([row for row in whole if id(row) in decided and row.steps], config, scorer)
    judged, dropped = list[Judged](), Counter[str]()
    for row in rollouts:
        if row.truncated and config.truncation == "drop":
            dropped["truncated"] += 1
        elif row.truncated:
            rewards = place_rewards(len(row.token_ids), [], [], config.truncation_reward)
            judged.append(Judged(rollout=row, rewards=tuple(rewards), solved=False, proxy=0.0))
        elif id(row) not in decided:
            dropped["undecided"] += 1
        else:
            solved = decided[id(row)] is Status.CORRECT
            found = scores.get(id(row))
            judged.append(_judged(row, config, found, solved=solved, start=rates[row.problem.id]))
    return judged, dropped


def _scores(rows: Sequence[Rollout], config: PpoConfig, scorer: StepScorer | None) -> dict[int, list[float]]:
    """The scorer's opinion of responses, by their identity; empty where it does not count."""
    if scorer is None or not config.process_weight or not rows:
        return {}
    found = scorer([(row.problem.prompt, row.steps) for row in rows])
    if len(found) != len(rows):
        raise UserError(f"the step scorer answered {len(found)} of {len(rows)} solutions.", "It must answer each.")
    return {id(row): _checked(scores, row, config) for row, scores in zip(rows, found, strict=True)}


def _judged(row: Rollout, config: PpoConfig, scores: list[float] | None, *, solved: bool, start: float) -> Judged:
    credited = [0.0] * len(row.steps)
    if scores is not None:
        credited = step_rewards(scores, config.credit, solved=solved, start=start)
    process = [config.process_weight * credit for credit in credited]
    final = config.outcome_weight * solved
    rewards = place_rewards(len(row.token_ids), row.step_ends, process, final)
    return Judged(rollout=row, rewards=tuple(rewards), solved=solved, proxy=sum(credited))


def _checked(scores: Sequence[float], row: Rollout, config: PpoConfig) -> list[float]:
    """The scores, if they are as many as steps, finite and in range."""
    if len(scores) != len(row.steps):
        raise UserError(
            f"the step scorer gave {len(scores)} scores for {len(row.steps)} steps of problem {row.problem.id}.",
            "It must give one score for each step it is shown.",
        )
    if not all(map(math.isfinite, scores)):
        raise NonFiniteError(f"the step scorer gave {list(scores)} for problem {row.problem.id}")
    if config.credit.form != "implicit" and not all(0 <= score <= 1 for score in scores):
        raise UserError(
            f"the step scorer gave {list(scores)} for problem {row.problem.id}, outside [0, 1].",
            "Give probabilities, or use `credit.form: implicit` for log-ratios.",
        )
    return list(scores)


def check_decided(statuses: Sequence[Status], config: PpoConfig) -> None:
    """Raise a UserError if no verdict, or too small a share of them, could be decided."""
    undecided = sum(status is Status.UNDECIDED for status in statuses)
    if statuses and undecided == len(statuses):
        raise UserError(
            f"not one of {undecided} verdicts could be decided: the verifier is out of order.",
            "Check a gold answer with `stepstar verify`; nothing was trained on this iteration.",
        )
    if undecided > config.max_undecided_share * len(statuses):
        raise UserError(
            f"{undecided} of {len(statuses)} verdicts could not be decided (limit {config.max_undecided_share:.0%}).",
            "Mend the verifier or the gold answers, or raise `max_undecided_share`.",
        )


def _solve_rates(rows: Sequence[Rollout], statuses: Sequence[Status]) -> dict[str, float]:
    """Share of right answers among the decided ones of each problem: the rate of success before any step."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for row, status in zip(rows, statuses, strict=True):
        if status is not Status.UNDECIDED:
            outcomes[row.problem.id].append(status is Status.CORRECT)
    return {problem: fmean(solved) for problem, solved in outcomes.items()}
