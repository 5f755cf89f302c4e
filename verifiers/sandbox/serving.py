"""A server: takes one request at a time, forks a child for it, watches the child from outside, and reports.

The child gets its descriptors at fixed numbers (0 to 2, the conversation at 3, the report at 4) and nothing else that
is open here. It is killed at the deadline, when it writes too much, when the conversation is over, and when the parent
goes away; it is always waited for, and its output is counted while it is drained.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from verifiers.sandbox.frames import ControlChannel
from verifiers.sandbox.layers import Layers, Limits, confine
from verifiers.sandbox.scratch import Scratch

CONVERSATION, REPORT = 3, 4
"""Descriptors in a child."""
TAIL = 2048
"""Bytes of output that are reported."""
_CHUNK = 1 << 16
_DISK_POLL_MS = 4
_FAREWELL_S = 0.1
_READY = b"+"
MAX_DESCRIPTORS = 256
"""Open descriptors of a server; it never comes near."""
_HIGH = 200


@dataclass(slots=True)
class Stream:
    """A pipe out of the child."""

    descriptor: int
    keep: int
    """How many bytes at the end are kept."""
    counted: bool = True
    size: int = 0
    data: bytearray = field(default_factory=bytearray)

    def drain(self) -> bool:
        """Read once; False at the end."""
        chunk = os.read(self.descriptor, _CHUNK)
        self.size += len(chunk)
        self.data += chunk
        if len(self.data) > 2 * self.keep + _CHUNK:
            del self.data[: -self.keep]
        return bool(chunk)

    def text(self) -> str:
        """The bytes that were kept, with what is no UTF-8 as lone surrogates."""
        return bytes(self.data[-self.keep :]).decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Run:
    """A child that runs."""

    pid: int
    streams: dict[str, Stream]
    deadline: float
    output_limit: int
    cpu_limit_s: int
    over: bool = False
    """Whether the conversation came to its end."""
    reason: str = ""
    """Why it was killed; empty if it ended by itself."""
    status: int = 0
    """Exit status, or minus the signal."""
    cpu_s: float = 0.0

    def kill(self, reason: str) -> None:
        """End it, for the first reason that there is."""
        if not self.reason:
            self.reason = reason
            os.kill(self.pid, signal.SIGKILL)

    def end_soon(self) -> None:
        """The conversation is over: time to write out what is buffered, and no more."""
        self.over = True
        self.deadline = min(self.deadline, time.monotonic() + _FAREWELL_S)

    def written(self) -> int:
        """Bytes of output so far."""
        return sum(stream.size for stream in self.streams.values() if stream.counted)


def fork(
    layers: Layers, limits: Limits, inputs: dict[int, int], outputs: dict[str, int], body: Callable[[], int]
) -> Any:
    """Fork a confined child.

    Args:
        layers: what holds.
        limits: its limits.
        inputs: descriptors that it gets, by their number in the child.
        outputs: number in the child of each pipe out of it, by name; `report` must be among them.
        body: what it does; its result is the exit status.

    Returns:
        Process id, and the reading end of every pipe.
    """
    pipes = {name: os.pipe() for name in outputs}
    pid = os.fork()
    if not pid:
        placed = inputs | {number: pipes[name][1] for name, number in outputs.items()}
        _become(layers, limits, placed, body)
    for _, writing in pipes.values():
        os.close(writing)
    return pid, {name: reading for name, (reading, _) in pipes.items()}


def _become(layers: Layers, limits: Limits, placed: dict[int, int], body: Callable[[], int]) -> None:
    status = 70
    try:
        # First out of the way, since a source may have the number of another's place.
        high = {number: os.dup2(source, _HIGH + number) for number, source in placed.items()}
        for number, source in high.items():
            os.dup2(source, number)
        os.closerange(max(placed) + 1, MAX_DESCRIPTORS)
        try:
            confine(layers, limits)
        except OSError as error:
            os.write(REPORT, f"!{error}".encode())
            return
        os.write(REPORT, _READY)
        status = body()
    finally:
        os._exit(status)


def watch(run: Run, hang_up: int | None, control: ControlChannel, scratch: Scratch | None) -> None:
    """Wait for the end of a child, and see to it that there is one.

    Args:
        run: the child.
        hang_up: a descriptor of the conversation: the child is killed when the other side closes it.
        control: the channel to the parent.
        scratch: the folder to watch when nothing else limits its size.
    """
    process = os.pidfd_open(run.pid)
    poller = select.poll()
    poller.register(process, select.POLLIN)
    poller.register(control.socket, select.POLLRDHUP)
    if hang_up is not None:
        poller.register(hang_up, select.POLLRDHUP)
    open_streams = {stream.descriptor: stream for stream in run.streams.values()}
    for descriptor in open_streams:
        poller.register(descriptor, select.POLLIN)
    ended = False
    while not ended:
        for descriptor, _ in poller.poll(_patience(run, scratch)):
            if descriptor == process:
                ended = True
            elif descriptor in open_streams:
                if not open_streams[descriptor].drain():
                    poller.unregister(descriptor)
                    del open_streams[descriptor]
            elif descriptor == hang_up:
                poller.unregister(descriptor)
                run.end_soon()
            else:
                poller.unregister(descriptor)
                run.kill("orphan")
        _enforce(run, scratch)
    os.close(process)
    _collect(run)
    for stream in open_streams.values():
        while stream.drain():
            pass


def _patience(run: Run, scratch: Scratch | None) -> float:
    left = max(0.0, run.deadline - time.monotonic()) * 1000 + 1
    if run.reason:
        return 1000
    return min(left, _DISK_POLL_MS) if scratch is not None else left


def _enforce(run: Run, scratch: Scratch | None) -> None:
    if run.written() > run.output_limit:
        run.kill("output_limit")
    elif time.monotonic() >= run.deadline:
        run.kill("over" if run.over else "timeout")
    elif scratch is not None and scratch.too_large():
        run.kill("disk")


def _collect(run: Run) -> None:
    _, status, usage = os.wait4(run.pid, 0)
    run.status = os.waitstatus_to_exitcode(status)
    run.cpu_s = usage.ru_utime + usage.ru_stime
    if run.written() > run.output_limit:
        run.reason = "output_limit"
    elif run.status == -signal.SIGKILL and run.cpu_s >= run.cpu_limit_s:
        # The kernel's, for CPU time: a program that ignores SIGXCPU gets there with threads on several processors.
        run.reason = run.reason or "timeout"


def report(run: Run) -> dict[str, Any]:
    """What the parent is told about a child."""
    said = bytes(run.streams["report"].data)
    for stream in run.streams.values():
        os.close(stream.descriptor)
    ready, rest = said[:1] == _READY, said[1:].decode("utf-8", "replace")
    return {"error": "" if ready else f"set_up:{rest}", "said": rest, "reason": run.reason, "status": run.status,
            "cpu_s": run.cpu_s, "written": run.written()}  # fmt: skip
