"""B-STaR: choose temperature and number of samples by how much a round would get to train on (arXiv 2412.17256).

The balance score of a problem with n samples, n' of them right and distinct, is min(n' / target, 1) * n' / n: many
right samples, without waste. Both factors fall as a policy grows narrow, so the best setting changes over the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from data.config import Config
from data.records import Rationale, Status, Verdict


class BalanceConfig(Config):
    """Which settings a round may choose from; without any, it samples as `sampling` says."""

    temperatures: list[Annotated[float, Field(ge=0)]] = Field(default_factory=list)
    """Candidates; empty switches the choice off."""
    n: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    """Candidate numbers of samples; empty means that of `sampling`."""
    target: int = Field(default=8, ge=1)
    """Right, distinct samples of a problem beyond which more are worth nothing."""
    problems: int = Field(default=64, ge=1)
    """Problems, drawn by hash, that the candidates are tried on each round."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """A candidate."""

    temperature: float
    n: int


def balance_score(n: int, n_right: int, target: int) -> float:
    """Score of one problem, in [0, 1].

    Args:
        n: samples, at least one.
        n_right: distinct right ones among them.
        target: see `BalanceConfig.target`.
    """
    return min(n_right / target, 1.0) * n_right / n


def balance_scores(
    samples: Mapping[float, Sequence[Sequence[Rationale]]], verdicts: Mapping[str, Verdict], config: BalanceConfig
) -> dict[Setting, float]:
    """Mean score of every candidate.

    Args:
        samples: temperature to the samples of each problem, as many as the largest candidate number.
        verdicts: by rationale id.
        config: candidate numbers and target. A smaller number is judged by the first samples of the larger.
    """
    return {
        Setting(temperature, n): sum(_of_problem(rows[:n], verdicts, config.target) for rows in drawn) / len(drawn)
        for temperature, drawn in samples.items()
        for n in config.n
    }


def _of_problem(rows: Sequence[Rationale], verdicts: Mapping[str, Verdict], target: int) -> float:
    right = {" ".join(row.text.split()) for row in rows if verdicts[row.id].status is Status.CORRECT}
    return balance_score(len(rows), len(right), target)


def best_setting(scores: Mapping[Setting, float]) -> Setting:
    """The candidate of the highest score; of equal ones that with fewer samples, then the cooler."""
    return min(scores, key=lambda setting: (-scores[setting], setting.n, setting.temperature))
