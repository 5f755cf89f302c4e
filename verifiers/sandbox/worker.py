"""A worker as its parent sees it: one launcher and two servers, given a run at a time, killed when it is late.

No signal handler, no thread of its own: it works from any thread. Its processes end when the parent closes its sockets,
which the kernel does for a parent that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verifiers.sandbox.frames import ControlChannel, ProtocolError
from verifiers.sandbox.scratch import Scratch

START_TIMEOUT_S = 60.0
"""How long a worker may take to start on a busy machine."""
GRACE_S = 3.0
"""How long after a deadline a server may take to report."""
CLEANING_TIMEOUT_S = 30.0
"""How long emptying the scratch folder may take: some disks take milliseconds for a file."""
_BOOT = (
    "import sys,types; p=types.ModuleType('verifiers'); p.__path__=[sys.argv[1]]; sys.modules['verifiers']=p;"
    " from verifiers.sandbox.launcher import main; main(sys.argv[2])"
)
"""The package without its `__init__`, so that nothing else of the library is in the servers' memory."""
BUBBLEWRAP = ("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
              "--tmpfs", "/tmp", "--tmpfs", "/run", "--bind", "{scratch}", "{scratch}")  # fmt: skip
"""Read-only file system, no network and processes of its own from outside, where bubblewrap is installed."""
_PACKAGE = str(Path(__file__).resolve().parent.parent)


class WorkerError(Exception):
    """The sandbox itself failed; nothing is known about the program."""


class LayerRefusedError(WorkerError):
    """This machine refuses a layer that was tried."""


class Worker:
    """One worker; used by one thread at a time.

    Args:
        without: layers to leave out.
        wrapper: a command in front of the launcher's, such as bubblewrap's (`BUBBLEWRAP`), which takes the place of the
            namespaces; `{scratch}` stands for the one folder that the program may write to.

    Raises:
        LayerRefusedError: this machine does not give the namespaces.
        WorkerError: it did not start.
    """

    def __init__(self, without: frozenset[str], wrapper: Sequence[str] = ()) -> None:
        self._scratch = tempfile.mkdtemp(prefix="stepstar-", dir=_memory()) if "namespaces" in without else ""
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        try:
            self.process = _start([end.fileno() for end in theirs], self._scratch, without, wrapper)
        except BaseException:
            for end in ours:
                end.close()
            self._remove_scratch()
            raise
        finally:
            for end in theirs:
                end.close()
        self._candidate, self._checker = (ControlChannel(end) for end in ours)
        self.spoiled = False
        try:
            self.layers = (*(os.path.basename(command) for command in wrapper[:1]), *self._greet())
        except BaseException:
            self.kill()
            raise

    def run(self, program: dict[str, Any], tests: dict[str, Any] | None, deadline: float) -> list[dict[str, Any]]:
        """Run a program, with the tests that ask it unless it is a script.

        Args:
            program: request to the candidate server.
            tests: request to the checker server.
            deadline: on the monotonic clock; it is part of both requests.

        Returns:
            What the servers report: candidate first.

        Raises:
            WorkerError: a server is gone, or too late; the worker must be killed.
        """
        end = deadline + GRACE_S
        if tests is None:
            self._send(self._candidate, program, (), end)
            return [self._result(end)]
        one, other = socket.socketpair()
        with one, other:
            self._send(self._candidate, program, (one.fileno(),), end)
            self._send(self._checker, tests, (other.fileno(),), end)
        checked = self._receive(self._checker, end)
        return [self._result(end), checked]

    def alive(self) -> bool:
        """Whether all its processes are there."""
        poller = select.poll()
        for channel in (self._candidate, self._checker):
            # An idle server has nothing to say: a readable socket is a closed one.
            poller.register(channel.socket, select.POLLIN | select.POLLRDHUP)
        return self.process.poll() is None and not poller.poll(0)

    def kill(self) -> None:
        """End its processes now and collect the launcher, which takes the others with it."""
        self.process.kill()
        self.process.wait()
        self.abandon()
        self._remove_scratch()

    def close(self) -> None:
        """End it in good order: it cleans up after itself."""
        self.abandon()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._remove_scratch()

    def abandon(self) -> None:
        """Close our ends without touching the processes."""
        self._candidate.close()
        self._checker.close()

    def _result(self, end: float) -> dict[str, Any]:
        """The candidate server's report, with its scratch folder empty again or this worker marked as spoiled."""
        reply = self._receive(self._candidate, end)
        if reply.get("dirty"):
            try:
                self._receive(self._candidate, time.monotonic() + CLEANING_TIMEOUT_S)
            except WorkerError:
                self.spoiled = True
        return reply

    def _greet(self) -> tuple[str, ...]:
        end = time.monotonic() + START_TIMEOUT_S
        hello = self._receive(self._candidate, end)
        if hello.get("error"):
            raise LayerRefusedError(hello["error"])
        self._receive(self._checker, end)
        return tuple(hello["layers"])

    def _send(self, channel: ControlChannel, request: dict[str, Any], rights: tuple[int, ...], end: float) -> None:
        channel.socket.settimeout(max(0.001, end - time.monotonic()))
        try:
            channel.send(request, rights)
        except OSError as error:
            raise WorkerError(f"send:{error}") from error

    def _receive(self, channel: ControlChannel, end: float) -> dict[str, Any]:
        channel.socket.settimeout(max(0.001, end - time.monotonic()))
        try:
            reply: dict[str, Any] = channel.receive()
        except (EOFError, OSError, ProtocolError) as error:
            raise WorkerError(f"server:{type(error).__name__}") from error
        return reply

    def _remove_scratch(self) -> None:
        """Only what the launcher could not: it is empty unless the worker was killed in the middle of a run."""
        if self._scratch and os.path.isdir(self._scratch):
            with contextlib.suppress(OSError):
                Scratch(self._scratch).clear()
                os.rmdir(self._scratch)


def _memory() -> str | None:
    """Where a scratch folder costs no disk; None for the usual place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _start(
    descriptors: list[int], scratch: str, without: frozenset[str], wrapper: Sequence[str]
) -> subprocess.Popen[bytes]:
    config = {"candidate": descriptors[0], "checker": descriptors[1], "scratch": scratch, "without": sorted(without)}
    # Without -I, which would ignore the fixed hash seed; the environment is empty, and -P and -S do the rest.
    around = [part.format(scratch=scratch) for part in wrapper]
    return subprocess.Popen(
        [*around, sys.executable, "-s", "-S", "-P", "-B", "-c", _BOOT, _PACKAGE, json.dumps(config)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=descriptors, cwd="/",
        env=_ENVIRONMENT)  # fmt: skip


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1",
                "MALLOC_ARENA_MAX": "1"}  # fmt: skip
"""All of it. More malloc arenas would each take 64 MB of a program's address space."""
