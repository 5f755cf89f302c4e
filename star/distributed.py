"""Fine-tuning in several processes: a folder of plain files goes to the children, a checkpoint and a report come back.

`train` is `fine_tune` in one process or in `sft.processes`. The children are started by torch's elastic launcher (the
one that `accelerate launch` uses) as `python -m star.distributed_worker FOLDER`. They end when this process ends,
however it ends; one that dies ends the others, and is an error here that says how it died and what its log says last.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from data.config import Config
from data.errors import UserError
from prm.training_state import TrainingState
from star.checkpoints import LoadedModel, load_checkpoint
from star.sft import Row, SftConfig, TrainingReport, fine_tune

POLL_S = 0.1
"""How often the parent looks at its children, seconds."""
JOB, ROWS, PROGRESS, REPORT, ERROR, EXIT, MODEL = (
    "job.json", "rows.jsonl", "progress.jsonl", "report.json", "error.json", "exit.json", "model",
)  # fmt: skip
"""Files of a job: what to do, the rows, a line a step, the report, the first error of a child, the launcher's word on
how children ended, and the trained checkpoint. `rank-N.log` and `launcher.log` are beside them."""

OnStep = Callable[[int, int, float], None]


class Job(Config):
    """What the children are told; the rows lie beside it."""

    base: str
    """Name of the base, as `load_checkpoint` takes it."""
    revision: str | None
    """Hub commit of the base; None for a folder."""
    sft: SftConfig
    steps: int
    pad: int
    seed: int
    state_file: str | None
    """Where the training is saved now and then; None: nowhere."""
    state_key: str

    def state(self) -> TrainingState | None:
        """The training's state file."""
        if self.state_file is None:
            return None
        return TrainingState(Path(self.state_file), key=self.state_key, every_s=self.sft.save_every_s)


def train(
    loaded: LoadedModel,
    rows: Sequence[Row],
    config: SftConfig,
    *,
    revision: str | None = None,
    steps: int,
    pad: int,
    seed: int,
    folder: Path,
    state: TrainingState | None = None,
    on_step: OnStep | None = None,
) -> tuple[Any, TrainingReport]:
    """Train a base on rows, in as many processes as the config says; see `fine_tune`.

    Args:
        loaded: the base, in float32; its model is used up.
        rows: training examples; at least one.
        config: `processes` and `strategy` say how; the result differs in the last bits of sums only.
        revision: hub commit of the base, if it is from a hub.
        steps: optimizer steps, before the cap of `max_epochs`.
        pad: id for padding.
        seed: seed of the order, of new adapters and of dropout.
        folder: for the files and logs of several processes; made anew, and removed when all went well.
        state: where the training is saved now and then, and resumed from, to the bit.
        on_step: called with (step, steps, loss) after each optimizer step.

    Returns:
        The trained model, adapters merged, and the report; of several processes the model is on the CPU.

    Raises:
        UserError: what `fine_tune` raises, more processes than GPUs, or a child that died.
    """
    if config.processes == 1:
        return fine_tune(loaded.model, rows, config, steps=steps, pad=pad, seed=seed, state=state, on_step=on_step)
    _check_devices(config)
    # The children load it for themselves, and need the memory.
    loaded.model.to("meta")
    state_file, state_key = (str(state.file.absolute()), state.key) if state else (None, "")
    job = Job(base=loaded.name, revision=revision, sft=config, steps=steps, pad=pad, seed=seed, state_file=state_file,
              state_key=state_key)  # fmt: skip
    write_job(folder, job, rows)
    _run(folder, config, on_step)
    report = json.loads((folder / REPORT).read_bytes())
    model = load_checkpoint(str(folder / MODEL), dtype="float32", device="cpu").model
    shutil.rmtree(folder)
    return model, TrainingReport(**{**report, "losses": tuple(report["losses"])})


def write_job(folder: Path, job: Job, rows: Sequence[Row]) -> None:
    """Make the folder anew, with the job and its rows."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / JOB).write_text(job.model_dump_json(), encoding="utf-8")
    with (folder / ROWS).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read_job(folder: Path) -> Job:
    """The job, as a child reads it."""
    return Job.model_validate_json((folder / JOB).read_bytes())


def read_rows(folder: Path) -> list[Row]:
    """The rows of a job."""
    with (folder / ROWS).open(encoding="utf-8") as stream:
        return [Row(**json.loads(line)) for line in stream]


def _check_devices(config: SftConfig) -> None:
    import torch

    n_gpus = torch.cuda.device_count()
    if 0 < n_gpus < config.processes:
        raise UserError(
            f"`sft.processes` is {config.processes}, but the number of GPUs is {n_gpus}.",
            f"Set `sft.processes` to {n_gpus} at most: each process needs a GPU of its own.",
        )


def _run(folder: Path, config: SftConfig, on_step: OnStep | None) -> None:
    """Start the launcher, follow the steps, and raise a UserError if it failed; leaves no process behind."""
    import torch

    root = Path(__file__).parent.parent
    # The children find what this process finds, and nothing that only lies in the folder it was started from.
    paths = [str(root), *(os.path.abspath(entry) for entry in sys.path if entry)]
    threads = str(max(1, torch.get_num_threads() // config.processes))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-P", "-m", "star.distributed_worker", str(folder)]
    with (folder / "launcher.log").open("wb") as log, (folder / PROGRESS).open("a+", encoding="utf-8") as steps:
        # The pipe is never written to. It closes when this process ends, which is how the children learn of it.
        launcher = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
        assert launcher.stdin is not None
        try:
            while launcher.poll() is None:
                time.sleep(POLL_S)
                _follow(steps, on_step)
            _follow(steps, on_step)
        finally:
            launcher.stdin.close()
            launcher.wait()
    if launcher.returncode or not (folder / REPORT).is_file():
        raise _failure(folder, config)


def _follow(steps: TextIO, on_step: OnStep | None) -> None:
    """Tell of the steps that were written since the last look; a line that is not whole yet waits."""
    while True:
        place = steps.tell()
        line = steps.readline()
        if not line.endswith("\n"):
            steps.seek(place)
            return
        if on_step:
            on_step(*json.loads(line))


def _failure(folder: Path, config: SftConfig) -> UserError:
    """The error of a job that failed, from what its processes left behind."""
    exits = json.loads((folder / EXIT).read_bytes()) if (folder / EXIT).is_file() else {}
    killed = [(int(rank), name) for rank, name in exits.items() if name not in ("", "SIGTERM")]
    again = "Run it again to go on from the last save."
    if killed:
        rank, name = killed[0]
        return UserError(
            f"process {rank} of the {config.processes} of the training was ended by {name}; {_last(folder, rank)}.",
            f"Without a word of its own, this is mostly a lack of memory: lower `sft.processes`. {again}",
        )
    if (folder / ERROR).is_file():
        error = json.loads((folder / ERROR).read_bytes())
        if error["cure"] is not None:
            return UserError(error["problem"], error["cure"])
        rank = error["rank"]
        return UserError(f"process {rank} of the {config.processes} of the training failed: {error['problem']}.",
                         f"Its log is {folder / f'rank-{rank}.log'}. {again}")  # fmt: skip
    return UserError(f"the launcher of the training failed; {_last(folder, None)}.", again)


def _last(folder: Path, rank: int | None) -> str:
    """What a log says last."""
    file = folder / ("launcher.log" if rank is None else f"rank-{rank}.log")
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines()] if file.is_file() else []
    said = next((line for line in reversed(lines) if line), "")
    return f"{file} ends with '{said}'" if said else f"{file} says nothing"
