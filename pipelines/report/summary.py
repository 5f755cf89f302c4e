"""The numbers of a run, computed once from its records, for the report and for anybody else.

Every accuracy comes with a 95 % interval; every gain is paired on the same problems.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from data.decontamination import CONTAMINATION
from data.hash_index import HashIndex
from data.lineage import in_force, read_decisions
from data.records import Problem, Rationale, Status
from data.run_records import Evaluation, PpoIteration, Promotion
from pipelines.evaluation.metrics import outcome
from pipelines.report.fates import Fates, ToRead, Trace
from pipelines.report.judged import JudgedSet, judge_prm
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR, WITHOUT
from pipelines.stages.kept import rounds_of, stored_round
from pipelines.stages.problems import split_dev, stored_problems
from star.leaks import LeakRates, leak_rates
from star.rationalize import HintSwap, hint_swap
from star.selection import Diversity
from verifiers import StepStatus, check_steps
from verifiers.metrics import Interval, paired_interval, wilson_interval

BASE = "base"
PPO, PREFERENCE = "ppo", "preference"
_ARMS = (BASE, STAR, WITHOUT, PREFERENCE, PPO)
"""In the order in which a reader wants them."""
LATER = (PPO, PREFERENCE)
"""Arms that begin with the last promoted policy."""


@dataclass(slots=True)
class Summary:
    """What a run did."""

    name: str
    description: str
    accuracy: dict[tuple[str, int, str], Interval] = field(default_factory=dict)
    """(arm, round, difficulty) to accuracy; difficulty `all` is the mean over the target difficulties."""
    outcomes: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    """(arm, round) to evaluation outcomes; truncated answers count apart."""
    gain: Interval | None = None
    """Last promoted policy minus base on the target difficulties, paired."""
    flips: tuple[int, int] = (0, 0)
    """Problems of these that only the last promoted policy solves, and that only the base does."""
    targets: list[str] = field(default_factory=list)
    """Difficulties of the training problems, in order."""
    difficulties: list[str] = field(default_factory=list)
    """Difficulties of the evaluation problems, in order."""
    n_evaluated: int = 0
    accounting: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    """(arm, round) to problems by outcome: solved, rationalized, unsolved, undecided, rejected; each problem once."""
    kept_share: dict[tuple[str, int, str], tuple[int, int]] = field(default_factory=dict)
    """(arm, round, difficulty) to (problems with a kept rationale, problems)."""
    reasons: dict[tuple[str, int, str], Counter[str]] = field(default_factory=dict)
    """(arm, round, origin) to the selection's reasons."""
    wrong_steps: dict[tuple[str, int, str], tuple[int, int]] = field(default_factory=dict)
    """(arm, round, origin) to (kept rationales in which a step's own arithmetic is wrong, kept rationales)."""
    leaks: dict[tuple[str, int], LeakRates] = field(default_factory=dict)
    """(arm, round) to the leak tests of the right rationalized rationales."""
    wrong_hints: dict[tuple[str, int], HintSwap] = field(default_factory=dict)
    """(arm, round) to what the policy did with wrong hints."""
    promotions: dict[tuple[str, int], Promotion] = field(default_factory=dict)
    """(arm, round) to the gate's decision."""
    n_dev: int = 0
    """Training problems that the gate was judged by."""
    diversity: dict[tuple[str, int], Diversity] = field(default_factory=dict)
    """(arm, round) to how many ways to an answer the policy that the round sampled from knew."""
    ppo: list[PpoIteration] = field(default_factory=list)
    """The iterations of PPO, in order."""
    policy_gains: dict[str, Interval] = field(default_factory=dict)
    """`ppo` or `preference` to the policy after it minus the policy that it began with on the target difficulties,
    paired."""
    near_misses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(mode, kind of slip) to near-misses."""
    labels: dict[str, Counter[float]] = field(default_factory=dict)
    """Source of step labels to labels by value."""
    judged: dict[str, JudgedSet] = field(default_factory=dict)
    """What the PRM makes of steps that it was not trained on."""
    contamination: dict[str, Any] = field(default_factory=dict)
    """What `stepstar decontaminate` last found; empty if nobody asked."""
    quarantines: dict[str, str] = field(default_factory=dict)
    """What is in quarantine, to the reason."""
    traces: list[Trace] = field(default_factory=list)
    """A few rationales of each kind to read."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    trainings: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def _order(levels: set[str]) -> list[str]:
    """Difficulties in numerical order where they are numbers."""
    return sorted(levels, key=lambda level: (not level.isdigit(), int(level) if level.isdigit() else 0, level))


