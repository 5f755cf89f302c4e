"""Commands of the process reward model: `score`, `train-prm`, `eval-prm` and `label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.prm.labelling import LabelCounts
    from pipelines.prm.solution_rows import Columns

Fresh = Annotated[bool, typer.Option("--fresh", help="Drop what an earlier run of the command left there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Backend = Annotated[str, typer.Option(help="transformers, vllm or http.")]
Layout = Annotated[
    str,
    typer.Option(help="auto, stepstar, or a published one: qwen_prm, math_shepherd, skywork_prm, rlhflow_prm, ..."),
]
ScorerSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE for the scorer: a backend's option, or reference and beta of implicit_prm."),
]
BatchTokens = Annotated[int, typer.Option(min=1, help="Tokens of one forward pass; lower it when memory is short.")]


def score(
    file: Annotated[Path, typer.Argument(help="Solutions: .jsonl, .jsonl.gz or .parquet, of any size.")],
    model: Annotated[str, typer.Option(help="A PRM: a folder of `stepstar train-prm`, or a published one's hub id.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file with scores, of the same type.")],
    problem_column: Annotated[str, typer.Option(help="Column of the problem.")] = "problem",
    steps_column: Annotated[
        str, typer.Option(help="Column of the solution: a list of steps, or one text that is cut into steps.")
    ] = "steps",
    aggregate: Annotated[
        str, typer.Option(help="min, product, geometric_mean, mean or last; without it, the model's own.")
    ] = "",
    prefix: Annotated[str, typer.Option(help="Put before the names of the added columns.")] = "",
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows scored and saved at once: what a kill costs.")] = 256,
    batch_tokens: BatchTokens = 4096,
    backend: Backend = "transformers",
    layout: Layout = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    settings: ScorerSettings = None,
    fresh: Fresh = False,
) -> None:
    """Add `step_scores`, `score` and `score_error` to every row of a file; run it again to resume.

    \b
    stepstar score solutions.jsonl --model runs/prm --out scored.jsonl
    stepstar score samples.parquet --model runs/prm --out scored.parquet --problem-column question \\
        --steps-column completion --aggregate min
    """
    from pipelines.prm.scoring import ScoreJob, check_job, open_scorer, score_file
    from pipelines.prm.solution_rows import Columns

    job = ScoreJob(
        source=file,
        target=out,
        columns=Columns(problem_column, steps_column),
        aggregate=aggregate,
        chunk=batch_rows,
        how=" ".join([backend, layout, dtype, *(settings or ())]),
        prefix=prefix,
        fresh=fresh,
    )
    rows = check_job(job)
    scorer = open_scorer(model, backend, layout, device, dtype, batch_tokens, settings)
    counts = score_file(job, rows, scorer)
    scorer.close()
    scored = counts.pop("scored", 0)
    print(f"{scored} of {scored + counts.total()} rows have a score: {out}")
    for reason, number in counts.most_common():
        print(f"  {number} without: {reason}")


def train_prm(
    words: Annotated[
        list[str],
        typer.Argument(metavar="FILE... [KEY=VALUE]...", help="Label files, and settings such as learning_rate=1e-4."),
    ],
    base: Annotated[str, typer.Option(help="The language model: a folder, a hub id, or `embedded`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the PRM.")],
    label_format: Annotated[
        str, typer.Option("--format", help="Of the label files; auto knows them by fields.")
    ] = "auto",
    neutral: Annotated[
        str, typer.Option(help="PRM800K's rating 0: good, bad, mask, soft, or class (a third one).")
    ] = "good",
    after_error: Annotated[str, typer.Option(help="Labels after the first wrong step: mask, keep, or wrong.")] = "mask",
    samples: Annotated[
        Path | None, typer.Option(help="Checked samples of other problems: chooses the aggregation, blesses the PRM.")
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Train a process reward model on labelled steps; run it again to resume.

    \b
    stepstar train-prm labels.jsonl --base embedded --out runs/prm
    stepstar train-prm phase2_train.jsonl --base HuggingFaceTB/SmolLM2-135M-Instruct --out runs/prm800k \\
        --neutral good --samples dev_samples.jsonl steps=3000 learning_rate=1e-4 encoder.format=chat

    Formats: stepstar, trl, prm800k, math_shepherd, omega_tree, omega_flat, process_bench, prm_bench, mr_gsm8k,
    big_bench_mistake.
    """
    from pipelines.overrides import settings_from, split_words
    from pipelines.prm.label_files import label_files
    from pipelines.prm.settings import PrmSettings
    from pipelines.prm.training import PrmJob, train_prm_folder

    files, overrides = split_words(words)
    settings = settings_from(PrmSettings, [f"neutral={neutral}", f"after_error={after_error}", *overrides])
    job = PrmJob(
        labels=label_files(files),
        base=base,
        out=out,
        settings=settings,
        format=label_format,
        samples=samples,
        fresh=fresh,
    )
    from pipelines.prm.report import training_lines

    report = train_prm_folder(job)
    print("\n".join(training_lines(report)) if report else "trained already")
    print(f"model {out}")


