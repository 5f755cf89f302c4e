"""What do two workers give over one, with an engine that waits as for a GPU, and what does the loss of one cost?

    python tests/benchmarks/executors.py local|ray|nodes [--repetitions 3] [--out RESULT.json]

The `http` engine draws from a server of this process that lets each batch wait and answers with a hash of what it was
asked. Measured for processes, for Ray on this machine, or for Ray on two nodes (`ray start --head` and a second `ray
start --address`, one core each): samples a second of one and of two workers, after some batches that do not count; then
once more with two, one of which is killed half-way, and for two nodes one of the nodes. Every result is compared with
that of the engine in this process. RESULT.json keeps the figures by kind; `tests/benchmarks/results/executors.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines.executors import EngineSpec, Executor, ExecutorConfig, open_executor
from star.generation import Completion, Request
from tests.star.test_http_engine import Reply, Server, good, prompt_of

WAIT_S = 0.5
"""How long the server keeps a batch."""
SIZE, N_BATCHES = 8, 40
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]

Drawn = list[list[Completion]]


def batches(n: int) -> list[list[Request]]:
    """Batches that the server holds for `WAIT_S` each."""
    return [[Request(id=f"{place}/{seed}", prompt=f"{place}", seed=seed) for seed in range(SIZE)] for place in range(n)]


def answer(body: dict[str, Any], asked: int) -> Reply:
    """A hash of prompt and seed, after a wait."""
    time.sleep(WAIT_S)
    return 200, good(hashlib.sha256(f"{prompt_of(body)} {body['seed']}".encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Bench:
    """One kind of executor."""

    spec: EngineSpec
    expected: Drawn
    kind: ExecutorConfig

    def open(self, workers: int) -> Executor:
        """Workers that have drawn a batch each."""
        executor = open_executor(self.spec, self.kind.model_copy(update={"workers": workers}))
        # More than there are workers: each gets one, once it is there.
        assert len(list(executor.map(batches(4 * workers)))) == 4 * workers
        return executor

    def rate(self, executor: Executor) -> float:
        """Samples a second; what was drawn is compared."""
        began = time.perf_counter()
        drawn = list(executor.map(batches(N_BATCHES)))
        seconds = time.perf_counter() - began
        assert drawn == self.expected
        return SIZE * N_BATCHES / seconds

    def measure(self, repetitions: int) -> dict[str, Any]:
        """Rates of one and of two workers in turns, and their ratio."""
        rates: dict[int, list[float]] = {1: [], 2: []}
        with closing(self.open(1)) as one, closing(self.open(2)) as two:
            for _ in range(repetitions):
                rates[1].append(self.rate(one))
                rates[2].append(self.rate(two))
        return figures_of(rates)

    def lose(self, victim: Any) -> bool:
        """Whether the result is the same when something is killed half-way.

        Args:
            victim: called without arguments for the process to kill.
        """
        drawn: Drawn = []
        with closing(self.open(2)) as executor:
            for completions in executor.map(batches(N_BATCHES)):
                drawn.append(completions)
                if len(drawn) == N_BATCHES // 2:
                    victim().kill()
        return drawn == self.expected


def figures_of(rates: dict[int, list[float]]) -> dict[str, Any]:
    """Medians, and the ratio of each turn."""
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "one_samples_per_s": round(statistics.median(rates[1]), 2),
        "two_samples_per_s": round(statistics.median(rates[2]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def workers(parents: list[psutil.Process]) -> list[psutil.Process]:
    """Processes below some that are at a batch; Ray's bear the name of what they do."""
    found = [child for parent in parents for child in parent.children(recursive=True)]
    lines = [(child, " ".join(child.cmdline())) for child in found if child.is_running()]
    return [child for child, line in lines if "spawn_main" in line or line.startswith("ray::_Worker.draw")]


@contextmanager
def two_nodes() -> Iterator[tuple[str, list[psutil.Process]]]:
    """A cluster of two nodes on this machine: its address, and the process of each node."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    # Whoever reaches a cluster runs what he likes there: this one is for who knows the token.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [["--head", f"--port={port}", "--include-dashboard=false"], [f"--address={address}"]]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            nodes.append(subprocess.Popen([*RAY, *command], **quiet))
            wait_for_nodes(address, len(nodes))
        yield address, [psutil.Process(node.pid) for node in nodes]
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait()


def wait_for_nodes(address: str, n: int) -> None:
    """Return when a cluster has so many nodes."""
    code = f"import ray; ray.init('{address}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    for _ in range(30):
        # In a process of its own: the executor is to make the connection of this one.
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
        if said.stdout.split()[-1:] == [str(n)]:
            return
        time.sleep(1)
    raise TimeoutError(said.stderr)


def raylet(node: psutil.Process) -> psutil.Process:
    """The process that a node stands and falls with."""
    return next(child for child in node.children(recursive=True) if child.name() == "raylet")


def measure_here(bench: Bench, repetitions: int) -> dict[str, Any]:
    """Two workers on this machine."""
    same = bench.lose(lambda: workers([psutil.Process()])[0])
    return {"same_after_a_killed_worker": same, **bench.measure(repetitions)}


def measure_nodes(spec: EngineSpec, expected: Drawn, repetitions: int) -> dict[str, Any]:
    """Two workers on a node each."""
    with two_nodes() as (address, nodes):
        bench = Bench(spec, expected, ExecutorConfig(type="ray", address=address))
        # One core a node: with one executor at a time, since two would share the two places.
        rates: dict[int, list[float]] = {}
        for count in (1, 2):
            with closing(bench.open(count)) as executor:
                rates[count] = [bench.rate(executor) for _ in range(repetitions)]
        with closing(bench.open(2)) as executor:
            drawn = executor.map(batches(4))
            next(drawn)
            apart = [len(workers([node])) for node in nodes]
        return figures_of(rates) | {
            "workers_at_work_by_node": apart,
            "same_after_a_killed_worker": bench.lose(lambda: workers(nodes)[0]),
            "same_after_a_killed_node": bench.lose(lambda: raylet(nodes[1])),
        }


def main() -> None:
    """Measure one kind, print and store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("local", "ray", "nodes"))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    server = Server(answer, "openai")
    options = {"base_url": server.url, "server": "openai", "logprobs": False}
    spec = EngineSpec(model="m", engine="http", revision=None, batch_size=SIZE, options=options)
    with closing(open_executor(spec, ExecutorConfig())) as executor:
        expected = list(executor.map(batches(N_BATCHES)))
    if settings.kind == "nodes":
        figures = measure_nodes(spec, expected, settings.repetitions)
    else:
        kind = ExecutorConfig(type=settings.kind, cpus=0.5)
        figures = measure_here(Bench(spec, expected, kind), settings.repetitions)
    figures |= {"wait_s": WAIT_S, "batches": N_BATCHES, "samples_a_batch": SIZE}
    print(json.dumps(figures, indent=1))
    if settings.out:
        stored = json.loads(settings.out.read_text()) if settings.out.exists() else {}
        found = stored | {settings.kind: figures}
        settings.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
