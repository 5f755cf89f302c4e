"""The PRM of a run: trained on the labels of the run's own rationales, judged on its dev problems, and put to use.

Its labels are those of `pipelines.stages.prm_rows`. It scores the dataset's rationales, and chooses among samples of
the test problems, beside a majority vote and, where `prm.outcome_model` has steps, an outcome model. Problems whose
solutions are programs are left out throughout: their steps have no labels, and two programs are never the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.errors import UserError
from data.ids import content_id
from data.records import Kind, Problem, Rationale, Status, StepScores
from pipelines.report.judged import JUDGED, held_out_rationales
from pipelines.stages.kept import SHARD, kept_rationales
from pipelines.stages.policy import Policy
from pipelines.stages.prm_rows import run_labels
from pipelines.stages.prm_training import OUTCOME_MODEL, PRM, PrmTraining, outcome_config, prm_seed
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, sample
from prm.aggregate import Reading
from prm.evaluation import BestOfN, Candidate, best_of_n_curve, choose
from prm.scoring.base import ScoreItem, Scorer
from verifiers.metrics import Interval, paired_interval

if TYPE_CHECKING:
    from prm.training_fit import Sample

Scored = tuple[Sequence[Sequence[Candidate]], Reading]
"""Candidates of each problem with their scores, and how these are read."""


@dataclass(frozen=True, slots=True)
class PrmStage:
    """Training, judging and use of the PRM of one run."""

    context: Context
    start: Policy
    """The policy whose samples it is to judge, and the backbone that it begins with."""
    dev: Sequence[Problem]
    test: Sequence[Problem]

    def run(self) -> Scorer:
        """Train and use the PRM, or read what was done.

        Raises:
            UserError: there are no labels to train on.
        """
        from prm.training_rows import split_by_problem

        run, config = self.context.run, self.context.recipe.prm
        # Samples to choose from: of the dev problems to fit the reading by, of the test problems to report.
        dev, test = (self._candidates(place, problems) for place, problems in enumerate((self.dev, self.test)))
        self.start.release()
        solutions, agreement = run_labels(self.context)
        if not solutions:
            raise UserError(
                "no solution of this run has a label that its PRM could learn from.",
                "Look at the samples, or run anew with prm.enabled=false.",
            )
        run.note("label_agreement", agreement)
        training = PrmTraining(self.context, self.start, PRM, config, solutions, dev)
        training.run()
        outcome = None
        if config.outcome_model.steps:
            rival = replace(training, name=OUTCOME_MODEL, config=outcome_config(config))
            rival.run()
            outcome = rival.scorer()
        # Loaded when nothing is trained any more.
        scorer = training.scorer()
        with run.stage("prm · score"):
            self._score(scorer, PRM, kept_rationales(run, "star"))
            _, held = split_by_problem(solutions, config.dev_share, seed=prm_seed(self.context))
            self._score(scorer, JUDGED, held_out_rationales(run, {row.problem for row in held}))
            self._report(scorer, outcome, test)
        return scorer

    def _candidates(self, place: int, problems: Sequence[Problem]) -> list[list[Sample]]:
        """Checked samples of each problem, drawn by the policy."""
        from prm.training_fit import Sample

        recipe = self.context.recipe
        levels = set(recipe.target_difficulties)
        # Where the sources name their levels differently, every problem is a target.
        problems = [problem for problem in problems if problem.kind is not Kind.CODE]
        problems = [problem for problem in problems if problem.difficulty in levels] or problems
        n = recipe.prm.samples
        draw = Draw(PRM, self.start.round + 1, "pilot", n, recipe.sampling.params(temperature=1.0), place)
        rows = sample(self.context, self.start, draw, problems, len(problems))
        return [
            [
                Sample(problem=problem.prompt, steps=row.steps, answer=row.answer,
                       correct=verdict.status is Status.CORRECT)
                # What could not be checked is neither right nor wrong.
                for row, verdict in group if verdict.status is not Status.UNDECIDED
            ]
            for problem, group in zip(problems, batched(rows, n), strict=True)
        ]  # fmt: skip

    def _score(self, scorer: Scorer, name: str, rationales: Sequence[Rationale]) -> None:
        """Store the PRM's scores of rationales, in units of that name."""
        run = self.context.run
        problems = {problem.id: problem for problem in run.table("problems")}

        def compute(shard: Sequence[Rationale]) -> list[StepScores]:
            items = [ScoreItem(problems[row.problem_id].prompt, row.steps, row.id) for row in shard]
            return [found for found in scorer.score_batch(items) if found.scores]

        for place, shard in enumerate(batched(rationales, SHARD)):
            key = content_id("score", scorer.revision, CODE_VERSION, *(row.id for row in shard))
            run.unit("step_scores", f"{name}-{place:05d}", key, partial(compute, shard))

    def _report(self, scorer: Scorer, outcome: Scorer | None, test: Sequence[Sequence[Sample]]) -> None:
        """Note what choosing among samples of the test problems gives; a resumed run does not score them again."""
        from prm.training_fit import scored_candidates

        samples, run, scorers = [group for group in test if group], self.context.run, [scorer]
        if outcome:
            scorers.append(outcome)
        texts = (str(one) for group in samples for one in group)
        key = content_id("best of n", *(one.revision for one in scorers), CODE_VERSION, *texts)
        if run.dry or not samples or run.manifest["notes"].get("best_of_n", {}).get("key") == key:
            return
        scored = [(scored_candidates(one, samples), one.reading) for one in scorers]
        run.note("best_of_n", {"key": key, **choice_facts(self.context.recipe.prm.samples, *scored)})


def choice_facts(n: int, prm: Scored, outcome: Scored | None = None) -> dict[str, Any]:
    """What choosing among up to `n` candidates of a problem gives, in percent of the problems; plain JSON.

    Args:
        n: the most candidates of a problem.
        prm: the candidates of each problem as the PRM scores them, and how its scores are read.
        outcome: the same candidates as an outcome model scores them.

    Returns:
        `curve`, a row for each number of candidates, and `gain`, vote weighted by the PRM less majority vote, paired;
        under `outcome` its own `curve`, and `gain`, the PRM's vote less the outcome model's.
    """
    groups, reading = prm
    votes = [choose(group, reading) for group in groups]
    weighted = [row.weighted for row in votes]
    facts = {"problems": len(groups), **_curve(n, prm),
             "gain": _rounded(paired_interval(weighted, [row.majority for row in votes]))}  # fmt: skip
    if outcome:
        rivals = [choose(group, outcome[1]).weighted for group in outcome[0]]
        facts["outcome"] = {**_curve(n, outcome), "gain": _rounded(paired_interval(weighted, rivals))}
    return facts


def _curve(n: int, scored: Scored) -> dict[str, Any]:
    groups, reading = scored
    sizes = sorted({size for size in (1, 2, 4, 8, 16, 32, 64) if size < n} | {n})
    rows = best_of_n_curve(groups, reading, sizes).items()
    return {"reading": reading.model_dump(mode="json"), "curve": [{"n": size, **_rounded(row)} for size, row in rows]}


def _rounded(row: BestOfN | Interval) -> dict[str, float]:
    return {name: round(value, 2) for name, value in row._asdict().items()}
