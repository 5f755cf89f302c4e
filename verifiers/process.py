"""One worker process as its parent sees it: started by exec, asked over pipes with a deadline, killed when late.

The fresh interpreter shares nothing with this process, so it does not matter what `__main__` is, what threads or
accelerators the parent holds, or what the current directory is. Requests and replies are JSON lines.
"""

from __future__ import annotations

import json
import math
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from verifiers.answers.decision import Decision, Outcome

MEMORY_MB = 1024
"""Cap on the address space of one worker."""
START_TIMEOUT_S = 120.0
"""How long a worker may take to import sympy on a busy machine."""
PATIENCE = 20
"""A case may take so many times its limit by the clock. What is late is told by CPU time, so that a case ends the same
way however busy the machine is."""

_PROCESS_CLOCK = 2
"""CPUCLOCK_SCHED: the kind of clock that counts the CPU time of a whole process, in Linux's numbering."""
_ROOT = str(Path(__file__).resolve().parent.parent)
_BOOT = (
    "import json,sys; sys.path.extend(json.loads(sys.argv[1])); from verifiers.worker import main;"
    " main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Worker:
    """One worker process; used by one thread at a time."""

    def __init__(self, memory_mb: int = MEMORY_MB) -> None:
        self._buffer = b""
        self.cases = 0
        self.process = spawner.run(lambda: _start(memory_mb))
        try:
            self.ready = bool(self._read(START_TIMEOUT_S))
        except BaseException:
            self.kill()
            raise

    def ask(self, request: dict[str, str], timeout_s: float) -> Decision:
        """Send one case and wait for the decision, no longer than so many CPU seconds of the worker."""
        self.cases += 1
        spent_s = self._cpu_s()
        try:
            self._write(json.dumps(request).encode("ascii") + b"\n")
            line = self._read(timeout_s) if spent_s is None else self._read(timeout_s * PATIENCE, spent_s + timeout_s)
        except BrokenPipeError:
            line = b""
        if not line:
            return Decision(Outcome.UNKNOWN, "timeout" if line is None else "worker_died")
        reply = json.loads(line)
        return Decision(Outcome(reply["outcome"]), reply["rule"])

    def alive(self) -> bool:
        """Whether the process is still there."""
        return self.ready and self.process.poll() is None

    def kill(self) -> None:
        """End the process now and collect it."""
        self.process.kill()
        self.process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close our ends of the pipes without touching the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _write(self, raw: bytes) -> None:
        assert self.process.stdin is not None
        # A request is far smaller than the pipe's buffer, so this never waits for the worker to read.
        while raw:
            raw = raw[os.write(self.process.stdin.fileno(), raw) :]

    def _cpu_s(self) -> float | None:
        """CPU time of the process so far; None where it cannot be known: not on Linux, or the process is gone."""
        if sys.platform != "linux":
            return None
        try:
            return time.clock_gettime((~self.process.pid << 3) | _PROCESS_CLOCK)
        except OSError:
            return None

    def _read(self, limit_s: float, cpu_limit_s: float = math.inf) -> bytes | None:
        """The next line; empty if the worker is gone, None if it has not come within one of the limits.

        Args:
            limit_s: by the clock, from now on.
            cpu_limit_s: CPU time of the process since it began.
        """
        assert self.process.stdout is not None
        descriptor, deadline = self.process.stdout.fileno(), time.monotonic() + limit_s
        poller = select.poll()
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._buffer:
            left = min(deadline - time.monotonic(), cpu_limit_s - (self._cpu_s() or 0.0))
            if left <= 0:
                return None
            # It cannot use up its CPU time any sooner than that.
            if not poller.poll(math.ceil(left * 1000)):
                continue
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return b""
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


class Spawner:
    """Starts processes from one thread that lasts: Linux kills a worker when the *thread* that started it ends."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Call `start` on the lasting thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="verifiers-spawner", daemon=True)
                self._thread.start()
        result: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((start, result))
        return result.result()

    def forget(self) -> None:
        """In a forked child: the thread is not there, and its lock may be held for ever."""
        self.__init__()  # type: ignore[misc]

    def _serve(self) -> None:
        while True:
            start, result = self._jobs.get()
            try:
                result.set_result(start())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the result
                result.set_exception(error)


def _start(memory_mb: int) -> subprocess.Popen[bytes]:
    # -S and -P with an explicit path: neither the current directory nor PYTHONPATH can put another `data` or
    # `verifiers` in front, while packages are found wherever the parent finds them. The fixed hash seed fixes the
    # order of sympy's sets.
    paths = [_ROOT, *(os.path.abspath(entry) for entry in sys.path if entry)]
    environment = {key: text for key, text in os.environ.items() if key == "PYTHONHOME" or not key.startswith("PYTHON")}
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-c", _BOOT, json.dumps(paths), str(os.getpid()), str(memory_mb)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        env=environment | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"})  # fmt: skip


spawner = Spawner()
