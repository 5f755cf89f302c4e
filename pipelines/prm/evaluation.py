"""`stepstar eval-prm`: what a PRM is worth on benchmark files, with intervals and floors.

How the scores are read (read-out, threshold, aggregation) is the model's own, or fitted on dev files; it is frozen
before a benchmark is looked at, and dev problems that are in a benchmark are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.errors import UserError
from data.store import write_atomic
from pipelines.prm.benchmarks import (
    LabelledSet,
    SampleSet,
    ScoreSource,
    check_apart,
    check_scored,
    read_benchmarks,
    score_benchmarks,
)
from pipelines.prm.choice_figures import choice_section
from pipelines.prm.figures import Section, labelled_section, mean_section
from pipelines.prm.word_floor import WordFloor
from pipelines.progress import say
from prm.aggregate import AGGREGATIONS, Reading
from prm.calibration import fit_reading

if TYPE_CHECKING:
    from prm.labels import LabelledSolution

ReadBy = Literal["dev", "model", "default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrmEvaluation:
    """The result of an evaluation."""

    model: str
    """Name of the model, or the column of the scores."""
    revision: str
    reading: Reading
    read_by: ReadBy
    """Where the reading is from: fitted on dev files, the model's `prm.json`, or nothing was known."""
    sections: list[Section]


def evaluate_prm(
    source: ScoreSource, benchmarks: Sequence[str], dev: Sequence[str] = (), format_: str = "auto", aggregate: str = ""
) -> PrmEvaluation:
    """Evaluate a PRM, or stored scores.

    Args:
        source: where scores come from.
        benchmarks: files or globs.
        dev: files or globs to fit the reading on; of other problems.
        format_: of the files; `auto` knows them by their fields.
        aggregate: an aggregation to use whatever was fitted.

    Raises:
        UserError: a file cannot be used, dev and benchmarks share a problem, or no solution has scores.
    """
    if aggregate and aggregate not in AGGREGATIONS:
        raise UserError(f"no aggregation '{aggregate}'.", f"Use one of {', '.join(AGGREGATIONS)}.")
    labelled, samples = read_benchmarks(benchmarks, source, format_)
    dev_sets, dev_samples = read_benchmarks(dev, source, format_)
    check_apart(_problems(dev_sets, dev_samples), _problems(labelled, samples))
    if source.scorer:
        score_benchmarks(source.scorer, [*labelled, *dev_sets], [*samples, *dev_samples])
    check_scored(labelled, samples)
    if dev:
        reading, read_by = _fitted(dev_sets, dev_samples), "dev"
    else:
        reading, read_by = (source.scorer.reading, "model") if source.scorer else (Reading(), "default")
        say("no --dev file: the reading is " + ("the model's own" if source.scorer else "the default one, not fitted"))
    if aggregate:
        reading = reading.model_copy(update={"aggregation": aggregate})
    dev_solutions = [solution for one in dev_sets for solution in one.solutions]
    return PrmEvaluation(
        model=source.scorer.name if source.scorer else source.column,
        revision=source.scorer.revision if source.scorer else "",
        reading=reading,
        read_by=read_by,  # type: ignore[arg-type]
        sections=_sections(labelled, samples, reading, dev_solutions),
    )


def _sections(
    labelled: Sequence[LabelledSet], samples: Sequence[SampleSet], reading: Reading, dev: Sequence[LabelledSolution]
) -> list[Section]:
    words = WordFloor(dev) if dev and labelled else None
    if labelled and not words:
        say("no labelled --dev file: the bag-of-words floor is left out")
    found = [labelled_section(one, reading, words) for one in labelled]
    subsets = [one for one in labelled if one.kind == "process_bench"]
    if len(subsets) > 1:
        chosen = [section for section, one in zip(found, labelled, strict=True) if one.kind == "process_bench"]
        found.append(mean_section(chosen, subsets, reading))
    return found + [choice_section(one, reading) for one in samples]


def _fitted(labelled: Sequence[LabelledSet], samples: Sequence[SampleSet]) -> Reading:
    pairs = [
        (scores, solution.first_error)
        for one in labelled
        for scores, solution in zip(one.scores, one.solutions, strict=True)
        if scores
    ]
    groups = [group for one in samples for group in one.groups]
    return fit_reading([scores for scores, _ in pairs], [error for _, error in pairs], groups)


def _problems(labelled: Sequence[LabelledSet], samples: Sequence[SampleSet]) -> set[str]:
    found = {" ".join(solution.problem.split()) for one in labelled for solution in one.solutions}
    return found | {" ".join(problem.split()) for one in samples for problem in one.problems}


def write_evaluation(file: Path, found: PrmEvaluation) -> None:
    """Write the result as JSON; a figure that is not defined is null."""
    content = asdict(found) | {"reading": found.reading.model_dump(mode="json")}
    write_atomic(file, (json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n").encode())


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
