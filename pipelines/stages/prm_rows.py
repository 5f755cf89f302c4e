"""What the PRM of a run is trained on: its rationales and near-misses, labelled by what their sources agree on.

A rationale with the right answer and no wrong step is right throughout; one with a wrong step is right up to it;
near-misses are known by construction. A wrong answer without a step that can be called wrong says that one of them is:
`prm.outcome_weight` teaches that. Programs have no steps that the step checker could judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from data.ids import derive_seed
from data.records import Kind, Origin, Problem, Rationale, Status, Verdict
from pipelines.curation.lineage import read_quarantine
from pipelines.stages.sampling import Context
from prm.labels import LabelledSolution, agreement_matrix, label_symbolic, values_up_to
from verifiers import check_answer

Sources = dict[str, LabelledSolution]


class RunLabels(NamedTuple):
    """The labels of a run."""

    solutions: list[LabelledSolution]
    """Each text once, drawn by hash where there are too many; of some the outcome alone is known."""
    agreement: list[dict[str, Any]]
    """For each pair of sources, counts of the steps that both label, and Cohen's kappa; plain JSON."""


def run_labels(context: Context) -> RunLabels:
    """Labelled solutions of the training problems, and how far their sources agree."""
    recipe = context.recipe
    problems = {problem.id: problem for problem in context.run.table("problems")}
    found: dict[str, LabelledSolution] = {}
    said: dict[str, Sources] = {}
    for sources in chain(_of_samples(context, problems), _of_near_misses(context, problems)):
        first = next(iter(sources.values()))
        said.setdefault(first.id, sources)
        labelled = sources.get("near_miss") or _agreed(sources["symbolic"])
        if labelled is None and recipe.prm.outcome_weight:
            labelled = sources["outcome"]
        if labelled:
            found.setdefault(labelled.id, labelled)
    order = sorted(found.values(), key=lambda row: derive_seed("prm rows", recipe.seed, row.id))
    return RunLabels(order[: recipe.prm.solutions], _agreement(list(said.values())))


def agreed_labels(problem: Problem, rationale: Rationale, verdict: Verdict) -> LabelledSolution | None:
    """What the step checker and the final answer agree on; None where that is nothing.

    Args:
        problem: of the rationale.
        rationale: a plain or rationalized sample.
        verdict: on its final answer.
    """
    sources = _sources(problem, rationale, verdict)
    return _agreed(sources["symbolic"]) if sources else None


def _sources(problem: Problem, rationale: Rationale, verdict: Verdict) -> Sources:
    """What the step checker and the final answer say of each step; nothing where the answer is undecided."""
    if verdict.status is Status.UNDECIDED or problem.kind is Kind.CODE:
        return {}
    right = verdict.status is Status.CORRECT
    symbolic = label_symbolic(problem.prompt, rationale.steps, gold=problem.answer, outcome=right)
    # A right answer speaks for all steps; a wrong one says that some step is wrong, not which.
    values = (1.0 if right else None,) * len(rationale.steps)
    return {"symbolic": symbolic, "outcome": replace(symbolic, values=values, source="outcome")}


def _agreed(found: LabelledSolution) -> LabelledSolution | None:
    n_steps = len(found.steps)
    if found.first_error < 0 and not found.outcome:
        return None
    values = (1.0,) * n_steps if found.first_error < 0 else values_up_to(found.first_error, n_steps)
    return replace(found, values=values, source="consensus")


def _of_samples(context: Context, problems: dict[str, Problem]) -> Iterator[Sources]:
    run = context.run
    verdicts = {row.rationale_id: row for row in run.table("verdicts", "star-")}
    # What speaks of the hint is no right reasoning, and what a pilot drew was never selected from.
    fit = {row.rationale_id for row in run.table("selections", "star-") if row.reason not in ("leak", "quarantine")}
    bad = read_quarantine(run)
    for row in run.table("rationales", "star-"):
        if row.id in fit and row.text.strip() and not bad.covers(row):
            sources = _sources(problems[row.problem_id], row, verdicts[row.id])
            if sources:
                yield sources


def _of_near_misses(context: Context, problems: dict[str, Problem]) -> Iterator[Sources]:
    run = context.run
    first_wrong = {row.rationale_id: row.step for row in run.table("step_labels", "near_miss-") if row.value == 0}
    for row in run.table("rationales", "near_miss-"):
        assert row.origin is Origin.CORRUPTED
        problem = problems[row.problem_id]
        # By value: `x=2,3` is `x=3,2`, and a cancelled slip may write the answer in another form.
        right = check_answer(problem.answer, row.answer).status is Status.CORRECT
        symbolic = label_symbolic(problem.prompt, row.steps, outcome=right)
        values = values_up_to(first_wrong[row.id], len(row.steps))
        yield {"near_miss": replace(symbolic, values=values, source="near_miss"), "symbolic": symbolic}


def _agreement(said: list[Sources]) -> list[dict[str, Any]]:
    return [
        {
            "first": one,
            "second": other,
            "steps": found.n,
            "both_right": found.both_right,
            "first_only": found.first_only,
            "second_only": found.second_only,
            "both_wrong": found.both_wrong,
            "kappa": None if found.kappa is None else round(found.kappa, 4),
        }
        for (one, other), found in agreement_matrix(said).items()
        if found.n
    ]
