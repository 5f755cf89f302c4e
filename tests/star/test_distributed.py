"""Several processes: they train what one trains, survive being killed to the bit, and leave nothing behind."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from data.errors import UserError
from prm.training_state import TrainingState
from star import distributed_worker
from star.checkpoints import LoadedModel, load_checkpoint
from star.distributed import EXIT, Job, _failure, read_job, read_rows, train, write_job
from star.ranks import Ranks
from star.sft import Row, SftConfig, fine_tune


def _neighbour(name: str) -> ModuleType:
    """A module beside this one; tests are no package."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pair = _neighbour("rank_trainings")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes trained."""
    folder = tmp_path_factory.mktemp("pair")
    processes = []
    for rank in (0, 1):
        command = [sys.executable, str(pair.__file__), str(folder), str(rank)]
        with (folder / f"{rank}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}))
    for rank, process in enumerate(processes):
        assert process.wait(timeout=900) == 0, (folder / f"{rank}.log").read_text()
    return folder


def alone(tiny: LoadedModel, name: str) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights and losses of the same training in one process."""
    losses = list[float]()
    config = pair.settings(1, **{key: value for key, value in pair.CASES[name].items() if key != "strategy"})
    model, _ = fine_tune(
        copy.deepcopy(tiny.model),
        pair.draw_rows(tiny.tokenizer),
        config,
        steps=pair.STEPS,
        pad=0,
        seed=5,
        on_step=lambda _, __, loss: losses.append(loss),
    )
    return model.state_dict(), losses


def note_of(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_bytes()))


@pytest.mark.parametrize("name", [name for name in pair.CASES if "resumed" not in name])
def test_two_processes_train_what_one_trains(tiny: LoadedModel, trained: Path, name: str) -> None:
    weights, losses = alone(tiny, name)
    assert note_of(trained, name)["losses"] == pytest.approx(losses, rel=1e-5)
    found = load_file(trained / f"{name}.safetensors")
    assert set(found) == set(weights)
    for key, weight in weights.items():
        assert (found[key] - weight).abs().max().item() < 1e-5


def test_one_process_short_of_memory_makes_all_take_smaller_passes(trained: Path) -> None:
    assert "forward passes of 1 rows instead of 2" in note_of(trained, "ddp short of memory")["note"]
    assert note_of(trained, "ddp")["note"] == ""


def test_sharded_training_that_was_stopped_goes_on_to_equal_bits(trained: Path) -> None:
    resumed, whole = (note_of(trained, name)["losses"] for name in ("fsdp resumed", "fsdp"))
    assert resumed == whole[3:]
    assert (trained / "fsdp.safetensors").read_bytes() == (trained / "fsdp resumed.safetensors").read_bytes()


def rows_of(sizes: list[int]) -> list[Row]:
    return [Row([1], [2] * (size - 1), str(at)) for at, size in enumerate(sizes)]


def test_every_row_of_a_batch_is_one_processs_and_the_tokens_are_even() -> None:
    rows = rows_of([9, 2, 5, 5, 3, 8, 2])
    shares = Ranks(0, 3).shares(rows)
    assert sorted(row.name for share in shares for row in share) == [row.name for row in rows]
    assert [sum(row.n_tokens for row in share) for share in shares] == [11, 11, 12]
    assert Ranks().shares(rows) == [rows]
    assert Ranks(0, 3).shares(rows[:1])[1:] == [[], []]


PARENT = """
import sys
from pathlib import Path
from importlib.util import module_from_spec, spec_from_file_location
import torch
torch.set_num_threads(1)
spec = spec_from_file_location("test_distributed", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
module.long_training(Path(sys.argv[2]), lambda step, _, __: print(step, flush=True))
"""


def long_training(folder: Path, on_step: Any) -> Any:
    """The training that is killed, in two children; resumed if it was begun."""
    config = pair.settings(2, **pair.LONG)
    loaded = load_checkpoint("embedded", dtype="float32")
    rows = pair.draw_rows(loaded.tokenizer, 48)
    state = TrainingState(folder / "state.safetensors", key="k", every_s=0)
    options: Any = {"folder": folder / "job", "state": state, "on_step": on_step}
    return train(loaded, rows, config, steps=pair.LONG_STEPS, pad=0, seed=5, **options)


def children_of(process: int) -> list[psutil.Process]:
    """Launcher and trainings below a process."""
    found = []
    for child in psutil.Process(process).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "star.distributed_worker" in child.cmdline():
                found.append(child)
    return found


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_children_and_a_killed_parent_cost_no_bit_and_leave_no_process(trained: Path, tmp_path: Path) -> None:
    # A child is killed in the middle: the error names it, and no other process is left.
    children: list[psutil.Process] = []

    def kill(step: int, _: int, __: float) -> None:
        if not children:
            children.extend(children_of(os.getpid()))
            next(child for child in children if child.environ().get("RANK") == "1").kill()

    with pytest.raises(UserError, match=r"process 1 of the 2 .* was ended by SIGKILL; .*rank-1\.log ends with 'step"):
        long_training(tmp_path, kill)
    assert len(children) == 3
    assert psutil.wait_procs(children, timeout=60)[1] == []
    # The parent is killed in the middle: its children end by themselves.
    command = [sys.executable, "-c", PARENT, __file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        first = int(parent.stdout.readline())
        children = children_of(parent.pid)
        parent.kill()
    assert len(children) == 3
    assert psutil.wait_procs(children, timeout=60)[1] == []
    # What was done is not done again, and the end is that of a training that nobody disturbed.
    seen: list[int] = []
    model, report = long_training(tmp_path, lambda step, _, __: seen.append(step))
    assert 1 < first < seen[0]
    assert seen == list(range(seen[0], pair.LONG_STEPS + 1))
    expected = load_file(trained / "long.safetensors")
    for key, weight in model.state_dict().items():
        assert torch.equal(weight, expected[key])
    assert report.steps == pair.LONG_STEPS
    assert not (tmp_path / "job").exists()


def test_an_error_in_a_child_is_the_error_of_the_training(tmp_path: Path) -> None:
    config = pair.settings(2)
    for rank, error in ((1, UserError("no such layer.", "Name another.")), (0, RuntimeError("closed by peer"))):
        distributed_worker._tell(tmp_path, rank, type(error), error, None)
    (tmp_path / EXIT).write_text(json.dumps({"0": "", "1": "SIGTERM"}))
    assert str(_failure(tmp_path, config)) == "no such layer. Name another."


def test_a_bug_in_a_child_names_process_error_and_log(tmp_path: Path) -> None:
    distributed_worker._tell(tmp_path, 1, KeyError, KeyError("lost"), None)
    error = _failure(tmp_path, pair.settings(2))
    assert error.problem == "process 1 of the 2 of the training failed: KeyError: 'lost'."
    assert "rank-1.log" in error.cure


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [Row([1, 2], [3], "a"), Row([], [4, 5])]
    job = Job(base="embedded", revision=None, sft=pair.settings(3, strategy="fsdp"), steps=7, pad=0, seed=1 << 62,
              state_file="/s", state_key="k")  # fmt: skip
    for _ in range(2):
        write_job(tmp_path / "job", job, rows)
    assert read_job(tmp_path / "job") == job
    assert read_rows(tmp_path / "job") == rows
    assert sorted(path.suffix for path in (tmp_path / "job").iterdir()) == [".json", ".jsonl"]


def test_more_processes_than_gpus_is_a_clear_error(
    tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"`sft.processes` is 2, but the number of GPUs is 1"):
        train(tiny, rows_of([3]), pair.settings(2), steps=1, pad=0, seed=0, folder=tmp_path / "job")


def test_sharding_over_one_process_is_refused() -> None:
    with pytest.raises(ValueError, match="needs several processes"):
        SftConfig(strategy="fsdp")
