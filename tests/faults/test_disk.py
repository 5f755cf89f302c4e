"""A full or a read-only disk: a named error with the cure, old files whole, and all goes on when there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.errors import InputError, RunFolderError
from data.records import Problem
from data.store import discard, replacing, sha256_of, write_atomic, write_shard
from pipelines.cli import main
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from star.checkpoints import EMBEDDED, LoadedModel, save_checkpoint
from tests.faults.disks import can_mount, mount, unmount

ROWS = [Problem.create(prompt=f"{place**9}+1=?", answer=str(place**9 + 1)) for place in range(4000)]
RECIPE = load_recipe("quickstart")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("a tmpfs cannot be mounted here")
    mount(folder, "size=128k")
    yield folder
    unmount(folder)


def shard(folder: Path, tiny: LoadedModel) -> Path:
    entry = write_shard(folder, "records/problems/shard-a.parquet", Problem, ROWS, key="k")
    return folder / entry.file


def checkpoint(folder: Path, tiny: LoadedModel) -> Path:
    save_checkpoint(tiny, folder / "checkpoints/g", provenance={})
    return folder / "checkpoints/g/model.safetensors"


def prm(folder: Path, tiny: LoadedModel) -> Path:
    from prm.encode import EncoderConfig
    from prm.model import build_prm, save_prm
    from prm.model_config import ModelForm

    save_prm(build_prm(str(EMBEDDED), ModelForm(), EncoderConfig()), folder / "checkpoints/prm")
    return folder / "checkpoints/prm/model.safetensors"


def training(folder: Path, tiny: LoadedModel) -> Path:
    from prm.training_state import Progress, TrainingState

    file = folder / "checkpoints/g.training.safetensors"
    TrainingState(file, key="k", every_s=0).write(dict(tiny.model.named_parameters()), Progress([0.5]))
    return file


def ppo(folder: Path, tiny: LoadedModel) -> Path:
    import torch

    from star.ppo.state import PpoState, Progress

    weights = dict(tiny.model.named_parameters())
    state = PpoState(folder / "checkpoints/p.training/state.safetensors", key="k")
    state.save(Progress(), weights, torch.optim.AdamW(weights.values()), {})
    return state.file


@pytest.mark.parametrize("write", [shard, checkpoint, prm, training, ppo])
def test_what_does_not_fit_is_named_and_is_written_when_it_fits(
    disk: Path, tiny: LoadedModel, write: Callable[[Path, LoadedModel], Path]
) -> None:
    with pytest.raises(InputError, match=r"cannot write .*No space left.*resumes"):
        write(disk, tiny)
    mount(disk, "remount,size=32m")
    first = sha256_of(write(disk, tiny))
    mount(disk, "remount,ro")
    with pytest.raises(InputError, match=r"cannot write .*Read-only"):
        write(disk, tiny)
    mount(disk, "remount,rw")
    assert sha256_of(write(disk, tiny)) == first
    # Nothing is left of the attempts that failed.
    assert not [file for file in disk.rglob("*") if file.name.startswith(".") or "partial" in file.name]


def test_a_file_stays_as_it_was_if_the_new_one_does_not_fit(disk: Path) -> None:
    write_atomic(disk / "manifest.json", b"old")
    with pytest.raises(InputError, match="No space left"):
        write_atomic(disk / "manifest.json", b"x" * (1 << 20))
    with pytest.raises(InputError, match="No space left"), replacing(disk / "manifest.json") as partial:
        partial.write_bytes(b"x" * (1 << 20))
    assert (disk / "manifest.json").read_bytes() == b"old"
    assert [file.name for file in disk.iterdir()] == ["manifest.json"]


def test_a_run_folder_goes_on_from_a_full_disk_with_what_was_finished(disk: Path) -> None:
    run = RunFolder.open(disk / "run", RECIPE)
    small = run.unit("problems", "a", "k", lambda: ROWS[:10])
    with pytest.raises(InputError, match="No space left"):
        run.unit("problems", "b", "k", lambda: ROWS)
    run.close()
    mount(disk, "remount,size=32m")
    run = RunFolder.open(disk / "run", RECIPE)
    assert run.has_unit("problems", "a", "k")
    assert not run.has_unit("problems", "b", "k")
    assert run.unit("problems", "b", "k", lambda: ROWS) == ROWS
    assert list(run.table("problems")) == small + ROWS
    run.close()


def test_a_read_only_folder_is_named_before_anything_is_computed(disk: Path) -> None:
    RunFolder.open(disk / "run", RECIPE).close()
    mount(disk, "remount,ro")
    for name in ("run", "another"):
        with pytest.raises(RunFolderError, match=r"cannot write in .*Read-only.*--out"):
            RunFolder.open(disk / name, RECIPE)
    mount(disk, "remount,rw")


def test_a_command_that_finds_the_disk_full_says_so_in_one_line(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"problem": f"1+{n}=?", "steps": [f"1+{n}={n + 1}", "so it is. " * 100]} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["stepstar", "label", str(tmp_path / "rows.jsonl"), "--how", "symbolic", "--out", str(disk / "labels.jsonl")]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match="2"):
        main()
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "No space left on device" in said
    assert "run the same command again" in said
    assert not (disk / "labels.jsonl").exists()


def test_what_a_killed_library_left_goes_with_the_next_write_and_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    code = (
        "import os, signal, sys; from pathlib import Path; from data.store import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.with_name('.tmpAbCdEf').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    def killed() -> None:
        subprocess.run([sys.executable, "-c", code, str(file)], check=False, cwd=Path(__file__).parents[2])
        assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == [".tmpAbCdEf"]

    killed()
    with replacing(file) as partial:
        assert list(partial.parent.iterdir()) == []
        partial.write_bytes(b"whole")
    assert [found.name for found in tmp_path.iterdir()] == ["state.safetensors"]
    file.unlink()
    killed()
    discard(file)
    assert list(tmp_path.iterdir()) == []
