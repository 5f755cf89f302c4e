"""A small training that may kill itself; run by `test_training.py` as `killed_training.py FOLDER STEP`.

At STEP (0: never) the process sends itself SIGKILL, after that step was saved. Run again, it goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import torch

from prm.labels import LabelledSolution
from prm.model import build_prm, save_prm
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_rows import prepare_rows
from prm.training_state import TrainingState
from star.checkpoints import EMBEDDED


def train(folder: Path, kill_at: int = 0) -> None:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    config = PrmTrainingConfig(steps=8, batch_tokens=40, save_every_s=0, evaluate_every=3)
    solutions = [
        LabelledSolution(
            problem=f"{n}+2=?", steps=(f"{n}+2={n + 2}", "#"), values=(1.0, n % 2 * 1.0), source="symbolic"
        )
        for n in range(9)
    ]
    loaded = build_prm(str(EMBEDDED))
    rows = prepare_rows(loaded.encoder, solutions, config, Counter())

    def note(step: int, _: int, __: float) -> None:
        with (folder / "steps.txt").open("a") as stream:
            stream.write(str(step))
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    state = TrainingState(folder / "state.safetensors", key="k", every_s=0)
    train_prm(loaded, rows[:6], config, seed=0, dev=rows[6:], state=state, on_step=note)
    save_prm(loaded, folder / "prm")


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
