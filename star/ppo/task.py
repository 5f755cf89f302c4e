"""What PPO trains on and by whose judgement, checked before anything is spent, and the held-out measurement."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from data.errors import UserError
from data.ids import content_id, derive_seed
from data.prompts import PromptTemplate
from data.records import FinishReason, Problem, Status
from star.checkpoints import LoadedModel
from star.generation.base import Completion, Generator, Request, SamplingParams
from star.ppo.config import PpoConfig, check_sampling
from star.ppo.judging import StepScorer, Verify, check_decided, verify_texts
from star.ppo.layouts import Layout
from star.ppo.rollouts import Drawing
from star.ranks import ALONE, Ranks

EngineMaker = Callable[[Layout, int], Generator]
"""Gives an engine that holds the layout's policy as it is now; the number is the iteration. The caller closes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Problems and judges of one PPO run."""

    problems: Sequence[Problem]
    heldout: Sequence[Problem]
    """For the gate; none of them is in `problems`."""
    template: PromptTemplate
    sampling: SamplingParams
    scorer: StepScorer | None = None
    """Scores steps; needed where `process_weight` is above 0."""
    scorer_revision: str = ""
    """Hash of what the scorer's opinions depend on: a run that was begun with another scorer is not gone on with."""
    verify: Verify = verify_texts
    engine: EngineMaker | None = None
    """What draws; none: the policy itself, in this process."""
    seed: int = 0

    def check(self, config: PpoConfig) -> None:
        """Refuse what cannot be trained on or measured.

        Raises:
            UserError: no problems, no held-out problems or some that are trained on, no scorer, or a biased sampler.
        """
        check_sampling(self.sampling, config)
        if not self.problems or not self.heldout:
            raise UserError(
                "PPO needs problems to train on and held-out ones, with gold answers, for its gate.", "Give both."
            )
        shared = {problem.id for problem in self.problems} & {problem.id for problem in self.heldout}
        if shared:
            raise UserError(f"{len(shared)} held-out problems are trained on, e.g. {min(shared)}.", "Keep them apart.")
        if config.process_weight and self.scorer is None:
            raise UserError("there is no step scorer.", "Give one, or set `process_weight: 0` for outcome rewards.")

    def key(self, loaded: LoadedModel, config: PpoConfig) -> str:
        """Hash of what the run's numbers depend on; verifier and engine are the caller's to keep."""
        # Nothing depends on the number of iterations, so a run can be made longer.
        return content_id(
            "ppo",
            loaded.revision,
            config.model_dump_json(exclude={"iterations"}),
            self.sampling.to_json(),
            self.template.hash(),
            str(self.seed),
            self.scorer_revision,
            *(problem.id for problem in self.problems),
            "heldout",
            *(problem.id for problem in self.heldout),
        )

    def problems_of(self, iteration: int, size: int) -> list[Problem]:
        """The next `size` problems, or fewer: each pass over all of them is in an order of its own."""
        n = len(self.problems)
        start, end = iteration * size, (iteration + 1) * size
        found: list[Problem] = []
        for number in range(start // n, (end - 1) // n + 1):
            order = random.Random(derive_seed("ppo pass", self.seed, number)).sample(range(n), n)
            found += [self.problems[at] for at in order[max(0, start - number * n) : end - number * n]]
        # A problem that two passes share would be drawn with the same seeds twice.
        return list({problem.id: problem for problem in found}.values())

    def drawing(self, config: PpoConfig) -> Drawing:
        """How responses are drawn."""
        return Drawing(
            template=self.template,
            sampling=self.sampling,
            n=config.samples_per_problem,
            seed=self.seed,
            min_tokens=config.min_response_tokens,
        )

    def heldout_accuracy(self, engine: Generator, config: PpoConfig, ranks: Ranks = ALONE) -> float:
        """Share of right greedy answers among those to held-out problems that could be decided.

        Args:
            engine: holds the policy.
            config: what share may stay undecided.
            ranks: each process answers its part; the first checks the answers.

        Raises:
            UserError: nothing or too little could be decided.
        """
        greedy = replace(self.sampling, temperature=0.0)
        requests = [
            Request(
                id=f"heldout-{problem.id}",
                prompt=self.template.render(problem),
                seed=derive_seed("ppo heldout", self.seed, problem.id),
                sampling=greedy,
            )
            for problem in ranks.span(self.heldout)
        ]
        completions = ranks.joint(list(engine.generate(requests)))
        return ranks.decided(lambda: self._accuracy(completions, config))

    def _accuracy(self, completions: Sequence[Completion], config: PpoConfig) -> float:
        whole = [
            (problem, completion.text)
            for problem, completion in zip(self.heldout, completions, strict=True)
            if completion.finish_reason is FinishReason.STOP
        ]
        statuses = list(self.verify(whole))
        # What the engine could not answer was not decided; what was cut off was not solved.
        failed = sum(completion.finish_reason is FinishReason.ERROR for completion in completions)
        cut = len(completions) - failed - len(whole)
        statuses += [Status.UNDECIDED] * failed + [Status.NO_ANSWER] * cut
        check_decided(statuses, config)
        decided = [status for status in statuses if status is not Status.UNDECIDED]
        return decided.count(Status.CORRECT) / len(decided)
