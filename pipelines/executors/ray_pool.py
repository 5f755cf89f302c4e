"""The executor of a Ray cluster: a pool of actors, each of which holds an engine.

Only Ray's core is used: its own LLM batches give one sample a prompt and want another vLLM. An actor takes one batch at
a time, and a batch is asked for only when an actor is free, so what is in memory does not grow. Actors begin as the
cluster finds room for them, those of nodes that join later too; none waits for the others. A batch whose actor was lost
(killed, or its node with it) goes to the next that is free, and is drawn as before, since seeds belong to the requests.

stepstar must be installed on every node, with the versions that this process has, and a model that is a folder must lie
there under the same path; an actor that finds other versions is refused by name.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from data.errors import DependencyError, EngineError, UserError
from pipelines.executors import EngineSpec, ExecutorConfig
from pipelines.executors.local import LocalExecutor, draw_batch
from pipelines.machine import library_versions
from pipelines.progress import QUIET_SECONDS, say
from star.generation import Completion, Request


@dataclass(slots=True, eq=False)
class _Job:
    """A batch on its way."""

    batch: list[Request]
    completions: list[Completion] | None = None
    is_given: bool = False
    """Whether an actor has it, or had it and is done."""
    losses: int = 0
    """Actors that were lost over it."""


class RayExecutor:
    """A pool of Ray actors. The connection to the cluster is that of this process, if it has one.

    Args:
        spec: of the engine that each actor builds.
        config: the cluster, how many actors, and what each needs.

    Raises:
        DependencyError: Ray is not installed.
    """

    def __init__(self, spec: EngineSpec, config: ExecutorConfig) -> None:
        try:
            import ray
        except ImportError:
            raise DependencyError("ray", "ray") from None
        self._ray: Any = ray
        # Actors have other working folders; to a server a model is only a name.
        is_path = spec.engine != "http" and Path(spec.model).exists()
        self._spec = replace(spec, model=os.path.abspath(spec.model)) if is_path else spec
        self._config = config
        self._free: list[Any] = []
        self._running: dict[Any, tuple[Any, _Job | None]] = {}
        """By the reference of what is to come: the actor and its batch, or None while it starts."""
        self._failed_starts = 0
        self._is_own = False
        """Whether the connection was begun here."""

    def map(self, batches: Iterable[Sequence[Request]]) -> Iterator[list[Completion]]:
        """See `Executor`; one at a time.

        Raises:
            UserError: the cluster is not found, or is this machine and has no room for a single actor; a node has other
                versions; the engine cannot be built.
            EngineError: the engine failed, or actors were lost more often in a row than `retries`.
        """
        waiting = iter(batches)
        jobs = deque(_Job(list(batch)) for batch in islice(waiting, 1))
        if jobs and not self._running and not self._free:
            self._begin()
        while jobs:
            while self._free and (job := self._next_job(waiting, jobs)):
                actor, job.is_given = self._free.pop(), True
                self._running[actor.draw.remote(job.batch)] = actor, job
            if jobs[0].completions is None:
                self._wait()
            else:
                yield jobs.popleft().completions or []

    def _begin(self) -> None:
        """Connect, and ask for the actors; a run that has all its batches never comes here."""
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            _connect(self._ray, self._config.address)
        self._check_room()
        for _ in range(self._config.workers):
            self._start()

    def _next_job(self, waiting: Iterator[Sequence[Request]], jobs: deque[_Job]) -> _Job | None:
        """A batch without an actor, or a new one while no more are open than actors and one."""
        left = next((job for job in jobs if not job.is_given), None)
        if left or len(jobs) > self._config.workers or (batch := next(waiting, None)) is None:
            return left
        jobs.append(_Job(list(batch)))
        return jobs[-1]

    def _start(self) -> None:
        """Have an actor placed, whenever there is room for it."""
        options = {"num_cpus": self._config.cpus, "num_gpus": self._config.gpus, "scheduling_strategy": "SPREAD"}
        actor = self._ray.remote(**options)(_Worker).remote(self._spec)
        self._running[actor.versions.remote()] = actor, None

    def _wait(self) -> None:
        """Take in what the next actor, or some, have done."""
        from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

        done, _ = self._ray.wait(list(self._running), timeout=QUIET_SECONDS)
        if not done and not any(job for _, job in self._running.values()):
            say(f"no worker has found a place yet: each needs {self._needs()}")
        for reference in done:
            actor, job = self._running.pop(reference)
            self._free.append(actor)
            try:
                found = self._ray.get(reference)
            except RayTaskError as error:
                # As Ray raises it, it is a UserError and Ray's own at once, with a traceback for a message.
                raise error.cause from None
            except (RayActorError, ObjectLostError) as error:
                self._replace(self._free.pop(), job, error)
                continue
            if job:
                job.completions = found
            else:
                self._failed_starts = 0
                _check_versions(self._spec.engine, *found)

    def _replace(self, actor: Any, job: _Job | None, error: Exception) -> None:
        """Start another actor for one that was lost; its batch waits for the next that is free."""
        self._ray.kill(actor)
        retries, why = self._config.retries, _last_line(error)
        if job:
            job.losses, job.is_given = job.losses + 1, False
            left = retries - job.losses
            if left < 0:
                raise EngineError(
                    f"{job.losses} workers in a row were lost at the same batch; is there memory for as many as each "
                    f"node takes ({self._needs()} each: executor.cpus, executor.gpus)? The last: {why}"
                )
            say(f"a worker was lost; its batch is drawn again by another ({left} more tries)")
        else:
            self._failed_starts += 1
            if self._failed_starts > retries:
                raise EngineError(
                    f"{self._failed_starts} workers in a row did not start; is this version of stepstar installed on "
                    f"every node? The last: {why}"
                )
        self._start()

    def _needs(self) -> str:
        return f"{self._config.cpus:g} cores and {self._config.gpus:g} GPUs"

    def _check_room(self) -> None:
        """Refuse what can never be placed; other clusters may grow."""
        there, config = self._ray.cluster_resources(), self._config
        cores, gpus = there.get("CPU", 0), there.get("GPU", 0)
        if self._is_own and not config.address and (config.cpus > cores or config.gpus > gpus):
            self.close()
            raise UserError(
                f"a worker needs {self._needs()}, and this machine has {cores:g} and {gpus:g}.",
                "Lower executor.cpus or executor.gpus, or name a cluster with executor.address.",
            )
        if gpus and not config.gpus and self._spec.computes:
            say(f"the workers use none of the cluster's {gpus:g} GPUs: executor.gpus is 0")

    def close(self) -> None:
        """End the actors, and the connection if it was begun here."""
        # Kill does not wait, and who comes next wants the memory of the GPUs.
        if self._free:
            self._ray.wait([actor.close.remote() for actor in self._free], num_returns=len(self._free), timeout=60)
        for actor in [*self._free, *(actor for actor, _ in self._running.values())]:
            self._ray.kill(actor)
        self._free, self._running = [], {}
        if self._is_own:
            self._ray.shutdown()
            self._is_own = False


class _Worker:
    """What an actor does, on whatever node."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec, self._executor = spec, LocalExecutor(spec)

    def versions(self) -> tuple[str, dict[str, str]]:
        return platform.node(), library_versions(self._spec.engine)

    def draw(self, batch: list[Request]) -> list[Completion]:
        return draw_batch(self._executor, batch)

    def close(self) -> None:
        self._executor.close()


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start one on this machine.

    Raises:
        UserError: there is none, or it has another Ray or Python.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray takes the signal for itself; what a run does with it is the command line's business.
    on_terminate = signal.getsignal(signal.SIGTERM)
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit():
            # Ray would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"no connection to the Ray cluster '{address or 'local'}': {_last_line(error)}",
            "Start one with `ray start --head`, name it with executor.address, and if it wants a token, set "
            "RAY_AUTH_MODE=token as there.",
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)


def _check_versions(engine: str, node: str, found: dict[str, str]) -> None:
    """Raise a UserError if a node's libraries are not ours; builds for another device (`+cpu`) pass."""
    for name, ours in library_versions(engine).items():
        theirs = found.get(name, "none")
        if ours.partition("+")[0] != theirs.partition("+")[0]:
            raise UserError(
                f"node {node} of the Ray cluster has {name} {theirs}, this process {ours}.",
                "Install the same versions on every node: results depend on them.",
            )


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