def summarize(run: RunFolder, *, samples: int = 4) -> Summary:
    """Compute the numbers of a run.

    Args:
        run: the run folder.
        samples: rationales to keep for reading, of each kind.
    """
    recipe = run.recipe
    summary = Summary(
        recipe.name,
        recipe.description,
        costs=run.manifest["stages"],
        notes=run.manifest["notes"],
        trainings=run.manifest["checkpoints"],
    )
    train, dev = split_dev(stored_problems(run, "train"), recipe)
    summary.n_dev, sizes = len(dev), Counter(problem.difficulty for problem in train)
    summary.promotions = {(row.arm, row.round): row for row in run.table("promotions")}
    _add_accuracy(summary, run, set(sizes))
    _add_selections(summary, run, sizes, samples)
    rows = [row for name, row in summary.notes.items() if name.startswith("diversity ")]
    summary.diversity = {(row.pop("arm"), row.pop("round")): Diversity(**row) for row in map(dict, rows)}
    summary.ppo = list(run.table("ppo_iterations"))
    if (run.root / CONTAMINATION).exists():
        summary.contamination = json.loads((run.root / CONTAMINATION).read_text(encoding="utf-8"))
    summary.quarantines = {node: one.reason for node, one in in_force(read_decisions(run.root)).items()}
    _add_rationalization(summary, run)
    _add_labels(summary, run)
    summary.judged = judge_prm(run)
    return summary


def last_promoted(summary: Summary, rounds: Iterable[tuple[str, int]], arm: str = "star") -> tuple[str, int] | None:
    """The last round of an arm whose model the gate let through; the base, where it let none through."""
    places = [place for place in rounds if place[0] == arm]
    passed = [place for place in places if place not in summary.promotions or summary.promotions[place].promoted]
    return max(passed, default=(BASE, 0) if places else None)


