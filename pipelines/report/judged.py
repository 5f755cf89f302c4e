"""What the run's PRM gets right and wrong: its scores of steps that it was not trained on and whose labels are sure.

The PRM stage scores rationales, right and wrong, of the problems that were held out of its training and of the test
problems; here those scores meet their labels. On the held-out ones its scale and threshold were fitted, on the test
problems nothing was. Where nobody can say which step of a wrong answer is wrong, no step is judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate
from typing import NamedTuple

from data.ids import derive_seed
from data.records import Origin, Problem, Rationale, Verdict
from data.store import Only
from pipelines.run_dir import RunFolder
from pipelines.stages.prm_rows import agreed_labels
from prm.aggregate import Reading
from prm.evaluation import auc, calibration_error, first_error_scores, interval_over
from prm.labels import values_up_to
from prm.model_config import FILE, read_config
from verifiers.metrics import Interval

JUDGED = "judged"
"""What the units of these scores begin with."""
TEST, HELD_OUT = "samples of test problems", "samples and near-misses of held-out training problems"
_ARMS = ("star-", "near_miss-", "prm-")
"""Rationales that are there when the PRM is trained: a run that goes on finds the same again."""
_LARGEST = 1000
"""Rationales of a set."""
_BINS, _DRAWS = 10, 200

Values = Sequence[float | None]


class JudgedStep(NamedTuple):
    """One step of a rationale."""

    right: bool
    score: float
    called_right: bool
    """As the PRM's own threshold has it."""


@dataclass(slots=True)
class JudgedSet:
    """The judged steps of one set of problems."""

    problems: list[list[JudgedStep]]
    first_errors: list[tuple[int, int]]
    """True and predicted first error of each rationale that has a sure label, -1 for none."""

    @property
    def steps(self) -> list[JudgedStep]:
        """All of them."""
        return [step for steps in self.problems for step in steps]

    @property
    def auc(self) -> Interval:
        """Chance that a right step scores above a wrong one, with its interval over problems; nan without both."""
        return interval_over(self.problems, _auc, draws=_DRAWS)

    @property
    def calibration_error(self) -> float:
        """Mean distance of score and share right, by tenths of the scale."""
        return calibration_error([float(step.right) for step in self.steps], [step.score for step in self.steps])

    @property
    def first_error_f1(self) -> float:
        """ProcessBench's figure, in percent; nan if all rationales are right or all wrong."""
        return first_error_scores(*zip(*self.first_errors, strict=True)).f1

    @property
    def false_alarms(self) -> int:
        """Right steps that it calls wrong."""
        return sum(step.right and not step.called_right for step in self.steps)

    @property
    def misses(self) -> int:
        """Wrong steps that it calls right."""
        return sum(step.called_right and not step.right for step in self.steps)

    def roc(self) -> list[tuple[float, float]]:
        """Shares of the right and of the wrong steps that are called wrong, as the threshold rises."""
        groups: dict[float, list[int]] = defaultdict(lambda: [0, 0])
        for step in self.steps:
            groups[step.score][not step.right] += 1
        counts = [groups[score] for score in sorted(groups)]
        right, wrong = (list(accumulate(column, initial=0)) for column in zip(*counts, strict=True))
        return [(one / max(1, right[-1]), other / max(1, wrong[-1])) for one, other in zip(right, wrong, strict=True)]

    def reliability(self) -> list[tuple[float, float, int]]:
        """Mean score, share right and number of steps, by tenths of the scale; empty ones left out."""
        bins: dict[int, list[JudgedStep]] = defaultdict(list)
        for step in self.steps:
            bins[min(_BINS - 1, int(step.score * _BINS))].append(step)
        return [
            (sum(step.score for step in found) / len(found), sum(step.right for step in found) / len(found), len(found))
            for _, found in sorted(bins.items())
        ]


def _auc(problems: Sequence[Sequence[JudgedStep]]) -> float:
    steps = [step for found in problems for step in found]
    return auc([step.right for step in steps], [step.score for step in steps])


def held_out_rationales(run: RunFolder, prompts: Set[str]) -> list[Rationale]:
    """What the PRM is to score, so that its mistakes can be seen: about as many of either set, drawn by hash.

    Args:
        run: the run, with samples of its test problems.
        prompts: training problems that the PRM was not trained on.
    """
    test = {problem.id for problem in run.table("problems", "test")}
    held = {problem.id for problem in run.table("problems", "train") if problem.prompt in prompts}
    return [
        row
        for wanted in (held, test)
        for row in nsmallest(
            _LARGEST,
            (
                row
                for prefix in _ARMS
                for row in run.table("rationales", prefix)
                if row.steps and row.problem_id in wanted
            ),
            key=lambda row: derive_seed(JUDGED, row.id),
        )
    ]


