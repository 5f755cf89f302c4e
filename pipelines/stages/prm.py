"""The PRM of a run: trained on the labels of the run's own rationales, judged on its dev problems, and put to use.

Its labels are those of `pipelines.stages.prm_rows`. It scores the dataset's rationales, and chooses among samples of
the test problems. Problems whose solutions are programs are left out throughout: their steps have no labels, and two
programs are never the same answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.errors import UserError
from data.ids import content_id, derive_seed
from data.model_folder import weights_revision
from data.records import Kind, Problem, Rationale, Status, StepScores
from pipelines.progress import say, track
from pipelines.report.judged import JUDGED, held_out_rationales
from pipelines.stages.kept import SHARD, kept_rationales
from pipelines.stages.policy import Policy
from pipelines.stages.prm_rows import run_labels
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, sample
from prm import load_scorer
from prm.labels import LabelledSolution
from prm.scoring.base import ScoreItem, Scorer
from prm.training_state import TrainingState
from verifiers.metrics import Interval, paired_interval

if TYPE_CHECKING:
    from prm.evaluation import BestOfN
    from prm.model import LoadedPrm
    from prm.training import PrmTrainingReport
    from prm.training_fit import Sample
    from prm.training_rows import TrainingRow

PRM = "prm"


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

        run = self.context.run
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
        key, config = self._key(solutions, dev), self.context.recipe.prm
        state = TrainingState(
            run.root / "checkpoints" / f"{PRM}.training.safetensors", key=key, every_s=config.save_every_s
        )
        with run.stage("prm · train"):
            run.checkpoint(PRM, key, lambda folder: self._make(folder, solutions, dev, state))
        if not run.dry:
            state.clear()
        scorer = load_scorer(str(run.root / "checkpoints" / PRM))
        with run.stage("prm · score"):
            self._score(scorer, PRM, kept_rationales(run, "star"))
            _, held = split_by_problem(solutions, config.dev_share, seed=self._seed)
            self._score(scorer, JUDGED, held_out_rationales(run, {row.problem for row in held}))
            self._report(scorer, test)
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

    def _key(self, solutions: Sequence[LabelledSolution], dev: Sequence[Sequence[Sample]]) -> str:
        texts = (f"{row.id} {row.values}" for row in solutions)
        chosen = (f"{place} {one}" for place, group in enumerate(dev) for one in group)
        return content_id("prm", self.start.revision, self.context.recipe.prm.model_dump_json(), CODE_VERSION,
                          str(self._seed), *texts, "dev", *chosen)  # fmt: skip

    @property
    def _seed(self) -> int:
        return derive_seed(self.context.recipe.seed, PRM)

    def _make(
        self,
        folder: Path,
        solutions: Sequence[LabelledSolution],
        dev: Sequence[Sequence[Sample]],
        state: TrainingState,
    ) -> dict[str, Any]:
        from prm.encode import EncoderConfig
        from prm.model import build_prm, save_prm
        from prm.training_fit import fit_prm
        from prm.training_rows import split_by_problem

        config, seed = self.context.recipe.prm, self._seed
        loaded = build_prm(self.start.path, config.model, EncoderConfig(), seed=seed, revision=self.start.hub_revision)
        loaded.config = loaded.config.model_copy(update={"base_model": self.start.name})
        train, held = split_by_problem(solutions, config.dev_share, seed=seed)
        # Where a solution goes wrong of which only the outcome is known, nobody can say.
        held = [row for row in held if row.is_labelled]
        report = self._train(loaded, train, held, state)
        fit_prm(loaded, held, [group for group in dev if group])
        save_prm(loaded, folder)
        return {
            "steps": report.steps,
            "rows": report.rows,
            "tokens": report.tokens,
            "losses": [report.losses[0], report.losses[-1]],
            "parent": self.start.revision,
            "parent_name": self.start.name,
            "sources": dict(Counter(row.source for row in train)),
            "blessed": loaded.config.blessed,
            "quality": _quality(loaded, held),
            "revision": weights_revision(folder),
        }

    def _train(
        self,
        loaded: LoadedPrm,
        train: Sequence[LabelledSolution],
        dev: Sequence[LabelledSolution],
        state: TrainingState,
    ) -> PrmTrainingReport:
        from prm.training import train_prm

        config, rows, held = self.context.recipe.prm, self._rows(loaded, train), self._rows(loaded, dev)
        with track("prm · train", config.steps) as bar:
            return train_prm(loaded, rows, config, seed=self._seed, dev=held, state=state,
                             on_step=lambda step, _, loss: bar.reach(step, f"loss {loss:.3f}"))  # fmt: skip

    def _rows(self, loaded: LoadedPrm, solutions: Sequence[LabelledSolution]) -> list[TrainingRow]:
        from prm.training_rows import prepare_rows

        counts: Counter[str] = Counter()
        rows = prepare_rows(loaded.encoder, solutions, self.context.recipe.prm, counts)
        del counts["encoded"]
        if counts:
            say(f"prm: not trained on: {dict(counts)}")
        return rows

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

    def _report(self, scorer: Scorer, test: Sequence[Sequence[Sample]]) -> None:
        """Note what choosing among samples of the test problems gives; a resumed run does not score them again."""
        from prm.evaluation import best_of_n_curve, choose
        from prm.training_fit import scored_candidates

        samples, run = [group for group in test if group], self.context.run
        key = content_id("best of n", scorer.revision, CODE_VERSION, *(str(one) for group in samples for one in group))
        if not samples or run.manifest["notes"].get("best_of_n", {}).get("key") == key:
            return
        groups, n = scored_candidates(scorer, samples), self.context.recipe.prm.samples
        sizes = sorted({size for size in (1, 2, 4, 8, 16, 32, 64) if size < n} | {n})
        curve = best_of_n_curve(groups, scorer.reading, sizes)
        chosen = [choose(group, scorer.reading) for group in groups]
        gain = paired_interval([row.weighted for row in chosen], [row.majority for row in chosen])
        run.note("best_of_n", {
            "key": key, "problems": len(groups), "reading": scorer.reading.model_dump(mode="json"),
            "curve": [{"n": size, **_rounded(row)} for size, row in curve.items()], "gain": _rounded(gain),
        })  # fmt: skip


def _rounded(row: BestOfN | Interval) -> dict[str, float]:
    return {name: round(value, 2) for name, value in row._asdict().items()}


def _quality(loaded: LoadedPrm, dev: Sequence[LabelledSolution]) -> dict[str, float | None]:
    """Step AUC, first-error F1 and calibration error on the labelled dev solutions."""
    from prm.evaluation import auc, calibration_error, first_error_scores
    from prm.scoring.implicit import scorer_of

    scorer = scorer_of(loaded)
    rows = [(row, found.scores) for row, found in zip(dev, scorer.score_batch(dev), strict=True) if found.scores]
    pairs = [(value, score) for row, scores in rows for value, score in zip(row.values, scores, strict=True)
             if value is not None]  # fmt: skip
    values, scores = [value for value, _ in pairs], [score for _, score in pairs]
    errors = first_error_scores(
        [row.first_error for row, _ in rows], [scorer.reading.first_error(scores) for _, scores in rows]
    )
    return {
        "solutions": len(rows),
        "step_auc": _number(auc([value > 0.5 for value in values], scores)),
        "first_error_f1": _number(errors.f1),
        "calibration_error": _number(calibration_error(values, scores)),
    }


def _number(value: float) -> float | None:
    """JSON has no NaN: a figure that cannot be measured, say because every label is right, is none."""
    return round(value, 4) if math.isfinite(value) else None
