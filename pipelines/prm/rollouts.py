"""Rollouts: how often a generator ends right when it goes on from the first k steps of a solution.

The prompt is the template's with the steps so far behind it, so it must be one after which the model writes steps; a
model with a chat template reads them at the end of its turn. A solution that has stated its answer is not continued:
each of its rollouts is that answer. The draws depend on seed, problem, steps and number alone, not on the order of the
rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from data.config import Config
from data.ids import content_id, derive_seed
from data.prompts import PromptTemplate
from data.records import FinishReason, Problem, Status
from pipelines.recipe import EngineConfig, ModelConfig, SamplingConfig
from pipelines.stages.verification import check_texts
from prm.labels import (
    Attempt,
    BayesianConfig,
    Prefix,
)
from star.generation import Generator, Request

_OUTCOMES = {Status.CORRECT: True, Status.INCORRECT: False, Status.NO_ANSWER: False}
"""By verdict; an undecided rollout is no failure, and has none."""


class RolloutSampling(SamplingConfig):
    """How the rollouts are drawn."""

    n: int = Field(default=8, ge=1)
    """Rollouts from each step, or from each step that the bisection looks at."""


class RolloutSettings(Config):
    """Who continues the solutions, and how the outcomes become labels."""

    model: ModelConfig
    engine: EngineConfig = EngineConfig()
    prompt: str = "math"
    """Prompt template: `arithmetic`, `math`, `math_fewshot`, ..., or the path of a .jinja file."""
    sampling: RolloutSampling = RolloutSampling()
    method: Literal["every_step", "bisect", "bayesian"] = "every_step"
    """`every_step`: Math-Shepherd. `bisect`: OmegaPRM's binary search. `bayesian`: each rollout where it tells most."""
    hard: Literal["no", "any", "half"] = "no"
    """For `every_step`: labels 0 or 1, right if any or half of the rollouts are; the counts are kept anyway."""
    bayesian: BayesianConfig = BayesianConfig()
    separator: str = "\n"
    """Ends each step in the prompt."""
    max_undecided_share: float = Field(default=0.05, ge=0, le=1)
    """Nothing is written if more than this share of the rollouts could not be drawn or checked."""
    seed: int = 0


class Rollouts:
    """Continuations by a generator, checked against the problems' answers.

    Args:
        generator: draws them.
        settings: prompt, sampling and seed.
    """

    def __init__(self, generator: Generator, settings: RolloutSettings) -> None:
        self.generator, self.settings, self.template = generator, settings, PromptTemplate(settings.prompt)
        self.golds: dict[str, str] = {}
        """The right answer of each problem."""
        self.ended: dict[Prefix, bool | None] = {}
        """Whole solutions that state an answer, and whether it is right."""
        self.counts: Counter[str] = Counter()
        """Rollouts that were `drawn`, and of them those `undecided`."""
        self._numbers: Counter[Prefix] = Counter()

    def __call__(self, prefixes: Sequence[Prefix], n: int) -> list[list[bool | None]]:
        """Outcomes of `n` rollouts from each prefix; solutions that share one share them. See `prm.labels.Rollout`."""
        owners = [prefix for prefix in dict.fromkeys(prefixes) if prefix not in self.ended for _ in range(n)]
        completions = list(self.generator.generate([self._request(prefix) for prefix in owners]))
        texts = [self._so_far(one) + done.text for one, done in zip(owners, completions, strict=True)]
        found: dict[Prefix, list[bool | None]] = {}
        reasons = [done.finish_reason for done in completions]
        for prefix, outcome in zip(owners, self.check(owners, texts, reasons), strict=True):
            found.setdefault(prefix, []).append(outcome)
        self.counts["drawn"] += len(owners)
        return [[self.ended[prefix]] * n if prefix in self.ended else found[prefix] for prefix in prefixes]

    def restart(self) -> None:
        """Number the rollouts of every prefix from 0 again: what is drawn later does not depend on what was before."""
        self._numbers.clear()

    def check(
        self, owners: Sequence[Prefix], texts: Sequence[str], reasons: Sequence[FinishReason]
    ) -> list[bool | None]:
        """Whether each whole text ends with its problem's answer; None where that could not be decided."""
        problems = [self._problem(prefix.problem) for prefix in owners]
        outcomes = [_OUTCOMES.get(verdict.status) for verdict in check_texts(problems, texts, reasons)]
        self.counts["undecided"] += outcomes.count(None)
        return outcomes

    def note_endings(self, attempts: Sequence[Attempt]) -> None:
        """Take note of whether solutions that state an answer are right."""
        wholes = [attempt.prefix(len(attempt.steps)) for attempt in attempts]
        problems = [self._problem(attempt.problem) for attempt in attempts]
        texts = [self._so_far(whole) for whole in wholes]
        for whole, verdict in zip(wholes, check_texts(problems, texts, [FinishReason.STOP] * len(texts)), strict=True):
            if verdict.status is not Status.NO_ANSWER:
                self.ended[whole] = _OUTCOMES.get(verdict.status)

    def _problem(self, prompt: str) -> Problem:
        return Problem.create(prompt=prompt, answer=self.golds[prompt], source="rollouts", split="train")

    def _so_far(self, prefix: Prefix) -> str:
        return "".join(step.strip() + self.settings.separator for step in prefix.steps)

    def _request(self, prefix: Prefix) -> Request:
        number = self._numbers[prefix]
        self._numbers[prefix] += 1
        key = content_id("prefix", prefix.problem, *prefix.steps)
        prompt = self.template.render(self._problem(prefix.problem))
        between = "" if prompt.endswith("\n") or not prefix.steps else "\n"
        return Request(
            id=f"{key}/{number}",
            prompt=prompt + between + self._so_far(prefix),
            seed=derive_seed("rollouts", self.settings.seed, key, number),
            sampling=self.settings.sampling.params(),
        )
