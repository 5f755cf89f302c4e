"""Benchmarks of a PRM as `stepstar eval-prm` reads them: labelled solutions or samples to choose from, with scores.

Scores come from a model, or from a column of the file. ProcessBench rows go to the subset that their id names
(`gsm8k-12`), whichever file they stand in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from data.errors import InputError, UserError
from data.sources.base import Reject, RowError
from data.sources.reading import find_files, read_rows
from pipelines.prm.label_files import Unusable, read_label_rows
from pipelines.prm.samples import StoredSample, is_samples, read_samples, stored_scores
from pipelines.progress import say, track
from prm.evaluation import Candidate
from prm.labels import LabelledSolution
from prm.scoring.base import Scorer

Scores = tuple[float, ...]
Item = TypeVar("Item")

_CHUNK = 512
_SUBSET = re.compile(r"(.+)-\d+")


@dataclass(slots=True)
class LabelledSet:
    """Solutions with labels, and their step scores."""

    name: str
    kind: str
    """The format of its file: `process_bench`, `prm_bench`, ..."""
    solutions: list[LabelledSolution] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    """No scores where a solution could not be scored."""
    unscored: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class SampleSet:
    """Samples of problems, to choose one of each."""

    name: str
    samples: list[list[StoredSample]]
    groups: list[list[Candidate]] = field(default_factory=list)
    """The same, with scores."""
    outcome_groups: list[list[Candidate]] = field(default_factory=list)
    """The same, with the scores of an outcome model; empty without one."""
    unscored: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> list[str]:
        """The problems, in the order of the groups."""
        return [group[0].sample.problem for group in self.samples]


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Where scores come from: a model, or columns of the file."""

    scorer: Scorer | None = None
    column: str = ""
    outcome_column: str = ""
    """Scores of an outcome model, for samples."""


def read_benchmarks(
    paths: Sequence[str], source: ScoreSource, format_: str = "auto"
) -> tuple[list[LabelledSet], list[SampleSet]]:
    """Read files or globs, with the scores that are stored in them.

    Raises:
        InputError: a file cannot be read, none of its rows can be used, or they have no such column of scores.
    """
    labelled: dict[str, LabelledSet] = {}
    samples: list[SampleSet] = []
    for path in paths:
        for file in find_files(path) or [Path(path)]:
            first = next((item[1] for item in read_rows(file) if not isinstance(item, Reject)), {})
            if format_ == "auto" and is_samples(first):
                samples.append(_sample_set(file, source))
            else:
                _add_labelled(file, format_, source, labelled)
    return list(labelled.values()), samples


def score_benchmarks(scorer: Scorer, labelled: Sequence[LabelledSet], samples: Sequence[SampleSet]) -> None:
    """Score everything by a model, in place."""
    for one in labelled:
        one.scores = _scored(scorer, one.solutions, one.name, one.unscored)
    for other in samples:
        flat = [sample.sample for group in other.samples for sample in group]
        scores = iter(_scored(scorer, flat, other.name, other.unscored))
        other.groups = [[_candidate(sample, next(scores)) for sample in group] for group in other.samples]


def check_scored(labelled: Sequence[LabelledSet], samples: Sequence[SampleSet]) -> None:
    """Raise a UserError if nothing has scores: figures of that would say something of a model that was never tried."""
    every = [scores for one in labelled for scores in one.scores]
    every += [one.scores for other in samples for group in other.groups for one in group]
    if not any(every):
        counted = [*(one.unscored for one in labelled), *(other.unscored for other in samples)]
        reasons = sum(counted, Counter[str]())
        told = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
        cure = "Give a model that reads longer texts." if "too_long" in reasons else "Look at model and files."
        raise UserError(f"none of {len(every)} solutions has scores ({told}).", cure)


def _add_labelled(file: Path, format_: str, source: ScoreSource, found: dict[str, LabelledSet]) -> None:
    unusable, n_rows = Unusable(), 0
    for row, solutions in read_label_rows(str(file), format_, unusable):
        n_rows += 1
        for solution in solutions:
            kind = solution.dataset or "stepstar"
            subset = _SUBSET.fullmatch(solution.row_id) if kind == "process_bench" else None
            name = subset[1] if subset else file.name.partition(".")[0]
            one = found.setdefault(name, LabelledSet(name, kind))
            if source.column:
                if len(solutions) > 1:
                    raise InputError(f"'{file}' has several solutions a row.", "Give a model instead of stored scores.")
                try:
                    one.scores.append(stored_scores(row, source.column, len(solution.steps)))
                except RowError as error:
                    raise InputError(f"'{file}': {error.detail}.", "Name it with --scores-column.") from error
                one.unscored["stored_null"] += not one.scores[-1]
            one.solutions.append(solution)
    _tell(file, unusable, n_rows)


def _sample_set(file: Path, source: ScoreSource) -> SampleSet:
    unusable = Unusable()
    columns = [name for name in (source.column, source.outcome_column) if name]
    found = SampleSet(file.name.partition(".")[0], read_samples(file, columns, unusable))
    _tell(file, unusable, len(found.samples))
    if source.column:
        found.groups = _stored(found.samples, source.column)
        found.unscored["stored_null"] = sum(not one.scores for group in found.groups for one in group)
    if source.outcome_column:
        found.outcome_groups = _stored(found.samples, source.outcome_column)
    return found


def _stored(samples: Sequence[Sequence[StoredSample]], column: str) -> list[list[Candidate]]:
    return [[_candidate(one, one.scores[column]) for one in group] for group in samples]


def _candidate(one: StoredSample, scores: Scores) -> Candidate:
    return Candidate(answer=one.sample.answer, correct=one.sample.correct, scores=scores)


def _tell(file: Path, unusable: Unusable, kept: int) -> None:
    """Say what was left out of a benchmark; stop if nothing is left."""
    unusable.check(kept, 1.0)
    for bad in unusable.first:
        number = unusable.reasons[bad.reason]
        say(f"{file}: {number} rows left out: {bad.reason}; the first is {bad.where}, {bad.detail}")


def _scored(scorer: Scorer, items: Sequence[Item], name: str, unscored: Counter[str]) -> list[Scores]:
    """Step scores of all items; memory holds one chunk of encodings."""
    found: list[Scores] = []
    with track(f"score {name}", len(items)) as tracker:
        for chunk in _chunks(items):
            found += [one.scores for one in scorer.score_batch(chunk, unscored)]  # type: ignore[arg-type]
            tracker.advance(len(chunk))
    del unscored["encoded"]
    return found


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def check_apart(dev: set[str], test: set[str]) -> None:
    """Raise a UserError if problems of the dev files are in a benchmark: a threshold would be fitted on the test."""
    shared = dev & test
    if shared:
        raise UserError(
            f"{len(shared)} problems are both in --dev and in --benchmark, e.g. {min(shared)[:60]!r}.",
            "Split by problem: what is fitted must not be tested on.",
        )
