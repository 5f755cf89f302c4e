"""PPO in several processes: it learns what one learns, resumes to the bit, and only the first process writes."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from data.errors import DependencyError, UserError
from star.checkpoints import load_checkpoint
from star.ppo.trainer import PpoTrainer
from star.ranks import ALONE, Ranks
from tests.ports import held_port
from tests.star.ppo.killed_ppo import small_config, small_task


def train(folder: Path, size: int, iterations: int) -> str:
    """Train in `size` processes; what they print."""
    said = launch([folder] * size, iterations)
    assert [code for code, _, _ in said] == [0] * size, said
    return "".join(out for _, out, _ in said)


def launch(folders: list[Path], iterations: int) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of a process for each folder."""
    size = len(folders)
    command = [sys.executable, str(Path(__file__).with_name("ranked_ppo.py"))]
    with held_port() as port:
        names = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        processes = [
            subprocess.Popen(
                [*command, str(folder), str(iterations)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=os.environ | names | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": os.getcwd()},
            )
            for rank, folder in enumerate(folders)
        ]  # fmt: skip
        said = [process.communicate(timeout=900) for process in processes]
    return [(process.returncode, *found) for process, found in zip(processes, said, strict=True)]


def state(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(str(folder / "state.safetensors"), framework="pt") as stream:
        names = stream.keys()
        return json.loads(stream.metadata()["ppo"]), {name: stream.get_tensor(name) for name in names}


def test_two_processes_learn_what_one_learns_and_go_on_to_the_bit(tmp_path: Path) -> None:
    said = [train(tmp_path / str(size), size, 3) for size in (1, 2)]
    assert said[0] == said[1] != ""
    (facts, alone), (other_facts, together) = (state(tmp_path / name) for name in "12")
    start = {f"weight.{name}": weight for name, weight in begun(tmp_path)._weights.items()}
    assert any((alone[name] - weight).abs().max() > 1e-4 for name, weight in start.items())
    for name, weight in alone.items():
        if not name.startswith("step."):
            torch.testing.assert_close(together[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    assert other_facts["history"] == [pytest.approx(row, rel=1e-3, abs=1e-5) for row in facts["history"]]
    for iterations in (1, 3):
        train(tmp_path / "resumed", 2, iterations)
    again = state(tmp_path / "resumed")[1]
    assert all(torch.equal(again[name], weight) for name, weight in together.items())


def test_processes_that_do_not_see_the_same_state_end_in_an_error(tmp_path: Path) -> None:
    train(tmp_path / "one", 1, 1)
    for code, _, error in launch([tmp_path / "one", tmp_path / "other"], 2):
        assert code != 0
        assert "do not see the same state" in error


def begun(folder: Path, **changes: Any) -> PpoTrainer:
    loaded = load_checkpoint("embedded", dtype="float32", device="cpu")
    return PpoTrainer(loaded, small_task(), small_config(critic_warmup=1), folder=folder / "begun", **changes)


def test_the_parts_of_all_processes_are_the_whole() -> None:
    items = list(range(7))
    assert [list(Ranks(rank, 3).span(items)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert list(ALONE.span(items)) == ALONE.joint(items) == items


def test_an_error_of_the_first_process_keeps_its_cure_on_the_way_to_the_others() -> None:
    # Sent as its constructor's arguments, as a copy is made; that of a missing package takes others.
    for error in (UserError("No.", "Do this."), DependencyError("vllm", "vllm")):
        again = copy.copy(error)
        assert (again.problem, again.cure, str(again)) == (error.problem, error.cure, str(error))
