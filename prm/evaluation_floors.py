"""Floors: what one gets without a PRM, to be printed beside the figures of every PRM.

"Wrong final answer, so blame the middle step" has a ProcessBench F1 of 32.9 on average, above several published 7B
PRMs; words alone tell right from wrong steps of PRM800K with an AUC of 0.64.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from prm.evaluation import FirstErrorScores, first_error_scores

_WORD = re.compile(r"\w+|[^\w\s]")
_BUCKETS = 1 << 14


def always_correct(gold: Sequence[int]) -> FirstErrorScores:
    """First-error scores of naming no error, ever."""
    return first_error_scores(gold, [-1] * len(gold))


def coin(gold: Sequence[int], n_steps: Sequence[int]) -> FirstErrorScores:
    """Expected scores of a fair coin for whether there is an error, and a uniform draw for where."""
    chances = [1 / n for truth, n in zip(gold, n_steps, strict=True) if truth >= 0]
    wrong = 50 * sum(chances) / len(chances) if chances else math.nan
    return FirstErrorScores(wrong, 50.0 if len(chances) < len(gold) else math.nan)


def answer_oracle(gold: Sequence[int], n_steps: Sequence[int], outcomes: Sequence[bool]) -> FirstErrorScores:
    """Scores of naming the middle step wherever the final answer is wrong, and no step elsewhere."""
    predicted = [-1 if right else n // 2 for n, right in zip(n_steps, outcomes, strict=True)]
    return first_error_scores(gold, predicted)


class BagOfWords:
    """Logistic regression on the words of a step and its place, fitted by L-BFGS; deterministic.

    Args:
        l2: strength of the penalty on the squared weights.
    """

    def __init__(self, l2: float = 1e-3) -> None:
        self.l2 = l2
        self._weights: Any = None

    def fit(self, steps: Sequence[str], places: Sequence[int], labels: Sequence[float]) -> BagOfWords:
        """Fit to steps, their 0-based places in their solutions, and their labels in [0, 1]."""
        import torch

        features, targets = _features(steps, places), torch.tensor(labels, dtype=torch.float32)
        weights = torch.zeros(_BUCKETS + 1, 1, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=40, line_search_fn="strong_wolfe")

        def closure() -> float:
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(_logits(features, weights), targets)
            loss = loss + self.l2 * weights[1:].square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.item()

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        self._weights = weights.detach()
        return self

    def score(self, steps: Sequence[str], places: Sequence[int]) -> list[float]:
        """Probability that each step is right."""
        return [float(value) for value in _logits(_features(steps, places), self._weights).sigmoid()]


def _features(steps: Sequence[str], places: Sequence[int]) -> tuple[Any, Any, Any]:
    """Hashed words, single and in pairs, of each step: indices, offsets and weights of an embedding bag."""
    import torch

    indices: list[int] = []
    offsets: list[int] = []
    weights: list[float] = []
    for step, place in zip(steps, places, strict=True):
        words = _WORD.findall(step.lower())
        names = {*words, *map(" ".join, pairwise(words)), f"place {min(place, 20)}"}
        found = sorted({1 + zlib.crc32(name.encode("utf-8", "surrogatepass")) % _BUCKETS for name in names})
        offsets.append(len(indices))
        indices += [0, *found]  # Bucket 0 is the intercept.
        weights += [1.0, *[len(found) ** -0.5] * len(found)]
    return torch.tensor(indices), torch.tensor(offsets), torch.tensor(weights)


def _logits(features: tuple[Any, Any, Any], weights: Any) -> Any:
    import torch

    indices, offsets, counts = features
    return torch.nn.functional.embedding_bag(indices, weights, offsets, mode="sum", per_sample_weights=counts)[:, 0]
