"""Trainings of two processes, one after the other; run by `test_distributed.py` as `rank_trainings.py FOLDER RANK`.

The first process leaves of each of `CASES` `NAME.safetensors` and `NAME.json`: losses of the steps, note of the report.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from data.config import Config
from prm.training_state import TrainingState
from star.checkpoints import load_checkpoint
from star.encoding import encode_completion, encode_prompt
from star.ranks import Ranks
from star.sft import Row, SftConfig, fine_tune

CASES: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {"strategy": "fsdp"},
    "ddp lora": {"lora_rank": 4},
    "fsdp lora": {"strategy": "fsdp", "lora_rank": 4, "gradient_checkpointing": True},
    "ddp short of memory": {},
    "fsdp resumed": {"strategy": "fsdp"},
}
STEPS = 6
LONG = {"batch_size": 24, "micro_batch_size": 4, "save_every_s": 0.0}
"""Settings of the training that `test_distributed.py` kills; `LONG_STEPS` steps."""
LONG_STEPS = 16


def draw_rows(tokenizer: Any, n: int = 9) -> list[Row]:
    pairs = [
        (f"{a}+{a % 7}=?\n", f"{a}+{a % 7}={a + a % 7}\n" * (a % 3) + f"#### {a + a % 7}") for a in range(11, 11 + n)
    ]
    return [Row(encode_prompt(tokenizer, prompt), encode_completion(tokenizer, text), prompt) for prompt, text in pairs]


def settings(processes: int, **changes: Any) -> SftConfig:
    """Of nine rows in batches of four, the third batch has one row: too few for two processes."""
    fields = {"batch_size": 4, "micro_batch_size": 2, "max_epochs": 100.0, "processes": processes}
    return SftConfig(**{**fields, **changes})


def run_out_above(model: Any, n_tokens: int) -> None:
    """Let passes over more tokens run out of memory."""

    def check(_: Any, __: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].numel() > n_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.register_forward_pre_hook(check, with_kwargs=True)


class Note(Config):
    """What a training said."""

    losses: list[float]
    note: str


def train_one(name: str, config: SftConfig, ranks: Ranks, folder: Path, stop_at: int = 0, steps: int = STEPS) -> None:
    loaded, losses = load_checkpoint("embedded", dtype="float32"), list[float]()
    if "memory" in name and ranks.rank == 1:
        run_out_above(loaded.model, 40)

    def note(step: int, _: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise KeyboardInterrupt

    rows = draw_rows(loaded.tokenizer, 48 if steps == LONG_STEPS else 9)
    state = TrainingState(folder / "fsdp.state", key="k", every_s=0) if "resumed" in name else None
    options: Any = {"state": state, "on_step": note, "ranks": ranks}
    model, report = fine_tune(loaded.model, rows, config, steps=steps, pad=0, seed=5, **options)
    if ranks.first:
        from safetensors.torch import save_file

        save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(Note(losses=losses, note=report.note).model_dump_json())


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name, changes in CASES.items():
        ranks = Ranks(rank, 2, sharded=changes.get("strategy") == "fsdp")
        if "resumed" in name:
            with suppress(KeyboardInterrupt):
                train_one(name, settings(2, **changes), ranks, folder, stop_at=3)
        train_one(name, settings(2, **changes), ranks, folder)
    train_one("long", settings(2, **LONG), Ranks(rank, 2), folder, steps=LONG_STEPS)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
