"""Step labels of the dataset's rationales, and near-misses of some of them: what a process reward model is trained on.

Symbolic labels judge the arithmetic that a step states; a near-miss is wrong by one slip whose place is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial

from data.batching import batched
from data.ids import content_id, derive_seed
from data.records import Problem, Rationale, StepLabel
from pipelines.progress import track
from pipelines.stages.dataset import kept_rationales
from pipelines.stages.sampling import CODE_VERSION, Context
from prm.labels import label_symbolic, step_labels
from star.corruption import Corruption, corruptions

_SHARD = 50
"""Rationales of one unit."""


def write_labels(context: Context, arm: str) -> None:
    """Label the rationales of the dataset, and store near-misses of some of them with their labels.

    Args:
        context: run, recipe, template.
        arm: whose rationales.
    """
    run, recipe = context.run, context.recipe
    problems = {problem.id: problem for problem in run.table("problems")}
    kept = kept_rationales(run, arm)
    order = sorted(kept, key=lambda row: derive_seed("near misses", recipe.seed, row.id))
    chosen = order[: recipe.near_misses.rationales]
    with run.stage("step labels"):
        for place, shard in enumerate(batched(kept, _SHARD)):
            key = content_id("symbolic", CODE_VERSION, *(row.id for row in shard))
            run.unit("step_labels", f"symbolic-{place:05d}", key, partial(_symbolic, shard, problems))
    with run.stage("near-misses"), track("near-misses", len(chosen)) as bar:
        for place, shard in enumerate(batched(chosen, _SHARD)):
            _write_near_misses(context, f"near_miss-{place:05d}", shard, problems)
            bar.advance(len(shard))


def _symbolic(rationales: Sequence[Rationale], problems: Mapping[str, Problem]) -> Iterator[StepLabel]:
    for row in rationales:
        yield from step_labels(label_symbolic(problems[row.problem_id].prompt, row.steps), row.id)


def _write_near_misses(
    context: Context, unit: str, parents: Sequence[Rationale], problems: Mapping[str, Problem]
) -> None:
    run, seed, config = context.run, context.recipe.seed, context.recipe.near_misses
    key = content_id("near misses", config.model_dump_json(), str(seed), CODE_VERSION, *(row.id for row in parents))

    @cache
    def made() -> list[tuple[Rationale, Corruption]]:
        counts = Counter[str]()
        return [
            (parent, corruption)
            for parent in parents
            for corruption in corruptions(problems[parent.problem_id], parent.steps, config, seed=seed, counts=counts)
        ]

    rows = run.unit("rationales", unit, key, lambda: [found.rationale(parent, seed) for parent, found in made()])
    run.unit("step_labels", unit, key, lambda: [
        label
        for row, (parent, found) in zip(rows, made(), strict=True)
        for label in found.labels(problems[parent.problem_id], row.id)
    ])  # fmt: skip
