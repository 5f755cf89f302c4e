"""The command `ppo`: a model improved against step rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def ppo(
    model: Annotated[str, typer.Argument(help="The policy to begin with: `embedded`, a folder, or a hub id.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. learning_rate=1e-5.")
    ] = None,
    problems: Annotated[
        str, typer.Option("--problems", "-p", help="A file of problems with gold answers, or a source, e.g. gsm8k.")
    ] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the trained policy.")] = Path("policy-ppo"),
    scorer: Annotated[
        str, typer.Option(help="Who scores steps: `symbolic`, or a PRM's folder or hub id.")
    ] = "symbolic",
    column: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN of a file: prompt=question.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of a source, e.g. n=200.")] = None,
    split: Annotated[str, typer.Option(help="Split of a source.")] = "train",
    limit: Annotated[int | None, typer.Option(min=2, help="Problems, drawn by hash.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Events in OUT.training/events.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop what an earlier run of the command left.")] = False,
) -> None:
    """Improve a policy by PPO on gold answers and step rewards; run it again to resume.

    \b
    stepstar ppo runs/quickstart/checkpoints/generator-star-r3 --problems arithmetic --option "difficulty=[4,5,6]" \\
        --out runs/policy learning_rate=1e-3 iterations=40 sampling.max_tokens=96
    stepstar ppo Qwen/Qwen2.5-1.5B-Instruct -p train.jsonl --column prompt=question --column answer=gold \\
        --scorer runs/prm --out runs/policy credit.form=min-form kl_target=10 micro_batch_size=4
    stepstar ppo models/smollm2 -p gsm8k --scorer runs/prm -o runs/policy process_weight=0.5 guards.max_kl=50

    On several GPUs, or in several processes of a CPU, in each of which the whole model must fit:

    \b
    accelerate launch --multi_gpu --num_processes 4 -m pipelines.cli ppo models/smollm2 -p gsm8k -o runs/policy
    torchrun --nproc-per-node 4 -m pipelines.cli ppo models/smollm2 -p gsm8k -o runs/policy

    Settings: those of `star/ppo/config.py` (credit.form, process_weight, outcome_weight, kl_target, lora_rank,
    guards.gate_every, ...), prompt, sampling.{max_tokens,stop}, heldout_share, engine.{type,batch_size,options}, seed,
    threads.
    """
    from pipelines.overrides import settings_from
    from pipelines.ppo.training import PpoJob, PpoSettings, report_lines, train_ppo_folder
    from star.ranks import launched

    job = PpoJob(
        model=model,
        problems=_source(problems, column or (), option or (), split, limit),
        scorer=scorer,
        out=out,
        settings=settings_from(PpoSettings, overrides or ()),
        tensorboard=tensorboard,
        fresh=fresh,
    )
    with launched() as ranks:
        report = train_ppo_folder(job, ranks)
        print("\n".join(report_lines(report)) if report else "trained already")
        print(f"policy {out}")


def _source(name: str, columns: Any, options: Any, split: str, limit: int | None) -> Any:
    """A file as the source `local`, anything else as the name of a source."""
    from data.errors import UserError
    from pipelines.overrides import apply_override, checked
    from pipelines.recipe import SourceConfig

    if not name:
        raise UserError("there are no problems to train on.", "Give --problems FILE, or the name of a source.")
    found: dict[str, Any] = {"columns": {}, "options": {}}
    for section, words in (("columns", columns), ("options", options)):
        for word in words:
            apply_override(found[section], word)
    is_file = Path(name).exists() or "/" in name or "." in name
    place = {"source": "local", "path": name} if is_file else {"source": name}
    return checked(SourceConfig, found | place | {"split": split, "limit": limit})