def sure_labels(problem: Problem, row: Rationale, verdict: Verdict | None, near_miss: Values | None) -> Values:
    """1 for each step that is surely right, 0 for the first wrong one, None for those of which that cannot be said.

    Args:
        problem: of the rationale.
        row: a rationale with steps.
        verdict: on its answer; None for a near-miss.
        near_miss: the stored labels of a near-miss.
    """
    if near_miss:
        return values_up_to(near_miss.index(0.0), len(row.steps)) if 0.0 in near_miss else near_miss
    found = agreed_labels(problem, row, verdict) if verdict and all(step.strip() for step in row.steps) else None
    return found.values if found else (None,) * len(row.steps)


def reading_of(run: RunFolder) -> Reading | None:
    """How the scores of a run's PRM, or of an evaluation's scorer, are read; None if it has none."""
    folder, notes = run.root / "checkpoints" / "prm", run.manifest["notes"]
    if "reading" in notes:
        return Reading.model_validate(notes["reading"])
    return read_config(folder).reading if (folder / FILE).is_file() else None


def judge_prm(run: RunFolder) -> dict[str, JudgedSet]:
    """The judged steps by set; empty if the run has no PRM, or one whose scores are not stored."""
    scores = {row.rationale_id: row.scores for row in run.table("step_scores", f"{JUDGED}-")}
    reading = reading_of(run) if scores else None
    if not reading:
        return {}
    test = {problem.id for problem in run.table("problems", "test")}
    problems: dict[str, dict[str, list[JudgedStep]]] = {TEST: {}, HELD_OUT: {}}
    errors: dict[str, list[tuple[int, int]]] = {TEST: [], HELD_OUT: []}
    for row, values in _labelled(run, scores):
        name = TEST if row.problem_id in test else HELD_OUT
        steps = zip(values, scores[row.id], reading.read(scores[row.id]), strict=True)
        problems[name].setdefault(row.problem_id, []).extend(
            JudgedStep(value == 1, score, read >= reading.threshold)
            for value, score, read in steps
            if value is not None
        )
        true = values.index(0.0) if 0.0 in values else -1
        errors[name].append((true, reading.first_error(scores[row.id])))
    return {name: JudgedSet(list(found.values()), errors[name]) for name, found in problems.items() if found}


def mistaken_problems(run: RunFolder) -> dict[str, bool]:
    """Problems with a sure label that the PRM gets wrong, to whether it is a wrong step that it calls right."""
    scores = {row.rationale_id: row.scores for row in run.table("step_scores", f"{JUDGED}-")}
    reading, found = reading_of(run) if scores else None, dict[str, bool]()
    for row, values in _labelled(run, scores) if reading else ():
        assert reading
        for at in mistakes(values, scores[row.id], reading):
            found[row.problem_id] = found.get(row.problem_id, False) or values[at] != 1
    return found


def mistakes(values: Values, scores: Sequence[float], reading: Reading) -> list[int]:
    """The steps whose sure label is not what the scorer's own threshold makes of them."""
    return [
        at
        for at, (value, read) in enumerate(zip(values, reading.read(scores), strict=True))
        if value is not None and (value == 1) != (read >= reading.threshold)
    ]


def _labelled(run: RunFolder, wanted: Mapping[str, object]) -> Iterator[tuple[Rationale, Values]]:
    """The rationales that have a sure label, each once."""
    theirs = Only.of("rationale_id", wanted)
    verdicts = {row.rationale_id: row for row in run.table("verdicts", only=theirs)}
    slips: dict[str, dict[int, float]] = defaultdict(dict)
    for label in run.table("step_labels", "near_miss-", only=theirs):
        slips[label.rationale_id][label.step] = label.value
    these = Only.of("id", wanted)
    rows = {row.id: row for prefix in _ARMS for row in run.table("rationales", prefix, only=these)}
    owners = Only.of("id", {row.problem_id for row in rows.values()})
    problems = {problem.id: problem for problem in run.table("problems", only=owners)}
    for row in rows.values():
        near_miss = (
            [slips[row.id].get(step) for step in range(len(row.steps))] if row.origin is Origin.CORRUPTED else None
        )
        values = sure_labels(problems[row.problem_id], row, verdicts.get(row.id), near_miss)
        if any(value is not None for value in values):
            yield row, values
