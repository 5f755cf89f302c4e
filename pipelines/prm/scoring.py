"""`stepstar score`: every row of a file with the scores of its steps; a kill costs one chunk.

Step scores are stored beside the output, chunk by chunk (`pipelines.prm.score_store`); at the end they and the input
are written as the output, which so appears whole or not at all, with the bytes of a job that was never stopped. Run
again, it scores nothing twice: another aggregation, or an output that was cut off, costs a copy. A row that cannot be
scored stays, with nulls and the reason. NaN is never a score, and a model that says nothing else stops the job.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.sources.base import Reject, Row, RowError
from data.store import sha256_of
from pipelines.overrides import apply_override
from pipelines.prm.score_store import RowScores, ScoreStore
from pipelines.prm.solution_rows import Columns, read_solution
from pipelines.progress import say, track
from pipelines.row_files import Added, RowFile, check_target, open_rows
from prm.aggregate import AGGREGATIONS, Reading

if TYPE_CHECKING:
    from prm.scoring.base import ScoreItem, Scorer

_NAN = "nan_score"
"""Reason of a row whose scores are no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """What is to be scored, and how its output looks."""

    source: Path
    target: Path
    columns: Columns = field(default_factory=Columns)
    aggregate: str = ""
    """A key of `AGGREGATIONS`; empty for the model's own."""
    chunk: int = 256
    """Rows that are scored together and then saved."""
    how: str = ""
    """Backend, layout and precision: other ones give other scores."""
    prefix: str = ""
    """Put before the names of the added columns."""
    fresh: bool = False
    """Whether an output, and scores, that are there are dropped first."""

    @property
    def added(self) -> dict[str, str]:
        """Names and types of the columns that are added."""
        kinds = {"step_scores": "numbers", "score": "number", "score_error": "text"}
        return {self.prefix + name: kind for name, kind in kinds.items()}

    @property
    def store(self) -> Path:
        """Where the step scores are kept."""
        return self.target.with_name(f"{self.target.name}.scores")


def check_job(job: ScoreJob) -> RowFile:
    """Find what is wrong before the model is loaded, and open the input.

    Raises:
        UserError: files, columns or the aggregation are not to be had, or the output is there and not ours.
    """
    rows = open_rows(job.source)
    check_target(job.source, job.target)
    if job.aggregate and job.aggregate not in AGGREGATIONS:
        near = difflib.get_close_matches(job.aggregate, AGGREGATIONS, 1)
        cure = f"Did you mean '{near[0]}'?" if near else f"Use one of {', '.join(AGGREGATIONS)}."
        raise UserError(f"no aggregation '{job.aggregate}'.", cure)
    if job.target.exists() and not job.store.exists() and not job.fresh:
        raise UserError(f"'{job.target}' exists, and its scores do not.", "Give --fresh to replace it.")
    present = rows.columns()
    job.columns.check(present)
    taken = [name for name in job.added if name in present]
    if taken:
        raise UserError(f"the input already has a column '{taken[0]}'.", "Name ours otherwise: --prefix NAME_.")
    return rows


def score_file(job: ScoreJob, rows: RowFile, scorer: Scorer) -> Counter[str]:
    """Score a file, or go on with it, and write the output.

    Args:
        job: what is to be done.
        rows: what `check_job` returned.
        scorer: the model.

    Returns:
        Rows by the reason for which they have no score; those with one under `scored`.

    Raises:
        UserError: the stored scores are another model's, or of another input, or all scores are no numbers.
    """
    if job.fresh:
        job.store.unlink(missing_ok=True)
    depends: dict[str, str | int] = {
        "model": scorer.revision or scorer.name,
        "how": job.how,
        "input": sha256_of(job.source),
        "problem_column": job.columns.problem,
        "steps_column": job.columns.steps,
        "batch_rows": job.chunk,
    }
    store = ScoreStore(job.store, depends, job.chunk)
    try:
        if not store.ended:
            _score_rest(job, rows, scorer, store)
            store.end()
        reading = scorer.reading.model_copy(update={"aggregation": job.aggregate} if job.aggregate else {})
        return _write_output(job, rows, store, reading)
    finally:
        store.close()


