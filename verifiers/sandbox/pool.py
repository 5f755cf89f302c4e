"""Warm workers that are started when needed, shared by threads, and replaced when they fail.

Nothing is installed in the process (no signal handler, no child reaper), so it works from any thread and from asyncio.
A forked child forgets its parent's workers and starts its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import Any

from data.errors import UserError
from verifiers.sandbox.worker import LayerRefusedError, Worker

ESSENTIAL = ("landlock", "seccomp")
"""Layers without which nothing is run, unless the caller says that this is allowed."""
_CURE = "Use Linux 5.13 or later with Landlock and seccomp, or pass allow_unsafe=True for programs that you trust."


class Sandbox:
    """A pool of workers on this machine.

    Args:
        limit: how many programs may run at once; callers beyond it wait for their turn, and waiting is not timed.
        without: layers to leave out (`namespaces`, `user`, `landlock`, `seccomp`), to try what a lesser machine gives.
        wrapper: a command to start the workers under: `verifiers.sandbox.worker.BUBBLEWRAP`, or one of a container.

    Raises:
        UserError: the wrapper's program is not installed.
    """

    def __init__(self, limit: int, without: frozenset[str] = frozenset(), wrapper: Sequence[str] = ()) -> None:
        if wrapper and shutil.which(wrapper[0]) is None:
            raise UserError(f"'{wrapper[0]}' is not installed.", "Install it, or leave the wrapper out.")
        self.limit = limit
        self._wrapper = tuple(wrapper)
        self.without = without | {"namespaces"} if wrapper else without
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._running = 0
        self._closed = False
        self._turn = threading.Condition()

    def take(self, *, allow_unsafe: bool) -> Worker:
        """A worker that is ready; the caller gives it back.

        Raises:
            UserError: this machine has not the layers that it takes, and `allow_unsafe` is not set.
            WorkerError: none could be started.
        """
        worker = self._next()
        missing = [name for name in ESSENTIAL if name not in worker.layers]
        if missing and not allow_unsafe:
            self.give_back(worker, healthy=True)
            raise UserError(f"programs cannot be run safely here: no {' and no '.join(missing)}.", _CURE)
        return worker

    def give_back(self, worker: Worker, *, healthy: bool) -> None:
        """Keep a worker for the next run, or end one that failed."""
        with self._turn:
            keep = healthy and not self._closed
            if keep:
                self._idle.append(worker)
        if not keep:
            self._end(worker)
        self._leave()

    def processes(self) -> list[int]:
        """Process ids of the launchers of the idle workers."""
        with self._turn:
            return [worker.process.pid for worker in self._idle]

    def close(self) -> None:
        """End the idle workers now and the busy ones when they come back; the next run starts new ones."""
        with self._turn:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()
            self._all.discard(worker)

    def abandon(self) -> None:
        """In a forked child: close its copies of the parent's sockets, so that the workers see the parent end."""
        for worker in self._all:
            worker.abandon()
            worker.process.returncode = 0

    def _next(self) -> Worker:
        with self._turn:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive():
                        self._running += 1
                        return worker
                    self._end(worker)
                if self._running < self.limit:
                    break
                self._turn.wait()
            self._running += 1
        try:
            worker = self._start()
        except BaseException:
            self._leave()
            raise
        self._all.add(worker)
        return worker

    def _start(self) -> Worker:
        if sys.platform != "linux":
            raise UserError(f"programs cannot be run on {sys.platform}.", "Run them in a Linux container or machine.")
        try:
            return Worker(self.without, self._wrapper)
        except LayerRefusedError:
            if "namespaces" in self.without:
                raise
            # Containers and some distributions refuse them; the other layers do not need them.
            self.without |= {"namespaces"}
            return Worker(self.without, self._wrapper)

    def _end(self, worker: Worker) -> None:
        worker.kill()
        self._all.discard(worker)

    def _leave(self) -> None:
        with self._turn:
            self._running -= 1
            self._turn.notify()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


_shared: Sandbox | None = None
_lock = threading.Lock()


def shared(workers: int = 1) -> Sandbox:
    """The sandbox of this process, with room for at least so many programs at once."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = Sandbox(max(workers, os.cpu_count() or 1))
        _shared.limit = max(_shared.limit, workers)
        return _shared


def close() -> None:
    """End every worker of the shared sandbox; the next run starts new ones."""
    global _shared
    with _lock:
        sandbox, _shared = _shared, None
    if sandbox is not None:
        sandbox.close()


def _after_fork() -> None:
    global _shared, _lock
    if _shared is not None:
        _shared.abandon()
    # The parent's locks may be held by threads that do not exist here.
    _shared, _lock = None, threading.Lock()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
