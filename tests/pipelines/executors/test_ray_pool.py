"""What is Ray's alone: nodes that join and go, versions of other nodes, whose connection it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from data.errors import UserError
from pipelines.executors import Executor, ExecutorConfig
from star.generation import Request
from tests.pipelines.executors.conftest import PATIENCE, Script, batches, draw, drawn_ids, ids

pytest.importorskip("ray")
ROOT = Path(__file__).parents[3]
HOLDER = """
import signal, sys
from pipelines.executors import EngineSpec, ExecutorConfig, open_executor
from star.generation import Request

spec = EngineSpec(model=sys.argv[1], engine="scripted", revision=None, batch_size=1)
# More than there is room for.
executor = open_executor(spec, ExecutorConfig(type="ray", workers=9, cpus=0.4))
drawn = executor.map([[Request(id="r", prompt="p", seed=0)]])
before = signal.getsignal(signal.SIGTERM)
print(next(drawn)[0].text + ", SIGTERM as before" * (signal.getsignal(signal.SIGTERM) is before), flush=True)
sys.stdin.read()
"""
Open = Callable[[ExecutorConfig], Executor]


def actors(root: int | None = None) -> list[psutil.Process]:
    """Workers below a process; Ray gives theirs the name of the actor."""
    below = psutil.Process(root).children(recursive=True)
    return [process for process in below if process.is_running() and "ray::_Worker" in process.name()]


def any_gone(processes: list[psutil.Process]) -> bool:
    return not all(process.is_running() for process in processes)


def wait_until(condition: Callable[[], bool]) -> None:
    late = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.05)


def test_workers_begin_as_there_is_room_and_the_loss_of_a_node_loses_nothing(
    cluster: Any, workers: Open, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two cores are there for three workers. The first two wait for a third, which the node that joins has room for.
    script.until = {"0": "2", "1": "2", "4": "gone", "5": "gone", "6": "gone"}
    joined: list[Any] = []

    def growing() -> Iterator[list[Request]]:
        for batch in batches(8, size=1):
            yield batch
            if not joined:
                joined.append(cluster.add_node(num_cpus=1, object_store_memory=80 << 20))

    got = []
    for completions in workers(ExecutorConfig(type="ray", workers=3)).map(growing()):
        got.append(drawn_ids(completions))
        if len(got) == 4:
            # All three are at work now, and one of them goes with its node, though not in the same moment.
            busy = actors()
            cluster.remove_node(joined[0], allow_graceful=False)
            wait_until(partial(any_gone, busy))
            script.tell("gone")
    assert got == ids(batches(8, size=1))
    assert capsys.readouterr().err.count("a worker was lost") == 1


def test_a_node_with_other_versions_is_refused_by_name(
    cluster: Any, workers: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"stepstar": "99.0+cpu"}
    monkeypatch.setattr("pipelines.executors.ray_pool.library_versions", lambda engine: ours)
    with pytest.raises(UserError, match=r"node \S+ of the Ray cluster has stepstar \S+, this process 99\.0\+cpu"):
        draw(workers(ExecutorConfig(type="ray")), list(batches(2)))


def test_a_cluster_that_does_not_answer_is_the_users_error() -> None:
    import ray

    from pipelines.executors.ray_pool import _connect

    with pytest.raises(UserError, match=r"no connection to the Ray cluster '127\.0\.0\.1:1'.*executor\.address"):
        _connect(ray, "127.0.0.1:1")


def test_close_ends_the_actors_and_leaves_a_connection_that_is_not_its_own(cluster: Any, workers: Open) -> None:
    import ray

    executor = workers(ExecutorConfig(type="ray", workers=2, address="ignored:1"))
    assert draw(executor, list(batches(4))) == ids(batches(4))
    executor.close()
    assert ray.is_initialized()
    wait_until(lambda: not actors())


def test_a_cluster_of_its_own_ends_with_the_process_that_is_killed(tmp_path: Path) -> None:
    program, answers = tmp_path / "holder.py", tmp_path / "answers.json"
    program.write_text(HOLDER)
    answers.write_text('{"p": "drawn"}')
    parent = subprocess.Popen(
        [sys.executable, str(program), str(answers)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        assert parent.stdout.readline() == "drawn, SIGTERM as before\n"
        holding = actors(parent.pid)
        assert holding
        parent.kill()
        parent.wait()
        # Ray's own processes take a minute or two more.
        assert not psutil.wait_procs(holding, timeout=PATIENCE)[1]
