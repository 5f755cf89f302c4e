"""`stepstar label --how monte_carlo`: rows to labels by rollouts; a process that was stopped is gone on from.

`bisect` and `bayesian` look for the first error of wrong solutions; with a right answer all steps are labelled right
there, since there is no error to look for. Finished labels are kept beside the output, in `OUT.rollouts`, until all are
there; what is kept is found again by model, settings, problem, answer and steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from data.batching import batched
from data.errors import InputError, UserError
from data.ids import content_id
from data.sources.base import Reject, RowError, optional_text
from pipelines.prm.labelling import LabelCounts, SolutionRow, label_rows
from pipelines.prm.rollouts import Rollouts, RolloutSettings
from pipelines.prm.solution_rows import Columns
from pipelines.progress import say
from pipelines.row_files import open_rows
from prm.labels import (
    Attempt,
    LabelledSolution,
    Prefix,
    bisect_first_error,
    find_first_errors,
    hardened,
    monte_carlo,
    read_labels,
    write_labels,
)
from star.generation import build_generator

_AT_ONCE = 32
"""Solutions whose labels are kept at once: what a kill costs."""


class RolloutLabeller:
    """Labels rows that have the right answer in a column.

    Args:
        settings: who draws, and how.
        gold: name of the column.
        work: folder in which finished labels are kept until all are.
    """

    def __init__(self, settings: RolloutSettings, gold: str, work: Path) -> None:
        self.settings, self.gold, self.work = settings, gold, work

    @cached_property
    def rollouts(self) -> Rollouts:
        """The model, loaded when the rows have been looked at."""
        engine, model = self.settings.engine, self.settings.model
        generator = build_generator(
            model.name, engine=engine.type, revision=model.revision, batch_size=engine.batch_size,
            options=engine.options,
        )  # fmt: skip
        return Rollouts(generator, self.settings)

    def __call__(self, rows: Sequence[SolutionRow]) -> list[LabelledSolution | Reject]:
        """The labels of some rows, or why there are none."""
        found: list[LabelledSolution | Reject] = []
        attempts: list[Attempt] = []
        for row in rows:
            try:
                attempts.append(self._attempt(row))
            except RowError as error:
                found.append(row.reject(error))
        self.rollouts.note_endings(attempts)
        labelled = [one for part in batched(attempts, _AT_ONCE) for one in self._kept(part)]
        golds = self.rollouts.golds
        return found + [
            replace(one, gold=golds[one.problem], outcome=self.rollouts.ended.get(Prefix(one.problem, one.steps)))
            for one in labelled
        ]

    def _attempt(self, row: SolutionRow) -> Attempt:
        item = row.item
        gold = optional_text(row.row, self.gold).strip()
        if not gold:
            raise RowError("missing_field", f"no answer in '{self.gold}'")
        if self.rollouts.golds.get(item.problem, gold) != gold:
            raise RowError("other_answer", f"another row of this problem has another '{self.gold}'")
        # What could not carry labels is refused before anything is spent on it.
        LabelledSolution(problem=item.problem, steps=item.steps, values=(None,) * len(item.steps), source="unknown")
        self.rollouts.golds[item.problem] = gold
        return Attempt(problem=item.problem, steps=item.steps, row_id=optional_text(row.row, "id"))

    def _kept(self, attempts: Sequence[Attempt]) -> list[LabelledSolution]:
        """The labels of some attempts: those of an earlier process that was stopped, or new ones."""
        texts = (f"{self.rollouts.golds[one.problem]} {one.prefix(len(one.steps))}" for one in attempts)
        settings, revision = self.settings.model_dump_json(), self.rollouts.generator.revision
        file = self.work / f"{content_id('rollouts', revision, settings, *texts)}.jsonl"
        if not file.is_file():
            self.rollouts.restart()
            labelled = self._labelled(attempts)
            self._check_undecided()
            self.work.mkdir(exist_ok=True)
            write_labels(file, labelled, "stepstar")
        return [one for one in read_labels(str(file), "stepstar") if isinstance(one, LabelledSolution)]

    def _check_undecided(self) -> None:
        drawn, undecided = self.rollouts.counts["drawn"], self.rollouts.counts["undecided"]
        if undecided > self.settings.max_undecided_share * drawn:
            raise UserError(
                f"{undecided} of {drawn} rollouts could not be drawn or checked.",
                "Look at the engine's messages, or raise max_undecided_share.",
            )

    def _labelled(self, attempts: Sequence[Attempt]) -> list[LabelledSolution]:
        settings, rollouts = self.settings, self.rollouts
        if settings.method == "every_step":
            soft = monte_carlo(attempts, rollouts, settings.sampling.n)
            return soft if settings.hard == "no" else [hardened(one, settings.hard) for one in soft]
        wholes = [(attempt, rollouts.ended.get(attempt.prefix(len(attempt.steps)), False)) for attempt in attempts]
        right = [
            LabelledSolution(problem=one.problem, steps=one.steps, values=(1.0,) * len(one.steps),
                             source="monte_carlo", row_id=one.row_id)
            for one, is_right in wholes if is_right
        ]  # fmt: skip
        wrong = [attempt for attempt, is_right in wholes if is_right is False]
        if settings.method == "bisect":
            return right + [one for one, _ in bisect_first_error(wrong, rollouts, settings.sampling.n)]
        return right + [one.solution for one in find_first_errors(wrong, rollouts, settings.bayesian)]


def label_by_rollouts(file: Path, out: Path, columns: Columns, gold: str, settings: RolloutSettings) -> LabelCounts:
    """Label each step by rollouts from it; see `pipelines.prm.labelling.label_rows`. Run again, it goes on.

    Args:
        file: the rows.
        out: the labels.
        columns: of problem and steps.
        gold: column of the right answer.
        settings: who draws, and how.

    Raises:
        UserError: the file, a column, the model or the prompt is not there, no row can be used, or too many rollouts
            are undecided.
        EngineError: the engine failed.
    """
    present = open_rows(file).columns()
    if gold not in present:
        raise InputError(f"there is no column '{gold}'; the columns are {', '.join(present)}.",
                         "Name that of the right answer: --gold-column NAME.")  # fmt: skip
    work = out.with_name(f"{out.name}.rollouts")
    if work.is_dir():
        say(f"going on with '{work}'")
    labeller = RolloutLabeller(settings, gold, work)
    counts = label_rows(file, out, columns, labeller, [gold])
    labeller.rollouts.generator.close()
    shutil.rmtree(work)
    return counts
