"""A warm pool of worker processes that can be killed: the only place where an answer's algebra runs.

No signal handler is installed, so checks run from any thread, from `asyncio.to_thread`, and after a fork (the child
then starts its own workers). A worker that is late is killed and replaced; its case is `timeout`, and no other case
waits for longer than that. The clock of a case starts when a ready worker receives it and counts the worker's CPU time:
a busy machine makes no case late.
"""

from __future__ import annotations

import atexit
import os
import threading

from verifiers.answers.decision import Decision, Outcome
from verifiers.process import Worker, spawner

MAX_CASES = 2_000
"""Cases after which a worker is replaced, since sympy's caches only grow."""


class WorkerPool:
    """Workers that are started when needed and kept warm.

    Args:
        limit: how many may run at once; callers beyond it wait for their turn, and waiting is not timed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: list[Worker] = []
        self._running = 0
        self._closed = False
        self._turn = threading.Condition()

    def decide(self, gold: str, answer: str, *, timeout_s: float) -> Decision:
        """Decide one pair by algebra.

        Args:
            gold: the right answer.
            answer: the bare answer to check.
            timeout_s: limit of this case, CPU seconds of its worker (where those cannot be read, seconds).

        Returns:
            The decision; `UNKNOWN` with rule `timeout`, `worker_died` or `memory` when the worker was lost.
        """
        worker = self._take()
        healthy = False
        try:
            if not worker.ready:
                return Decision(Outcome.UNKNOWN, "worker_not_started")
            decision = worker.ask({"gold": gold, "answer": answer}, timeout_s)
            healthy = decision.rule not in ("timeout", "worker_died", "memory") and worker.cases < MAX_CASES
            return decision
        finally:
            self._give_back(worker, healthy=healthy)

    def processes(self) -> list[int]:
        """Process ids of the idle workers."""
        with self._turn:
            return [worker.process.pid for worker in self._idle]

    def close(self) -> None:
        """End the idle workers now and the busy ones when they come back; the pool starts none after that."""
        with self._turn:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def abandon(self) -> None:
        """In a forked child: forget the parent's workers, and close the child's copies of their pipes."""
        for worker in self._idle:
            worker.abandon()
            worker.process.returncode = 0
        self._idle = []

    def _take(self) -> Worker:
        with self._turn:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive():
                        self._running += 1
                        return worker
                    worker.kill()
                if self._running < self.limit:
                    break
                self._turn.wait()
            self._running += 1
        try:
            return Worker()
        except BaseException:
            self._leave()
            raise

    def _give_back(self, worker: Worker, *, healthy: bool) -> None:
        with self._turn:
            keep = healthy and not self._closed
            if keep:
                self._idle.append(worker)
        if not keep:
            worker.kill()
        self._leave()

    def _leave(self) -> None:
        with self._turn:
            self._running -= 1
            self._turn.notify()


_pool: WorkerPool | None = None
_pool_lock = threading.Lock()


def shared(workers: int = 1) -> WorkerPool:
    """The pool of this process, with room for at least so many workers."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = WorkerPool(max(workers, os.cpu_count() or 1))
        _pool.limit = max(_pool.limit, workers)
        return _pool


def close() -> None:
    """End every worker of this process; the next check starts new ones."""
    global _pool
    with _pool_lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.close()


def _after_fork() -> None:
    global _pool, _pool_lock
    if _pool is not None:
        _pool.abandon()
    # The parent's locks may be held by threads that do not exist here.
    _pool, _pool_lock = None, threading.Lock()
    spawner.forget()


atexit.register(close)
os.register_at_fork(after_in_child=_after_fork)
