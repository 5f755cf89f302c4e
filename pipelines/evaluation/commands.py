"""Commands of evaluation: `eval`, `compare`, `rescore` and `audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Fresh = Annotated[bool, typer.Option("--fresh", help="Delete the folder's content first.")]


def evaluate(
    model: Annotated[str, typer.Argument(help="`embedded`, a folder, a hub id, or a server's name for the model.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings, e.g. sampling.temperature=0.7.")
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help="Sources, e.g. gsm8k,svamp, or local.")
    ] = None,
    path: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a benchmark's file; without it, the hub's.")
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN of a local file: prompt=question.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of the source, e.g. n=200.")] = None,
    split: Annotated[str, typer.Option(help="Split of the benchmarks.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Problems of each benchmark, drawn by hash.")] = None,
    prompt: Annotated[str, typer.Option(help="Prompt template by name or path; default by the kind of problem.")] = "",
    samples: Annotated[int, typer.Option("--samples", "-n", min=0, help="Samples besides the greedy answer.")] = 0,
    scorer: Annotated[str, typer.Option(help="A PRM that chooses among the samples.")] = "",
    twins: Annotated[
        bool, typer.Option("--twins", help="Also twins of the problems: other numbers, and a premise turned round.")
    ] = False,
    wrong_hint: Annotated[bool, typer.Option("--wrong-hint", help="Also with a wrong answer suggested.")] = False,
    engine: Annotated[str, typer.Option(help="transformers, vllm, http or scripted.")] = "transformers",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; default: evals/MODEL-BENCHMARK.")] = None,
    fresh: Fresh = False,
) -> None:
    """Evaluate a model on benchmarks, with intervals; run it again to resume.

    \b
    stepstar eval embedded -b arithmetic --option n=50 --option "difficulty=[4,5,6]" --samples 8
    stepstar eval models/smollm2 -b gsm8k,svamp --path gsm8k=test.jsonl --path svamp=svamp.jsonl --twins
    stepstar eval my-model -b local --path mine.jsonl --column prompt=question --column answer=gold \\
        --engine http engine.options.base_url=http://localhost:8000/v1 sampling.max_tokens=1024

    Settings: sampling.{temperature,top_p,top_k,max_tokens,stop}, engine.{batch_size,options}, model.revision, seed,
    threads, shard_size, max_undecided_share.
    """
    from pipelines.evaluation.settings import benchmarks_from, config_from

    benchmarks = benchmarks_from(
        benchmark or (), path or (), column or (), option or (), split=split, prompt=prompt, limit=limit
    )
    flags = {"samples": samples, "scorer": scorer, "twins": twins, "wrong_hint": wrong_hint}
    config = config_from(model, engine, benchmarks, flags, overrides or ())
    from pipelines.evaluation.report import result_lines, write_result
    from pipelines.evaluation.stage import evaluate_model

    folder = evaluate_model(config, out or config.default_folder(), fresh=fresh)
    print("\n".join(result_lines(write_result(folder))))
    print(f"\npage {folder.root / 'eval.html'}\nJSON {folder.root / 'result.json'}")


def compare(
    a: Annotated[
        str, typer.Argument(help="Folder of an evaluation or run; of a run also FOLDER:base, FOLDER:star-r2.")
    ],
    b: Annotated[str, typer.Argument(help="The same; the gain is B less A.")],
    show: Annotated[int, typer.Option(min=0, help="Flipped problems printed of each kind.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Everything as JSON.")] = None,
) -> None:
    """Compare two models on the same problems: paired gain, McNemar's test, problems that flipped.

    \b
    stepstar compare runs/quickstart:base runs/quickstart
    stepstar compare evals/one evals/other --out gain.json
    """
    from data.store import write_atomic
    from pipelines.evaluation.compare import compare as compare_sides
    from pipelines.evaluation.compare import comparison_json, comparison_lines, read_side
    from pipelines.run_guard import as_json

    found = compare_sides(read_side(a), read_side(b))
    print("\n".join(comparison_lines(found, shown=show)))
    if out:
        write_atomic(out, as_json(comparison_json(found)))


def rescore(
    folder: Annotated[Path, typer.Argument(help="Folder of a run or an evaluation.")],
    policy: Annotated[str, typer.Option(help="default, strict or lenient.")] = "default",
) -> None:
    """Grade every stored output again, without generating; list the differences row by row.

    \b
    stepstar rescore evals/embedded-arithmetic --policy strict
    stepstar rescore runs/quickstart
    """
    from pipelines.evaluation.rescore import rescore as rescore_folder
    from pipelines.evaluation.rescore import rescored_lines

    print("\n".join(rescored_lines(*rescore_folder(folder, policy))))


def audit(
    folder: Annotated[Path, typer.Argument(help="Folder of a run or an evaluation.")],
    other: Annotated[Path | None, typer.Argument(help="A second one, to read side by side.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page; default: FOLDER/audit.html.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Traces on the page, about.")] = 2000,
    scorer: Annotated[str, typer.Option(help="A PRM that scores every step of the page.")] = "",
) -> None:
    """Write a page to read traces in and judge their steps; `stepstar label --from` reads the judgements back.

    \b
    stepstar audit runs/quickstart --scorer runs/quickstart/checkpoints/prm
    stepstar audit evals/before evals/after --out both.html
    """
    from pipelines.report.audit import write_audit
    from prm import load_scorer

    folders = [folder, other] if other else [folder]
    print(write_audit(folders, out, limit=limit, scorer=load_scorer(scorer) if scorer else None))