def _score_rest(job: ScoreJob, rows: RowFile, scorer: Scorer, store: ScoreStore) -> None:
    done, failed, total = store.rows, 0, rows.count()
    if done:
        say(f"going on behind row {done}: the scores before it are in '{job.store}'")
    with track("score", total) as tracker:
        tracker.reach(done)
        for number, chunk in enumerate(rows.chunks(job.chunk, [job.columns.problem, job.columns.steps])):
            if number * job.chunk < done:
                continue
            entries = score_rows(chunk, job.columns, scorer)
            _check_numbers(entries, number * job.chunk)
            store.add(entries)
            failed += sum(entry.error is not None for entry in entries)
            tracker.advance(len(chunk), f"{failed} without a score" if failed else "")
        tracker.reach(total)  # Blank lines were counted too.


def score_rows(rows: Sequence[Row | Reject], columns: Columns, scorer: Scorer) -> list[RowScores]:
    """The step scores of some rows, in order; samples of one problem among them share its prompt."""
    items = [_solution(row, columns) for row in rows]
    found = iter(scorer.score_batch([item for item in items if not isinstance(item, str)]))
    return [
        RowScores(None, item) if isinstance(item, str) else _entry(item, next(found).scores, scorer) for item in items
    ]


def _solution(row: Row | Reject, columns: Columns) -> ScoreItem | str:
    """The solution of a row, or why it has none."""
    if isinstance(row, Reject):
        return row.reason
    try:
        return read_solution(row, columns)
    except RowError as error:
        return error.reason


def _entry(item: ScoreItem, scores: tuple[float, ...], scorer: Scorer) -> RowScores:
    if not scores:
        return RowScores(None, _reason(item, scorer))
    return RowScores(scores, None) if all(map(math.isfinite, scores)) else RowScores(None, _NAN)


def _check_numbers(entries: Sequence[RowScores], before: int) -> None:
    """Stop if all that a model says is no number; a single such row is a row without a score."""
    if any(entry.error == _NAN for entry in entries) and all(entry.error for entry in entries):
        raise UserError(
            f"the model's scores are no numbers, from row {before + 1} on.", "Try --dtype float32, or another model."
        )


def _reason(item: ScoreItem, scorer: Scorer) -> str:
    """Why the scorer left a solution out: a batch only counts reasons, a single solution names its own."""
    try:
        scorer.score(item.problem, item.steps)
    except UserError as error:
        return error.__cause__.reason if isinstance(error.__cause__, RowError) else "not_scored"
    return "not_scored"


def _write_output(job: ScoreJob, rows: RowFile, store: ScoreStore, reading: Reading) -> Counter[str]:
    counts: Counter[str] = Counter()

    def added() -> Iterator[Added]:
        for steps, error in store.entries():
            counts[error or "scored"] += 1
            values = (steps, reading.solution_score(steps) if steps else None, error)
            yield dict(zip(job.added, values, strict=True))

    rows.write(job.target, added(), job.added)
    return counts


def open_scorer(
    model: str, backend: str, layout: str, device: str, dtype: str, batch_tokens: int, settings: Sequence[str] | None
) -> Scorer:
    """A loaded model; words of `--set` go to `load_scorer` by name, or else to the backend's config."""
    from prm import load_scorer

    found: dict[str, Any] = {}
    for word in settings or ():
        apply_override(found, word)
    own = {name: found.pop(name) for name in ("reference", "beta", "share_prefix") if name in found}
    return load_scorer(
        model,
        backend,
        layout=layout,  # type: ignore[arg-type]
        device=device,
        dtype=dtype,
        batch_tokens=batch_tokens,
        options=found,
        **own,
    )
