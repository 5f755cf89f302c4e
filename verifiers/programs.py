"""Whether a program that a model wrote passes its tests: run in a sandbox in which neither can touch the other.

The tests never are in the program's process: they run in a process of their own, and only plain values cross (see
`verifiers.sandbox`). A sandbox that failed is `sandbox_error` after one more try, and tests that are of no use are
`problem_error`; neither says anything about the program, and neither is ever `failed`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from data.errors import UserError
from data.records import Problem
from verifiers.sandbox import pool
from verifiers.sandbox.cases import ProgramCase, StdioCase, program_case
from verifiers.sandbox.pool import Sandbox
from verifiers.sandbox.results import ProgramResult, ProgramVerdict, judge, judge_script, tail
from verifiers.sandbox.worker import Worker, WorkerError

__all__ = [
    "ProgramCase",
    "ProgramLimits",
    "ProgramResult",
    "ProgramVerdict",
    "Sandbox",
    "StdioCase",
    "program_case",
    "run_problem",
    "run_program",
    "run_programs",
]

_WINDOW = 256
"""Cases a worker that may be read ahead of the first result that is not yet there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLimits:
    """Limits of every run."""

    timeout_s: float = 5.0
    """Wall time of one run: of all tests of a test program, or of one input."""
    memory_mb: int = 512
    """Memory that the program may take, in MB."""
    output_kb: int = 1024
    """What it may write to standard output and standard error together, in KB."""
    allow_unsafe: bool = False
    """Run even where Landlock or seccomp is missing."""


def run_program(
    program: str,
    tests: str | Sequence[StdioCase],
    *,
    trusted_setup: str = "",
    entry_points: Sequence[str] = (),
    timeout_s: float = 5.0,
    memory_mb: int = 512,
    output_kb: int = 1024,
    allow_unsafe: bool = False,
    backend: Sandbox | None = None,
) -> ProgramResult:
    """Run a program against its tests.

    Args:
        program: source text. Tests see its top-level names where they use them, but never in place of a built-in or of
            a module of the standard library.
        tests: a test program, which passes if it ends without an exception; or inputs and outputs, each of which is a
            run of the program as `__main__`.
        trusted_setup: source text of helpers for the tests, which win over the program's names. A function in it with
            only a docstring defines nothing.
        entry_points: names that are the program's even where a built-in has the same name.
        timeout_s: wall time of one run.
        memory_mb: memory that the program may take.
        output_kb: what it may write.
        allow_unsafe: run even where Landlock or seccomp is missing.
        backend: a sandbox of one's own; by default the one of this process.

    Returns:
        The verdict; `passed` only if tests asked the program for something and all of them passed.

    Raises:
        UserError: a limit makes no sense, or this machine cannot run programs safely.
    """
    case = ProgramCase(program=program, tests=tests, trusted_setup=trusted_setup, entry_points=tuple(entry_points))
    limits = ProgramLimits(timeout_s=timeout_s, memory_mb=memory_mb, output_kb=output_kb, allow_unsafe=allow_unsafe)
    return _run(case, _checked(limits), backend or pool.shared())


def run_problem(problem: Problem, completion: str, limits: ProgramLimits | None = None) -> ProgramResult:
    """Run a model's completion of a problem of kind `code`; see `program_case` for what is taken from it."""
    return _run(program_case(problem, completion), _checked(limits or ProgramLimits()), pool.shared())


def run_programs(
    cases: Iterable[ProgramCase],
    *,
    workers: int = 1,
    limits: ProgramLimits | None = None,
    backend: Sandbox | None = None,
) -> Iterator[ProgramResult]:
    """Run many programs; results come in the order of the cases, as soon as they are there.

    Cases are taken from the iterable a bounded way ahead, so it may be endless; a slow case holds up no other.

    Args:
        cases: what to run; `program_case` makes one from a problem and a completion.
        workers: how many run at once.
        limits: limits of every run.
        backend: a sandbox of one's own; by default the one of this process.

    Yields:
        One result for each case.
    """
    if workers < 1:
        raise UserError("workers must be positive.")
    checked = _checked(limits or ProgramLimits())
    return _run_all(iter(cases), workers, checked, backend or pool.shared(workers))


