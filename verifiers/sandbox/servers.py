"""The two servers: one forks programs and never receives tests, the other forks tests and never receives programs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from typing import Any

from verifiers.sandbox import candidate, checker
from verifiers.sandbox.frames import ControlChannel
from verifiers.sandbox.layers import Layers, Limits
from verifiers.sandbox.scratch import Scratch
from verifiers.sandbox.serving import CONVERSATION, REPORT, TAIL, Run, Stream, fork, report, watch

_REPORT_BYTES = 4096
_CHECKER_MEMORY_MB = 1024
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def serve_candidates(control: ControlChannel, layers: Layers) -> None:
    """Run programs until the parent hangs up.

    A request holds `program`, `deadline` (monotonic clock, s), `memory_mb`, `cpu_s`, `output` (bytes) and, for a
    script, `stdin`; for a program that is asked, the socket to the checker comes with it.
    """
    scratch = Scratch(layers.scratch)
    watched = None if "namespaces" in layers.names else scratch
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def run(request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        script = "stdin" in request
        stdin = _input(request["stdin"]) if script else nothing
        try:
            reply = _run_program(request, stdin, None if script else descriptors[0], layers, control, watched)
        finally:
            if script:
                os.close(stdin)
        return reply | {"dirty": scratch.used()}

    while True:
        if _serve_one(control, run).get("dirty"):
            # The parent has its verdict, and waits with the next program until this is done.
            scratch.clear()
            control.send({})


def serve_checkers(control: ControlChannel, layers: Layers) -> None:
    """Run tests until the parent hangs up.

    A request holds `tests`, `setup`, `entry_points`, `deadline` and `cpu_s`; the socket to the candidate comes with it.
    """
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def run(request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        def body() -> int:
            finding = checker.check(request["tests"], request["setup"], request["entry_points"], CONVERSATION)
            os.write(REPORT, json.dumps(finding).encode()[:_REPORT_BYTES])
            return 0

        inputs = {0: nothing, 1: nothing, 2: nothing, CONVERSATION: descriptors[0]}
        pid, pipes = fork(layers, Limits(_CHECKER_MEMORY_MB, request["cpu_s"]), inputs, {"report": REPORT}, body)
        # Only the child may hold this end, so that its end is noticed.
        os.close(descriptors.pop())
        said = Stream(pipes["report"], _REPORT_BYTES, counted=False)
        running = Run(pid, {"report": said}, request["deadline"], 1, request["cpu_s"])
        watch(running, None, control, None)
        return report(running)

    while True:
        _serve_one(control, run)


def _serve_one(
    control: ControlChannel, run: Callable[[dict[str, Any], list[int]], dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    request = control.receive()
    descriptors = control.take_descriptors()
    try:
        reply = run(request, descriptors)
    except OSError as error:
        reply = {"error": f"server:{error}"}
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    control.send(reply)
    return reply


def _run_program(
    request: dict[str, Any], stdin: int, conversation: int | None, layers: Layers, control: ControlChannel,
    watched: Scratch | None,
) -> dict[str, Any]:  # fmt: skip
    program: str = request["program"]

    def body() -> int:
        os.close(REPORT)
        if conversation is None:
            return candidate.run_script(program)
        candidate.answer(program, CONVERSATION)
        return 0

    inputs = {0: stdin} if conversation is None else {0: stdin, CONVERSATION: conversation}
    outputs = {"stdout": 1, "stderr": 2, "report": REPORT}
    pid, pipes = fork(layers, Limits(request["memory_mb"], request["cpu_s"]), inputs, outputs, body)
    kept = request["output"] if conversation is None else TAIL
    streams = {"stdout": Stream(pipes["stdout"], kept), "stderr": Stream(pipes["stderr"], TAIL),
               "report": Stream(pipes["report"], TAIL, counted=False)}  # fmt: skip
    running = Run(pid, streams, request["deadline"], request["output"], request["cpu_s"])
    watch(running, conversation, control, watched)
    texts = {name: streams[name].text() for name in ("stdout", "stderr")}
    return report(running) | texts


def _input(text: str) -> int:
    """Standard input as a sealed file in memory: the program can seek in it, and cannot write to it."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    raw = memoryview(text.encode("utf-8", "surrogateescape"))
    while raw:
        raw = raw[os.write(descriptor, raw) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor
