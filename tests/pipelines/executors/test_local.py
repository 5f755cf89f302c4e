"""Processes of one machine end with the process that started them, and at once when nobody wants their work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.executors import EngineSpec, Executor, ExecutorConfig, open_executor
from pipelines.executors.local import LocalExecutor
from tests.pipelines.executors.conftest import PATIENCE, Script, batches, draw, drawn_ids, ids

ROOT = Path(__file__).parents[3]
ONE = ExecutorConfig()
TWO = ExecutorConfig(workers=2)
HOLDER = """
import json, sys
from pipelines.executors import EngineSpec, ExecutorConfig, open_executor
from star.generation import Request

if __name__ == "__main__":
    spec = EngineSpec(model=sys.argv[1], engine="scripted", revision=None, batch_size=1)
    batches = [[Request(id=str(place), prompt="p", seed=place)] for place in range(9)]
    drawn = open_executor(spec, ExecutorConfig(workers=2)).map(batches)
    print(next(drawn)[0].text, flush=True)
    sys.stdin.read()
"""


def workers_of(process: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(process).children() if "spawn_main" in " ".join(child.cmdline())]


def test_one_worker_is_this_process(script: Script, workers: Callable[[ExecutorConfig], Executor]) -> None:
    executor = workers(ONE)
    assert isinstance(executor, LocalExecutor)
    assert draw(executor, list(batches(3))) == ids(batches(3))
    assert not workers_of(psutil.Process().pid)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program, answers = tmp_path / "holder.py", tmp_path / "answers.json"
    program.write_text(HOLDER)
    answers.write_text('{"p": "drawn"}')
    parent = subprocess.Popen(
        [sys.executable, str(program), str(answers)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        assert parent.stdout.readline() == "drawn\n"
        children = workers_of(parent.pid)
        assert children
        parent.kill()
        parent.wait()
        assert not psutil.wait_procs(children, timeout=PATIENCE)[1]


def test_work_that_nobody_waits_for_any_more_is_dropped(
    script: Script, workers: Callable[[ExecutorConfig], Executor]
) -> None:
    # The third batch would last until the test fails: its worker has to be ended with it.
    script.until = {"2": "never"}
    drawn = workers(TWO).map(batches(4))
    assert drawn_ids(next(drawn)) == ["0/0", "0/1"]
    children = workers_of(psutil.Process().pid)
    drawn.close()  # type: ignore[attr-defined]
    assert not psutil.wait_procs(children, timeout=PATIENCE / 2)[1]


def test_ray_is_named_with_its_cure_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from data.errors import DependencyError

    monkeypatch.setitem(sys.modules, "ray", None)
    spec = EngineSpec(model="m", engine="http", revision=None, batch_size=1)
    with pytest.raises(DependencyError, match=r"stepstar\[ray\]"):
        open_executor(spec, ExecutorConfig(type="ray"))