def eval_prm(
    benchmark: Annotated[list[str], typer.Option("--benchmark", "-b", help="A file or glob; give it again for more.")],
    model: Annotated[str, typer.Argument(help="A PRM; leave it out with --scores-column.")] = "",
    dev: Annotated[
        list[str] | None, typer.Option(help="Files of other problems, on which threshold and aggregation are fitted.")
    ] = None,
    scores_column: Annotated[str, typer.Option(help="Column of stored step scores, e.g. prm_scores.qwen.")] = "",
    outcome_column: Annotated[str, typer.Option(help="Column of an outcome model's scores, to compare with.")] = "",
    label_format: Annotated[str, typer.Option("--format", help="Of the files; auto knows them by fields.")] = "auto",
    aggregate: Annotated[str, typer.Option(help="An aggregation, whatever was fitted.")] = "",
    batch_tokens: BatchTokens = 4096,
    backend: Backend = "transformers",
    layout: Layout = "auto",
    device: Device = "auto",
    dtype: Dtype = "auto",
    settings: ScorerSettings = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The result as JSON.")] = None,
) -> None:
    """Evaluate a process reward model: first errors, PRMScore, step AUC, calibration, best-of-N; floors beside all.

    \b
    stepstar eval-prm runs/prm --benchmark processbench/*.json --dev dev_labels.jsonl --out result.json
    stepstar eval-prm runs/prm -b prmbench.jsonl -b samples.jsonl
    stepstar eval-prm -b samples.jsonl --scores-column prm_scores.math_shepherd

    Benchmarks: labelled solutions in any format of train-prm, or samples to choose from: one row a problem with
    `candidates` (each with `steps`, `answer`, `correct`), or one row a sample.
    """
    from data.errors import UserError

    if bool(model) == bool(scores_column):
        raise UserError("scores come from a model or from a column.", "Give MODEL, or --scores-column, not both.")
    from pipelines.prm.benchmarks import ScoreSource
    from pipelines.prm.evaluation import evaluate_prm, write_evaluation
    from pipelines.prm.report import evaluation_lines
    from pipelines.prm.scoring import open_scorer

    scorer = open_scorer(model, backend, layout, device, dtype, batch_tokens, settings) if model else None
    source = ScoreSource(scorer, scores_column, outcome_column)
    found = evaluate_prm(source, benchmark, dev or (), label_format, aggregate)
    if scorer:
        scorer.close()
    print("\n".join(evaluation_lines(found)))
    if out:
        write_evaluation(out, found)


def label(
    out: Annotated[Path, typer.Option("--out", "-o", help="Labels: .jsonl or .jsonl.gz.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE... [KEY=VALUE]...", help="Solutions, or label files for consensus; settings."),
    ] = None,
    how: Annotated[
        str,
        typer.Option(help="symbolic: what it states; monte_carlo: how often a model ends right from it; consensus."),
    ] = "",
    audit: Annotated[
        Path | None, typer.Option("--from", help="Decisions of an audit page, as human labels; nothing else is read.")
    ] = None,
    problem_column: Annotated[str, typer.Option(help="Column of the problem.")] = "problem",
    steps_column: Annotated[str, typer.Option(help="Column of the steps, a list or one text.")] = "steps",
    gold_column: Annotated[str, typer.Option(help="For monte_carlo: column of the problem's right answer.")] = "gold",
    label_format: Annotated[str, typer.Option("--format", help="Of label files; auto knows them by fields.")] = "auto",
) -> None:
    """Label the steps of solutions, for train-prm.

    \b
    stepstar label solutions.jsonl --how symbolic --out labels.jsonl
    stepstar label solutions.jsonl --how monte_carlo --out labels.jsonl model.name=Qwen/Qwen2.5-1.5B prompt=math \\
        sampling.n=8 method=every_step
    stepstar label by_people.jsonl by_rollouts.jsonl --how consensus --out labels.jsonl rule=agree min_sources=2
    stepstar label --from audit.jsonl --out labels.jsonl

    monte_carlo has the methods every_step (soft, or hard=any or half), bisect and bayesian; engine.type may be http.
    """
    from data.errors import UserError
    from pipelines.overrides import split_words
    from pipelines.prm.labelling import label_from_audit
    from pipelines.prm.solution_rows import Columns

    files, overrides = split_words(words or [])
    if not audit:
        counts = _labelled(how, files, overrides, out, Columns(problem_column, steps_column), gold_column, label_format)
    elif files or overrides or how:
        raise UserError("--from takes no other input.", "Give --from FILE --out FILE alone.")
    else:
        counts = label_from_audit(audit, out)
    steps = ", ".join(f"{number} {kind}" for kind, number in counts.steps.most_common())
    print(f"{counts.solutions} solutions, steps: {steps}: {out}")
    for bad in counts.unusable.first:
        print(f"  {counts.unusable.reasons[bad.reason]} left out: {bad.reason}; the first is {bad.where}, {bad.detail}")


def _labelled(
    how: str, files: list[str], overrides: list[str], out: Path, columns: Columns, gold: str, label_format: str
) -> LabelCounts:
    from data.errors import UserError
    from pipelines.overrides import settings_from
    from pipelines.prm.label_files import label_files
    from pipelines.prm.labelling import label_by_arithmetic, label_by_consensus
    from pipelines.prm.rollout_labels import label_by_rollouts
    from pipelines.prm.rollouts import RolloutSettings
    from prm.labels import ConsensusConfig

    if how not in ("symbolic", "monte_carlo", "consensus"):
        raise UserError(f"there is no way '{how}' to label.", "Use symbolic, monte_carlo or consensus.")
    if how == "consensus":
        return label_by_consensus(label_files(files), out, settings_from(ConsensusConfig, overrides), label_format)
    if len(files) != 1:
        raise UserError(f"{how} labels take one file.", "Run the command once for each file.")
    if how == "monte_carlo":
        return label_by_rollouts(Path(files[0]), out, columns, gold, settings_from(RolloutSettings, overrides))
    if overrides:
        raise UserError("symbolic labels take no settings.", f"Leave out {overrides[0]}.")
    return label_by_arithmetic(Path(files[0]), out, columns)