def _add_accuracy(summary: Summary, run: RunFolder, levels: set[str]) -> None:
    rows: dict[tuple[str, int], list[Evaluation]] = defaultdict(list)
    for row in run.table("evaluations"):
        rows[row.arm, row.round].append(row)
    test = list(run.table("problems", "test"))
    problems = {problem.id: problem for problem in test}
    summary.n_evaluated = len(test)
    summary.difficulties = _order({problem.difficulty for problem in test})
    trained = set(run.recipe.target_difficulties) or levels
    # Where the sources name their levels differently, every test problem is a target.
    summary.targets = [level for level in summary.difficulties if level in trained] or summary.difficulties
    marks: dict[tuple[str, int], dict[str, float]] = {}
    for place in sorted(rows, key=lambda place: (_ARMS.index(place[0]), place[1])):
        found = rows[place]
        if len(found) < len(test):
            # The run is still at it: a part of the problems would be the easy part.
            continue
        summary.outcomes[place] = Counter(outcome(row.status, row.finish_reason) for row in found)
        marks[place] = _marks(found, problems, summary.targets)
        summary.accuracy[*place, "all"] = _proportion(marks[place])
        for level in summary.difficulties:
            summary.accuracy[*place, level] = _proportion(_marks(found, problems, [level]))
    last = last_promoted(summary, marks)
    if last and (BASE, 0) in marks:
        summary.gain = _gain(marks[last], marks[BASE, 0])
        pairs = [(marks[last][key], mark) for key, mark in marks[BASE, 0].items() if key in marks[last]]
        summary.flips = (pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
    for arm in (PREFERENCE, PPO):
        after = max((place for place in marks if place[0] == arm), default=None)
        if last and after:
            summary.policy_gains[arm] = _gain(marks[after], marks[last])


def _gain(after: dict[str, float], before: dict[str, float]) -> Interval:
    ids = [key for key in before if key in after]
    return paired_interval([after[key] for key in ids], [before[key] for key in ids])


def _proportion(marks: dict[str, float]) -> Interval:
    """Share of right answers with its Wilson interval, which holds near 0 and 1 too."""
    return wilson_interval(int(sum(marks.values())), len(marks))


def _marks(rows: list[Evaluation], problems: dict[str, Problem], levels: list[str]) -> dict[str, float]:
    """Problem id to 1 or 0, over some difficulties. What could not be decided is neither right nor wrong."""
    wanted = [row for row in rows if problems[row.problem_id].difficulty in levels]
    return {row.problem_id: float(row.status is Status.CORRECT) for row in wanted if row.status is not Status.UNDECIDED}


def _add_selections(summary: Summary, run: RunFolder, sizes: Counter[str], samples: int) -> None:
    """What the rounds kept, gone through a problem at a time: the tables need not fit into memory."""
    has_wrong_step, arms = _step_checker(run), {name.rpartition("-r")[0] for name in run.units("selections")}
    for arm in sorted(arms):
        for number in rounds_of(run, arm):
            place, reached, kept = (arm, number), Counter[str](), Counter[tuple[str, bool]]()
            fates, to_read = Fates(), ToRead(set(summary.targets), samples)
            for group, selections in stored_round(run, arm, number):
                rows = {row.id: row for row in group.rationales}
                reached[group.problem.difficulty] += any(row.kept for row in selections)
                # Within an update, selections may still be of rationales that are gone.
                selections = [row for row in selections if row.rationale_id in rows]
                for selection in selections:
                    row = rows[selection.rationale_id]
                    reasons = summary.reasons.setdefault((*place, str(row.origin)), Counter())
                    reasons[selection.reason] += 1
                    if selection.kept:
                        kept[str(row.origin), has_wrong_step(row)] += 1
                fates.add(rows, selections)
                to_read.add(group, selections)
            for level, size in sizes.items():
                summary.kept_share[*place, level] = (reached[level], size)
            for origin in {origin for origin, _ in kept}:
                summary.wrong_steps[*place, origin] = (kept[origin, True], kept[origin, True] + kept[origin, False])
            summary.accounting[place] = fates.counts(sizes.total())
            if arm == "star":
                summary.traces = list(to_read)


def _add_rationalization(summary: Summary, run: RunFolder) -> None:
    """Leak tests and wrong hints, by arm and round; a leak report's round is in the name of its unit alone."""
    for arm, round_ in summary.accounting:
        reports = list(run.table("leak_reports", f"{arm}-r{round_}-"))
        if reports:
            summary.leaks[arm, round_] = leak_rates(reports, run.recipe.leaks)
    outcomes: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in run.table("wrong_hints"):
        outcomes[row.arm, row.round].append(row.outcome)
    summary.wrong_hints = {place: hint_swap(found) for place, found in outcomes.items()}


def _add_labels(summary: Summary, run: RunFolder) -> None:
    for row in run.table("rationales", "near_miss-"):
        how = json.loads(row.made_by.sampling)
        summary.near_misses[how["mode"], how["kind"]] += 1
    for source, value in run.table("step_labels", fields=("source", "value")):
        summary.labels.setdefault(source, Counter())[value] += 1


def _step_checker(run: RunFolder) -> Callable[[Rationale], bool]:
    """Whether a step of a rationale states false arithmetic: by its stored labels, where it has them."""
    labels = HashIndex()
    stored = run.table("step_labels", "symbolic-", fields=("rationale_id", "value"))
    for rationale_id, of_rationale in groupby(stored, key=itemgetter(0)):
        labels.add(int(rationale_id, 16), any(value == 0 for _, value in of_rationale))

    @lru_cache(100_000)
    def check(steps: tuple[str, ...]) -> bool:
        return any(step.status is StepStatus.INCORRECT for step in check_steps("", steps))

    def has_wrong_step(row: Rationale) -> bool:
        known = labels.get(int(row.id, 16))
        return bool(known[0]) if known else check(row.steps)

    return has_wrong_step
