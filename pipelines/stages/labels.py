"""Step labels of the dataset's rationales, and near-misses of some of them: what a process reward model is trained on.

Symbolic labels judge the arithmetic that a step states; a near-miss is wrong by one slip whose place is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial

from data.batching import Smallest, batched
from data.ids import content_id, derive_seed
from data.records import Problem, Rationale, StepLabel
from pipelines.progress import track
from pipelines.stages.kept import SHARD, Kept, kept_rows
from pipelines.stages.sampling import CODE_VERSION, Context
from prm.labels import label_symbolic, step_labels
from star.corruption import Corruption, corruptions

_SHARD = 50
"""Rationales whose near-misses are one unit."""


def write_labels(context: Context, arm: str) -> None:
    """Label the rationales of the dataset, and store near-misses of some of them with their labels.

    Args:
        context: run, recipe, template.
        arm: whose rationales.
    """
    run, recipe = context.run, context.recipe
    parents = Smallest[Kept](
        recipe.near_misses.rationales, lambda row: derive_seed("near misses", recipe.seed, row.rationale.id)
    )
    with run.stage("step labels"):
        for place, shard in enumerate(batched(parents.watch(kept_rows(run, arm)), SHARD)):
            key = content_id("symbolic", CODE_VERSION, *(row.rationale.id for row in shard))
            run.unit("step_labels", f"symbolic-{place:05d}", key, partial(_symbolic, shard))
        run.drop_stale("step_labels", prefix="symbolic-")
    chosen = parents.found()
    problems = {row.problem.id: row.problem for row in chosen}
    with run.stage("near-misses"), track("near-misses", len(chosen)) as bar:
        for place, shard in enumerate(batched(chosen, _SHARD)):
            _write_near_misses(context, f"near_miss-{place:05d}", [row.rationale for row in shard], problems)
            bar.advance(len(shard))
        run.drop_stale("rationales", "step_labels", prefix="near_miss-")


def _symbolic(rows: Sequence[Kept]) -> Iterator[StepLabel]:
    for row in rows:
        yield from step_labels(label_symbolic(row.problem.prompt, row.rationale.steps), row.rationale.id)


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
