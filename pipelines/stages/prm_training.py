"""The training of a run's PRM, and of the outcome model that it is compared with, on the same solutions.

Both begin as the promoted policy and see the same rows, split in the same way; how they are read is chosen by the same
dev samples. The outcome model is told the final verdict of each solution and of no step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.ids import content_id, derive_seed
from data.model_folder import weights_revision
from pipelines.progress import say, track
from pipelines.recipe import PrmStageConfig
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context
from prm import load_scorer
from prm.labels import LabelledSolution
from prm.model_config import ModelForm
from prm.scoring.base import Scorer
from prm.training_state import TrainingState

if TYPE_CHECKING:
    from prm.model import LoadedPrm
    from prm.training import PrmTrainingReport
    from prm.training_fit import Sample
    from prm.training_rows import TrainingRow

PRM, OUTCOME_MODEL = "prm", "outcome-model"
"""Names of the checkpoints."""


def outcome_config(config: PrmStageConfig) -> PrmStageConfig:
    """The settings of the outcome model beside a PRM of these settings."""
    steps = config.outcome_model.steps
    return config.model_copy(
        update={
            "target": "outcome",
            "outcome_weight": 0.0,
            # One label a solution leaves nothing to rank.
            "loss": "cross_entropy",
            "model": ModelForm(**config.outcome_model.model_dump(exclude={"steps"})),
            "steps": steps,
            # As many looks at the dev rows, so that its best weights are found as well as the PRM's.
            "evaluate_every": max(1, config.evaluate_every * steps // config.steps),
        }
    )


def prm_seed(context: Context) -> int:
    """Seed of the split by problem, of a new head and of the order of the rows."""
    return derive_seed(context.recipe.seed, PRM)


@dataclass(frozen=True, slots=True)
class PrmTraining:
    """One of the two trainings."""

    context: Context
    start: Policy
    """The backbone that it begins with."""
    name: str
    """Of the checkpoint."""
    config: PrmStageConfig
    solutions: Sequence[LabelledSolution]
    dev: Sequence[Sequence[Sample]]
    """Samples of each dev problem, by which its reading is chosen."""

    def run(self) -> None:
        """Train, unless it is done."""
        run, key, folder = self.context.run, self._key(), self.context.run.root / "checkpoints"
        file = folder / f"{self.name}.training.safetensors"
        state = TrainingState(file, key=key, every_s=self.config.save_every_s)
        with run.stage(self._label):
            run.checkpoint(self.name, key, lambda target: self._make(target, state))
        if not run.dry:
            state.clear()

    def scorer(self) -> Scorer:
        """What was trained."""
        return load_scorer(str(self.context.run.root / "checkpoints" / self.name))

    @property
    def _label(self) -> str:
        return f"{self.name} · train"

    @property
    def _is_outcome(self) -> bool:
        return self.config.target == "outcome"

    def _key(self) -> str:
        # Whether there is an outcome model makes no other PRM.
        settings = self.config.model_dump_json(exclude={"outcome_model"})
        texts = (f"{row.id} {row.outcome if self._is_outcome else row.values}" for row in self.solutions)
        chosen = (f"{place} {one}" for place, group in enumerate(self.dev) for one in group)
        return content_id("prm", self.start.revision, settings, CODE_VERSION, str(prm_seed(self.context)), *texts,
                          "dev", *chosen)  # fmt: skip

    def _make(self, folder: Path, state: TrainingState) -> dict[str, Any]:
        from prm.encode import EncoderConfig
        from prm.model import build_prm, save_prm
        from prm.training_fit import fit_prm
        from prm.training_rows import split_by_problem

        config, seed = self.config, prm_seed(self.context)
        loaded = build_prm(self.start.path, config.model, EncoderConfig(), seed=seed, revision=self.start.hub_revision)
        loaded.config = loaded.config.model_copy(update={"base_model": self.start.name})
        train, held = split_by_problem(self.solutions, config.dev_share, seed=seed)
        # Where a solution goes wrong of which only the outcome is known, nobody can say.
        held = [row for row in held if row.is_labelled or self._is_outcome]
        report = self._train(loaded, train, held, state)
        # An outcome model's scores of single steps mean nothing: nothing is read off them.
        fit_prm(loaded, [] if self._is_outcome else held, [group for group in self.dev if group])
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
            **({} if self._is_outcome else {"quality": _quality(loaded, held)}),
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

        rows, held = self._rows(loaded, train), self._rows(loaded, dev)
        with track(self._label, self.config.steps) as bar:
            return train_prm(loaded, rows, self.config, seed=prm_seed(self.context), dev=held, state=state,
                             on_step=lambda step, _, loss: bar.reach(step, f"loss {loss:.3f}"))  # fmt: skip

    def _rows(self, loaded: LoadedPrm, solutions: Sequence[LabelledSolution]) -> list[TrainingRow]:
        from prm.training_rows import prepare_rows

        counts: Counter[str] = Counter()
        rows = prepare_rows(loaded.encoder, solutions, self.config, counts, n_classes=self.config.model.classes)
        del counts["encoded"]
        if counts:
            say(f"{self.name}: not trained on: {dict(counts)}")
        return rows


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
