"""Workers of both kinds, on a model server of this process that answers, waits or kills as a test tells it."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import psutil
import pytest

from pipelines.executors import EngineSpec, Executor, ExecutorConfig, open_executor
from star.generation import Completion, Request
from tests.star.test_http_engine import Reply, Server, echo, prompt_of

PATIENCE = 60.0
"""After so many seconds a test that waits for something has failed."""
# By default Ray's workers make way for every other process: on a busy machine they hardly come to their turn.
os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class Script:
    """What the server does; a prompt is the number of its batch."""

    def __init__(self) -> None:
        self.deadly: dict[str, int] = {}
        """How often a prompt kills its worker before it is answered."""
        self.until: dict[str, str] = {}
        """Prompts that wait, when first asked, until another was asked."""
        self.asked: list[str] = []
        self._news = threading.Condition()

    def __call__(self, body: dict[str, Any], n: int) -> Reply:
        prompt = prompt_of(body)
        self.tell(prompt)
        with self._news:
            awaited = self.until.get(prompt) if n == 1 else None
            if awaited and not self._news.wait_for(lambda: awaited in self.asked, PATIENCE):
                return 400, {"error": {"message": f"{awaited} was never asked"}}
        if n <= self.deadly.get(prompt, 0):
            kill_a_busy_worker()
            return None
        return echo(body, n)

    def tell(self, prompt: str) -> None:
        """Let go who waits for this."""
        with self._news:
            self.asked.append(prompt)
            self._news.notify_all()


def kill_a_busy_worker() -> None:
    """SIGKILL to one of the workers of this process; Ray's bear the name of what they do."""
    for process in psutil.Process().children(recursive=True):
        # Some other child may be gone by now.
        with suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if "spawn_main" in line or line.startswith("ray::_Worker.draw"):
                process.kill()
                # Not `process.wait()`: it would take the exit status from the pool, to which the worker would then be
                # alive for ever.
                with suppress(psutil.NoSuchProcess):
                    while process.status() != psutil.STATUS_ZOMBIE:
                        time.sleep(0.01)
                return
    raise AssertionError("no worker was at work")


def batches(n: int, size: int = 2) -> Iterator[list[Request]]:
    for place in range(n):
        yield [Request(id=f"{place}/{index}", prompt=str(place), seed=index) for index in range(size)]


def ids(requests: Iterator[list[Request]]) -> list[list[str]]:
    return [[request.id for request in batch] for batch in requests]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two cores on this machine, whatever it has, that nodes can be added to."""
    pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20}
        made = Cluster(initialize_head=True, connect=True, head_node_args=head)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(params=["local", "ray"])
def config(request: pytest.FixtureRequest) -> ExecutorConfig:
    """Two workers, as processes or as actors."""
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return ExecutorConfig(type=request.param, workers=2, retries=1)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def workers(script: Script) -> Iterator[Callable[[ExecutorConfig], Executor]]:
    """Opens executors over the server that follows the script."""
    pytest.importorskip("httpx")
    server, opened = Server(script, "openai"), list[Executor]()
    # Patient enough never to probe: the prompt of a probe is that of a batch.
    options = {"base_url": server.url, "server": "openai", "logprobs": False, "stall_s": 10 * PATIENCE}
    spec = EngineSpec(model="m", engine="http", revision=None, batch_size=4, options=options)

    def start(config: ExecutorConfig) -> Executor:
        opened.append(open_executor(spec, config))
        return opened[-1]

    yield start
    for executor in opened:
        executor.close()
    server.shutdown()
    server.server_close()


def drawn_ids(completions: list[Completion]) -> list[str]:
    assert not any(completion.error for completion in completions)
    return [completion.request_id for completion in completions]


def draw(executor: Executor, given: Sequence[list[Request]]) -> list[list[str]]:
    return [drawn_ids(completions) for completions in executor.map(given)]
