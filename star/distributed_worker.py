"""A child of a fine-tuning in several processes: `python -m star.distributed_worker FOLDER`.

Started by `star.distributed` it is the launcher, which starts itself once for every process; started by the launcher
(torch sets RANK) it trains. Both end as soon as the pipe on their standard input closes, so no training outlives the
command that started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import uuid
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from data.errors import UserError
from star.distributed import ERROR, EXIT, MODEL, PROGRESS, REPORT, read_job, read_rows


def main() -> None:
    """Launch, or train."""
    folder = Path(sys.argv[1]).absolute()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "RANK" in os.environ:
        work(folder, int(os.environ["RANK"]))
    else:
        launch(folder)


def _die_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def launch(folder: Path) -> None:
    """Start the processes of a job and wait for them; when one fails, note how each of them ended."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    job = read_job(folder)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=job.sft.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=5,
    )
    try:
        elastic_launch(config, sys.executable)("-P", "-m", "star.distributed_worker", str(folder))
    except ChildFailedError as error:
        exits = {rank: _signal(failure.exitcode) for rank, failure in error.failures.items()}
        (folder / EXIT).write_text(json.dumps(exits))
        raise


def _signal(exitcode: int) -> str:
    """Name of the signal that ended a process; empty if none did."""
    return signal.Signals(-exitcode).name if exitcode < 0 else ""


def work(folder: Path, rank: int) -> None:
    """Train this process's part of a job; the first process writes steps, report and checkpoint."""
    log = os.open(folder / f"rank-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.excepthook = lambda kind, error, trace: _tell(folder, rank, kind, error, trace)
    import torch
    from accelerate import PartialState

    from star.checkpoints import LoadedModel, load_checkpoint, save_checkpoint
    from star.ranks import Ranks
    from star.sft import fine_tune

    job, rows = read_job(folder), read_rows(folder)
    # Picks this process's device and the way of talking: NCCL between GPUs, gloo between CPUs.
    group = PartialState(cpu=not torch.cuda.is_available())
    ranks = Ranks(rank, job.sft.processes, sharded=job.sft.strategy == "fsdp")
    # What is to be sharded need not fit on one device.
    device = "cpu" if ranks.sharded else "auto"
    loaded = load_checkpoint(job.base, revision=job.revision, dtype="float32", device=device)
    with (folder / PROGRESS).open("a", encoding="utf-8") as steps:

        def note(step: int, of: int, loss: float) -> None:
            print(f"step {step} of {of}: loss {loss:.4f}", flush=True)
            if ranks.first:
                steps.write(json.dumps([step, of, loss]) + "\n")
                steps.flush()

        model, report = fine_tune(loaded.model, rows, job.sft, steps=job.steps, pad=job.pad, seed=job.seed,
                                  state=job.state(), on_step=note, ranks=ranks)  # fmt: skip
    if ranks.first:
        save_checkpoint(LoadedModel(model, loaded.tokenizer, loaded.name, ""), folder / MODEL, provenance={})
        (folder / REPORT).write_text(json.dumps(asdict(report)))
    group.wait_for_everyone()
    group.destroy_process_group()


def _tell(
    folder: Path, rank: int, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Leave an uncaught error where the parent finds it, if it is the first: the others follow from it."""
    said = str(error).strip().splitlines() or [""]
    problem, cure = f"{kind.__name__}: {said[0]}", None
    if isinstance(error, UserError):
        problem, cure = error.problem, error.cure
    try:
        with (folder / ERROR).open("x", encoding="utf-8") as stream:
            json.dump({"rank": rank, "problem": problem, "cure": cure}, stream)
    except FileExistsError:
        pass
    sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
