"""The first process of a worker: builds the layers, forks the two servers, and waits until they end.

Started by exec with an empty environment and two sockets. The servers end when the parent closes its ends, and die with
the launcher. Imported here, before the fork, is what many programs import: it costs each of them nothing.
"""

from __future__ import annotations

import bisect  # noqa: F401
import collections  # noqa: F401
import copy  # noqa: F401
import dataclasses  # noqa: F401
import enum  # noqa: F401
import fcntl
import functools  # noqa: F401
import gc
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import re  # noqa: F401
import resource
import signal
import socket
import string  # noqa: F401
import typing  # noqa: F401
from collections.abc import Callable

from verifiers.sandbox import kernel
from verifiers.sandbox.frames import ControlChannel
from verifiers.sandbox.layers import Layers, close_files, prepare
from verifiers.sandbox.scratch import Scratch
from verifiers.sandbox.servers import serve_candidates, serve_checkers
from verifiers.sandbox.serving import MAX_DESCRIPTORS, REPORT


def main(config: str) -> None:
    """Run a worker.

    Args:
        config: JSON: `candidate`, `checker` (sockets, as descriptors), `scratch`, `without` (names of layers).
    """
    settings = json.loads(config)
    ends = [_low(settings[name]) for name in ("candidate", "checker")]
    os.setsid()
    os.umask(0o022)
    try:
        layers = prepare(settings["scratch"], frozenset(settings["without"]))
    except OSError as error:
        ControlChannel(ends[0]).send({"error": str(error)})
        return
    gc.collect()
    gc.freeze()
    running = {_fork_server(serve, ends[place], ends[1 - place], layers)
               for place, serve in enumerate((serve_candidates, serve_checkers))}  # fmt: skip
    for end in ends:
        end.close()
    while running:
        running.discard(os.wait()[0])
        for pid in running:
            os.kill(pid, signal.SIGKILL)
    if "namespaces" not in layers.names:
        Scratch(layers.scratch).clear()
        os.rmdir(layers.scratch)


def _low(descriptor: int) -> socket.socket:
    """A socket under a low number, whatever number it had in the parent."""
    low = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, REPORT + 1)
    os.close(descriptor)
    return socket.socket(fileno=low)


def _fork_server(serve: Callable[..., None], end: socket.socket, other: socket.socket, layers: Layers) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        kernel.die_with_parent()
        other.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
        close_files(layers, changes_scratch=serve is serve_candidates)
        control = ControlChannel(end)
        control.send({"layers": layers.names})
        serve(control, layers)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # The parent is gone, or done with this worker.
    finally:
        os._exit(0)
