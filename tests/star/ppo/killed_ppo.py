"""Runs a small PPO in a folder and kills itself with SIGKILL at its n-th optimizer step (n = 0: never).

python killed_ppo.py FOLDER N
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from star.checkpoints import LoadedModel
from star.generation.base import SamplingParams
from star.ppo.config import GuardConfig, PpoConfig
from star.ppo.judging import one_by_one
from star.ppo.task import Task
from star.ppo.trainer import PpoTrainer


def score(problem: str, steps: Sequence[str]) -> list[float]:
    """A scorer that tells steps apart: longer ones look better."""
    return [min(1.0, len(step) / 12) for step in steps]


def small_config(**changes: Any) -> PpoConfig:
    values = {
        "iterations": 3,
        "problems_per_iteration": 3,
        "samples_per_problem": 2,
        "epochs": 2,
        "critic_warmup": 0,
        "minibatch_size": 3,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "critic_learning_rate": 1e-2,
        "lora_rank": 2,
        "guards": GuardConfig(gate_every=2, gate_drop=1.0),
        "max_update_kl": 1e9,
    }
    return PpoConfig(**(values | changes))


def small_task(**changes: Any) -> Task:
    options = {"difficulty": [1, 2], "n": 3, "seed": 4}
    values = {
        "problems": list(read_arithmetic(options)),
        "heldout": list(read_arithmetic(options | {"n": 2}, "test")),
        "template": PromptTemplate("arithmetic"),
        "sampling": SamplingParams(max_tokens=30),
        "scorer": one_by_one(score),
    }
    return Task(**(values | changes))


def trainer(loaded: LoadedModel, folder: Path, task: Task | None = None, **changes: Any) -> PpoTrainer:
    return PpoTrainer(loaded, task or small_task(), small_config(**changes), folder=folder)


if __name__ == "__main__":
    import torch

    import star.ppo.update
    from star.checkpoints import load_checkpoint

    torch.set_num_threads(1)
    steps, original, deadly = 0, star.ppo.update._step, int(sys.argv[2])

    def step(*arguments: Any) -> Any:
        global steps
        steps += 1
        if steps == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    star.ppo.update._step = step
    trainer(load_checkpoint("embedded"), Path(sys.argv[1])).run()