def _run_all(
    cases: Iterator[ProgramCase], workers: int, limits: ProgramLimits, sandbox: Sandbox
) -> Iterator[ProgramResult]:
    waiting: deque[Future[ProgramResult]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="programs") as threads:
        try:
            while True:
                for case in itertools.islice(cases, workers * _WINDOW - len(waiting)):
                    waiting.append(threads.submit(_run, case, limits, sandbox))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _run(case: ProgramCase, limits: ProgramLimits, sandbox: Sandbox) -> ProgramResult:
    """Run a case, and once more if the sandbox failed."""
    if not (case.tests.strip() if isinstance(case.tests, str) else case.tests):
        return ProgramResult(verdict=ProgramVerdict.PROBLEM_ERROR, detail="no_tests")
    if not case.program.strip():
        return ProgramResult(verdict=ProgramVerdict.FAILED, detail="empty_program")
    result = _try(case, limits, sandbox)
    return _try(case, limits, sandbox) if result.verdict is ProgramVerdict.SANDBOX_ERROR else result


def _try(case: ProgramCase, limits: ProgramLimits, sandbox: Sandbox) -> ProgramResult:
    started = time.monotonic()
    try:
        worker = sandbox.take(allow_unsafe=limits.allow_unsafe)
    except WorkerError as error:
        return ProgramResult(verdict=ProgramVerdict.SANDBOX_ERROR, detail=f"start:{error}")
    started, healthy = time.monotonic(), False
    try:
        ask = _run_tests if isinstance(case.tests, str) else _run_inputs
        result = ask(case, limits, worker)
        healthy = result.verdict is not ProgramVerdict.SANDBOX_ERROR and not worker.spoiled
    except WorkerError as error:
        result = ProgramResult(verdict=ProgramVerdict.SANDBOX_ERROR, detail=str(error))
    finally:
        sandbox.give_back(worker, healthy=healthy)
    return replace(result, layers=worker.layers, wall_s=time.monotonic() - started)


def _run_tests(case: ProgramCase, limits: ProgramLimits, worker: Worker) -> ProgramResult:
    deadline = time.monotonic() + limits.timeout_s
    tests = {"tests": case.tests, "setup": case.trusted_setup, "entry_points": case.entry_points,
             "deadline": deadline, "cpu_s": _cpu_seconds(limits)}  # fmt: skip
    candidate, checker = worker.run(_request(case, limits, deadline), tests, deadline)
    verdict, detail = judge(candidate, checker)
    return _result(verdict, detail, candidate)


def _run_inputs(case: ProgramCase, limits: ProgramLimits, worker: Worker) -> ProgramResult:
    """One run for each input, up to the first that does not pass."""
    cpu_s, result = 0.0, ProgramResult(verdict=ProgramVerdict.PASSED)
    for test in case.tests:
        assert isinstance(test, StdioCase)
        deadline = time.monotonic() + limits.timeout_s
        (reply,) = worker.run(_request(case, limits, deadline) | {"stdin": test.stdin}, None, deadline)
        verdict, detail = judge_script(reply, test.stdout)
        result = _result(verdict, detail, reply)
        cpu_s += result.cpu_s
        if verdict is not ProgramVerdict.PASSED:
            break
    return replace(result, cpu_s=cpu_s)


def _request(case: ProgramCase, limits: ProgramLimits, deadline: float) -> dict[str, Any]:
    return {"program": case.program, "deadline": deadline, "memory_mb": limits.memory_mb,
            "cpu_s": _cpu_seconds(limits), "output": limits.output_kb * 1024}  # fmt: skip


def _cpu_seconds(limits: ProgramLimits) -> int:
    """A backstop behind the deadline, for threads that use several processors at once."""
    return math.ceil(limits.timeout_s) + 1


def _result(verdict: ProgramVerdict, detail: str, reply: dict[str, Any]) -> ProgramResult:
    return ProgramResult(verdict=verdict, detail=detail, cpu_s=reply.get("cpu_s", 0.0),
                         out_bytes=reply.get("written", 0), out_tail=tail(reply))  # fmt: skip


def _checked(limits: ProgramLimits) -> ProgramLimits:
    if not 0 < limits.timeout_s < math.inf or limits.memory_mb < 1 or limits.output_kb < 1:
        raise UserError("timeout_s, memory_mb and output_kb must be positive.")
    return limits
