"""Executors of one machine: the engine in this process, or several processes with an engine each.

Processes are spawned, so that none inherits a GPU context or a thread, and each of them takes one of the visible GPUs
in turn. A worker that dies (killed for memory, say) takes its pool with it: a new one begins with the batches that were
not done, which are drawn as before, since seeds belong to the requests. Workers end with this process, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from data.errors import EngineError, StepstarError, UserError
from pipelines.executors import EngineSpec, ExecutorConfig
from pipelines.progress import say
from star.generation import Completion, Generator, Request


class LocalExecutor:
    """The engine in this process, built for the first batch.

    Args:
        spec: of the engine.
        generator: the engine, where it is there already.
    """

    def __init__(self, spec: EngineSpec, generator: Generator | None = None) -> None:
        self._spec, self._generator = spec, generator

    @property
    def generator(self) -> Generator:
        """The engine, loaded at first use."""
        if self._generator is None:
            self._generator = self._spec.build()
        return self._generator

    def map(self, batches: Iterable[Sequence[Request]]) -> Iterator[list[Completion]]:
        """See `Executor`."""
        for batch in batches:
            yield list(self.generator.generate(batch))

    def close(self) -> None:
        """Free the engine."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None


class ProcessExecutor:
    """A pool of processes.

    Args:
        spec: of the engine that each of them builds.
        config: how many they are, and how often a batch may lose its worker.
    """

    def __init__(self, spec: EngineSpec, config: ExecutorConfig) -> None:
        self._spec, self._config = spec, config
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None
        """Never written to: workers end when it is closed, here or because this process is gone."""

    def map(self, batches: Iterable[Sequence[Request]]) -> Iterator[list[Completion]]:
        """See `Executor`."""
        waiting, left = iter(batches), self._config.retries
        # One batch more than workers: who is done finds the next one there.
        open_: deque[tuple[Sequence[Request], Future[list[Completion]]]] = deque()
        try:
            while True:
                while len(open_) <= self._config.workers and (batch := next(waiting, None)) is not None:
                    open_.append((batch, self._submitted(batch)))
                if not open_:
                    return
                try:
                    done = open_[0][1].result()
                except BrokenProcessPool as error:
                    if not left:
                        raise EngineError(
                            f"workers died {self._config.retries + 1} times in a row at the same batch; is there "
                            f"memory for {self._config.workers} of them (executor.workers)?"
                        ) from error
                    left -= 1
                    say(f"a worker died; its batch is drawn again by a new one ({left} more tries)")
                    self.close()
                    open_ = deque((batch, self._again(batch, future)) for batch, future in open_)
                    continue
                left = self._config.retries
                open_.popleft()
                yield done
        finally:
            if open_:
                # Nobody wants what they are at; at exit, Python would wait for it.
                self.close()

    def _submitted(self, batch: Sequence[Request]) -> Future[list[Completion]]:
        """As `_submit`; a pool that broke while nobody was waiting says so where its results are asked for."""
        try:
            return self._submit(batch)
        except BrokenProcessPool as error:
            future: Future[list[Completion]] = Future()
            future.set_exception(error)
            return future

    def _again(self, batch: Sequence[Request], future: Future[list[Completion]]) -> Future[list[Completion]]:
        """What was done when the pool broke is kept."""
        return self._submit(batch) if future.cancelled() or future.exception() else future

    def _submit(self, batch: Sequence[Request]) -> Future[list[Completion]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            far_end, self._lifeline = context.Pipe(duplex=False)
            places: Any = context.Queue()
            for place in range(self._config.workers):
                places.put(place)
            self._pool = ProcessPoolExecutor(
                self._config.workers, mp_context=context, initializer=_begin, initargs=(self._spec, places, far_end)
            )
        return self._pool.submit(_draw, list(batch))

    def close(self) -> None:
        """End the processes."""
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


_worker: list[LocalExecutor] = []
"""The engine of a worker process."""


def _begin(spec: EngineSpec, places: Any, lifeline: Connection) -> None:
    """What a worker process does first; the engine is built with its first batch, whose future carries an error."""
    # Ctrl-C goes to the whole foreground group; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    devices = _visible_gpus() if spec.computes else []
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[places.get() % len(devices)]
    _worker.append(LocalExecutor(spec))


def _end_with(lifeline: Connection) -> None:
    """End this process, and what its engine has started, when the other end is closed."""
    lifeline.poll(None)
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(1)


def _visible_gpus() -> list[str]:
    """As `CUDA_VISIBLE_DEVICES` names them; CUDA itself must not be begun before the choice."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(place) for place in range(torch.cuda.device_count())]


def _draw(batch: list[Request]) -> list[Completion]:
    (executor,) = _worker
    return draw_batch(executor, batch)


def draw_batch(executor: LocalExecutor, batch: Sequence[Request]) -> list[Completion]:
    """One batch, in a process whose errors go to another.

    Raises:
        UserError: the engine cannot be built.
        EngineError: the engine failed.
    """
    try:
        return next(executor.map([batch]))
    except UserError as error:
        # Some errors do not survive the way between processes as themselves; their text does.
        raise UserError(error.problem, error.cure) from None
    except StepstarError as error:
        raise EngineError(str(error)) from None
