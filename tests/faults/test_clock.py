"""A clock that jumps, forwards or back, changes nothing: no wait and no decision is taken from the time of day."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.remote import retry_after
from prm.training_state import TrainingState

ROOT = Path(__file__).parents[2]
PACKAGES = ("data", "verifiers", "prm", "star", "pipelines")
WALL = {f"time.{name}" for name in ("time", "time_ns", "ctime", "gmtime", "localtime")}
FILE_TIMES = {"st_mtime", "st_mtime_ns", "st_ctime", "getmtime", "getctime"}
WALL |= {f"{kind}.{name}" for kind in ("datetime", "date") for name in ("now", "utcnow", "today")}
NAMES = {name.partition(".")[2] for name in WALL}
ALLOWED = {
    ("pipelines/progress.py", "time.gmtime"),  # stands in front of a line of the log
    ("data/remote.py", "time.time"),  # a server that says until when to wait, held in check below
}


def wall_clocks(file: Path) -> Iterator[str]:
    """What a module reads of the time of day, or of when a file was changed."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names if f"{node.module}.{name.name}" in WALL)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES | FILE_TIMES:
            name = ast.unparse(node)
            if name in WALL or node.attr in FILE_TIMES:
                yield name


def test_nothing_but_the_log_and_retry_after_reads_the_time_of_day() -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for name in wall_clocks(file)
    }
    assert found == ALLOWED


def test_a_clock_that_jumped_back_a_day_delays_no_save_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = TrainingState(tmp_path / "state.safetensors", key="k", every_s=0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert state.due()


def test_a_date_to_wait_for_is_never_a_negative_time(monkeypatch: pytest.MonkeyPatch) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    monkeypatch.setattr("data.remote.time", lambda: 2e9)
    assert retry_after(date) == 0.0
    monkeypatch.setattr("data.remote.time", lambda: 1445412480.0 - 60)
    assert retry_after(date) == 60.0
