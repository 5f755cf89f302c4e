"""Labelled solutions as training rows: targets and weights of each step, a split by problem, batches of equal cost.

Whether a step counts is a weight, what it is taught a distribution over the classes; the two never share a number, so
"no label" cannot turn into "right".
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.ids import content_id
from prm.encode import EncodedSteps, StepEncoder, encode_all
from prm.labels import LabelledSolution
from prm.training_config import PrmTrainingConfig


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One solution as the training sees it."""

    encoded: EncodedSteps
    targets: list[list[float]]
    """[K, C]: for each step a distribution over the classes; wrong is the first."""
    weights: list[float]
    """[K]: 0 for a step without a label."""
    outcome: bool | None
    """Whether all steps are right, as the final answer says; None where nobody knows."""
    first_error: int
    """0-based first wrong step by the labels, -1 for none: what evaluation during the training compares with."""

    chances: list[float]
    """[K]: chance of each step to be right, so far as it may be imitated; 0 where nobody knows."""

    @property
    def right_tokens(self) -> list[tuple[int, float]]:
        """Index into `encoded.ids`, and the step's chance, of all tokens of the steps that may be imitated."""
        starts = [self.encoded.prompt_length, *(end + 1 for end in self.encoded.step_ends)]
        spans = zip(starts, self.encoded.step_ends, self.chances, strict=False)
        return [(at, chance) for start, end, chance in spans if chance for at in range(start, end + 1)]


def prepare_rows(
    encoder: StepEncoder,
    solutions: Iterable[LabelledSolution],
    config: PrmTrainingConfig,
    counts: Counter[str],
    *,
    n_classes: int = 2,
) -> list[TrainingRow]:
    """Encode solutions and turn their labels into targets.

    Args:
        encoder: the model's own.
        solutions: labelled solutions.
        config: what is learned, and what becomes of steps after the first error.
        counts: `encoded`, `unlabelled` (left out: nothing to learn from) and the encoder's reasons are added to it.
        n_classes: 2, or 3 to keep human neutral ratings apart.
    """
    rows = []
    for solution, encoded in encode_all(encoder, solutions, counts):
        if config.target == "outcome":
            targets, weights = _outcome_targets(solution, n_classes)
            chances = [float(bool(solution.outcome))] * len(targets)
        else:
            targets, weights = _step_targets(solution, config, n_classes)
            chances = [target[-1] * weight for target, weight in zip(targets, weights, strict=True)]
        # A right answer by a wrong step: the joint loss would call every step right.
        outcome = None if solution.outcome and solution.first_error >= 0 else solution.outcome
        taught_by_outcome = config.outcome_weight > 0 and outcome is not None
        if not any(weights) and not taught_by_outcome:
            counts["unlabelled"] += 1
            continue
        rows.append(TrainingRow(encoded, targets, weights, outcome, solution.first_error, chances))
    return rows


def _distribution(value: float, n_classes: int) -> list[float]:
    return [1 - value, *[0.0] * (n_classes - 2), value]


def _outcome_targets(solution: LabelledSolution, n_classes: int) -> tuple[list[list[float]], list[float]]:
    """Every step is shown the outcome, only the last one counts."""
    targets = [_distribution(float(bool(solution.outcome)), n_classes)] * len(solution.steps)
    return targets, [*[0.0] * (len(targets) - 1), float(solution.outcome is not None)]


def _step_targets(
    solution: LabelledSolution, config: PrmTrainingConfig, n_classes: int
) -> tuple[list[list[float]], list[float]]:
    targets, weights = [], []
    for step, (value, rating) in enumerate(zip(solution.values, solution.ratings, strict=True)):
        if 0 <= solution.first_error < step and config.after_error != "keep":
            value, rating = (0.0, None) if config.after_error == "wrong" else (None, None)
        if n_classes == 3 and rating is not None:
            targets.append([float(rating == kind) for kind in (-1, 0, 1)])
        else:
            targets.append(_distribution(0.5 if value is None else value, n_classes))
        weights.append(float(value is not None or (n_classes == 3 and rating is not None)))
    return targets, weights


def split_by_problem(
    solutions: Iterable[LabelledSolution], dev_share: float, *, seed: int = 0
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """Training and dev solutions; all solutions of one problem are on one side, whatever else is in the set.

    Args:
        solutions: labelled solutions.
        dev_share: share of the problems, in [0, 1], that are dev.
        seed: another seed is another split.
    """
    parts: tuple[list[LabelledSolution], list[LabelledSolution]] = ([], [])
    for solution in solutions:
        place = int(content_id("dev split", str(seed), solution.problem), 16) / 2**64
        parts[place < dev_share].append(solution)
    return parts


def token_batches(lengths: Sequence[int], indices: Iterable[int], budget: int) -> list[list[int]]:
    """Cut indices, in order, into batches whose padded size (rows x longest) is within the budget, or of one row."""
    batches: list[list[int]] = []
    longest = 0
    for index in indices:
        longest = max(longest, lengths[index])
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    return batches


def batch_order(lengths: Sequence[int], budget: int, steps: int, seed: int) -> list[list[int]]:
    """Row indices of every optimizer step.

    Each pass shuffles the rows, sorts runs of about 16 batches by length (little padding, still random), cuts them to
    the token budget and shuffles the batches.
    """
    rng = random.Random(seed)
    window = max(1, 16 * budget * len(lengths) // max(1, sum(lengths)))
    order: list[list[int]] = []
    while len(order) < steps:
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        batches = []
        for start in range(0, len(rows), window):
            run = sorted(rows[start : start + window], key=lambda row: lengths[row])
            batches += token_batches(lengths, run, budget)
        rng.shuffle(batches)
        order += batches
    return order[:steps]
