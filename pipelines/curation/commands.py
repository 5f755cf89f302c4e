"""Commands on a run's data: `export`, `lineage`, `quarantine` and `decontaminate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Against = Annotated[
    list[str] | None,
    typer.Option("--decontaminate-against", help="Benchmark file or glob; rows that overlap with it are left out."),
]


def export(
    folder: Run,
    layout: Annotated[
        str,
        typer.Option(
            "--format",
            help="messages, prompt_completion, stepwise, preference, prm800k, math_shepherd, verl or openrlhf.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the export.")],
    validation_share: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the problems for the validation split.")
    ] = 0.05,
    values: Annotated[
        str, typer.Option(help="What a step is worth: its label (labels), or the run's PRM's score (scores).")
    ] = "labels",
    against: Against = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace an export that is there.")] = False,
    push: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Upload it to this data set on the hub, made private if new.")
    ] = "",
) -> None:
    """Write a run's data in another trainer's format, split by problem, with a card.

    \b
    stepstar export runs/quickstart --format messages --out exports/sft
    stepstar export runs/quickstart --format stepwise --out exports/prm --decontaminate-against gsm8k_test.jsonl
    stepstar export runs/quickstart --format verl --out exports/verl
    """
    from data.errors import UserError
    from pipelines.curation.decontamination import objection_against
    from pipelines.curation.export import ExportJob, export_run, find_layout
    from pipelines.curation.push import check_push, push_export
    from pipelines.run_dir import RunFolder

    find_layout(layout)
    if push:
        check_push(push)
    if values not in ("labels", "scores"):
        raise UserError(f"--values is '{values}'.", "Use labels or scores.")
    run = RunFolder.read(folder)
    job = ExportJob(
        layout=layout,
        out=out,
        validation_share=validation_share,
        values="labels" if values == "labels" else "scores",
        fresh=fresh,
    )
    contents = export_run(run, job, objection_against(run, against) if against else None)
    for config, splits in contents.parts.items():
        print(f"{config:12} " + ", ".join(f"{split} {n}" for split, n in splits.items()))
    for reason, n in contents.dropped.most_common():
        print(f"left out     {reason} {n}")
    print(f"export       {out}")
    if push:
        print(f"pushed       {push_export(out, push)}")


def lineage(
    folder: Run,
    row: Annotated[str, typer.Argument(help="Id of a rationale (column `id`), or its first six digits or more.")],
) -> None:
    """Print where a row is from, what was said of it, and what was made of it.

    \b
    stepstar lineage runs/quickstart 72f2d375c9d26f8c
    """
    from pipelines.curation.lineage import lineage_tree
    from pipelines.run_dir import RunFolder

    print("\n".join(lineage_tree(RunFolder.read(folder), row).lines()))


def quarantine(
    folder: Run,
    target: Annotated[str, typer.Argument(help="A row or problem (id), a model (name, revision) or a source (name).")],
    reason: Annotated[str, typer.Option(help="Why; goes into the log.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it out of quarantine.")] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Leave models that were trained on it, and what they drew, in place.")
    ] = False,
) -> None:
    """Take something and all that descends from it out of dataset and exports.

    \b
    stepstar quarantine runs/quickstart generator-star-r2 --reason "trained on a leaked split"
    stepstar quarantine runs/quickstart 72f2d375c9d26f8c --reason "wrong gold answer" --keep-models
    stepstar quarantine runs/quickstart gsm8k --undo
    """
    from pipelines.curation.quarantine import decide

    counts = decide(folder, target, reason, undo=undo, through_models=not keep_models)
    found = ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in sorted(counts.items())) or "nothing"
    print(f"in quarantine now: {found}")
    if counts["model"]:
        print("the checkpoints themselves stay where they are; do not use them")


def decontaminate(
    place: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run folder, or .jsonl, .jsonl.gz, .parquet.")],
    against: Annotated[list[str], typer.Option(help="Benchmark file or glob; may be given several times.")],
    similarity: Annotated[
        float, typer.Option(min=0, max=1, help="From which on a row nearly repeats another; 0: do not look.")
    ] = 0.8,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Copy of FILE with columns `overlap` and `near_duplicate_of`.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Put what is found in RUN into quarantine: no dataset, no export has it.")
    ] = False,
) -> None:
    """Find rows that overlap with benchmarks: equal problems, 13 equal words or 3 equal equations in a row.

    \b
    stepstar decontaminate runs/quickstart --against gsm8k_test.jsonl --against "benchmarks/*.jsonl"
    stepstar decontaminate runs/quickstart --against gsm8k_test.jsonl --drop
    stepstar decontaminate rows.jsonl --against math500.jsonl --out checked.jsonl
    """
    from data.errors import UserError
    from pipelines.curation.decontamination import decontaminate_file, decontaminate_run
    from pipelines.curation.quarantine import drop_rows
    from pipelines.run_dir import RunFolder

    if place.is_dir():
        if out:
            raise UserError(
                "--out is for files.", "Leave rows of a run out with --drop, or by `export --decontaminate-against`."
            )
        found = decontaminate_run(RunFolder.read(place), against, similarity)
    else:
        if drop:
            raise UserError("--drop is for runs.", "Of a file, --out writes which rows overlap or repeat.")
        found = decontaminate_file(place, against, similarity, out)
    print(f"{len(found.overlaps)} of {found.rows} rows overlap with a benchmark")
    for name, n in found.counts.most_common():
        print(f"  {n:7} {name}")
    for examples in found.as_json()["examples"].values():
        for one in examples[:3]:
            print(f"  row {one['row']}, {one['kind']} of {one['benchmark']}: {one['excerpt']!r}")
    if similarity:
        print(f"{len(found.repeats)} rows nearly repeat an earlier one (similarity {similarity:g} or more)")
    if drop and found.reasons:
        counts = drop_rows(place, found.reasons)
        print(f"put {len(found.reasons)} rows into quarantine; with their near-misses, {counts['row']} are there now")
