"""From what the servers report to a verdict: whose fault it was, and what the short code for it is."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_LAST_ERROR = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?::.*)?\s*\Z", re.MULTILINE)
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")
_TAIL = 2048


class ProgramVerdict(StrEnum):
    """What came of running a program against its tests."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    PROBLEM_ERROR = "problem_error"
    """The tests or the setup are of no use, whatever the program: nothing is known about the program."""
    SANDBOX_ERROR = "sandbox_error"
    """The sandbox failed, twice: nothing is known about the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """The verdict on one program."""

    verdict: ProgramVerdict
    detail: str = ""
    """Why, in short: `assertion`, the type of an exception, `syntax`, `wrong_output`, `ended_early`, `exit:1`,
    `protocol`, `killed:SIGSEGV`, `disk`, `untested`, `tests:syntax`, ..."""
    layers: tuple[str, ...] = ()
    """The layers of the sandbox that held, from outside in."""
    cpu_s: float = 0.0
    """CPU time of the program's process, in seconds."""
    wall_s: float = 0.0
    """Wall time of the run, in seconds, without waiting for a worker."""
    out_bytes: int = 0
    """Bytes that the program wrote to standard output and standard error."""
    out_tail: str = ""
    """The end of what it wrote (2 KB of each), for people to read; bytes that are no UTF-8 are lone surrogates."""

    @property
    def decided(self) -> bool:
        """Whether something is known about the program; a run that did not decide earns no reward, good or bad."""
        return self.verdict not in (ProgramVerdict.PROBLEM_ERROR, ProgramVerdict.SANDBOX_ERROR)


Finding = tuple[ProgramVerdict, str]


def judge(candidate: dict[str, Any], checker: dict[str, Any]) -> Finding:
    """The verdict on a program that was asked by tests.

    Args:
        candidate: the candidate server's report.
        checker: the checker server's report.
    """
    for reply in (candidate, checker):
        if reply.get("error"):
            return ProgramVerdict.SANDBOX_ERROR, reply["error"]
    said: Finding | None = None
    if checker["reason"] == "" and checker["status"] == 0:
        verdict, detail = json.loads(checker["said"])
        said = ProgramVerdict(verdict), str(detail)
        if said[0] is ProgramVerdict.PROBLEM_ERROR:
            return said
    # A program that wrote too much did so whether or not the tests ended first.
    limited, passed = _limit(candidate), said is not None and said[0] is ProgramVerdict.PASSED
    if limited and (not passed or limited[0] is ProgramVerdict.OUTPUT_LIMIT):
        return limited
    if not passed and candidate["status"] < 0 and candidate["reason"] == "":
        return _killed(-candidate["status"])
    if said is not None:
        return said
    if checker["reason"] == "timeout":
        return ProgramVerdict.TIMEOUT, ""
    return ProgramVerdict.SANDBOX_ERROR, f"checker_ended:{checker['reason'] or checker['status']}"


def judge_script(reply: dict[str, Any], expected: str) -> Finding:
    """The verdict on one run of a program that reads and writes."""
    if reply.get("error"):
        return ProgramVerdict.SANDBOX_ERROR, reply["error"]
    if limited := _limit(reply):
        return limited
    status: int = reply["status"]
    if status < 0:
        return _killed(-status)
    if status != 0:
        return _failure(status, reply["stderr"])
    if same_output(expected, reply["stdout"]):
        return ProgramVerdict.PASSED, ""
    return ProgramVerdict.FAILED, "wrong_output"


def same_output(expected: str, written: str) -> bool:
    """Whether two outputs are the same but for white space at the ends of lines and empty lines at the end."""
    one, other = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (expected, written))
    return one == other


def tail(reply: dict[str, Any]) -> str:
    """The end of what the program wrote."""
    return str(reply.get("stdout", ""))[-_TAIL:] + str(reply.get("stderr", ""))[-_TAIL:]


def _limit(reply: dict[str, Any]) -> Finding | None:
    """The limit from outside that the program ran into."""
    if reply["reason"] == "output_limit":
        return ProgramVerdict.OUTPUT_LIMIT, ""
    if reply["reason"] == "disk":
        return ProgramVerdict.OUTPUT_LIMIT, "disk"
    if reply["reason"] == "timeout":
        return ProgramVerdict.TIMEOUT, ""
    return None


def _killed(number: int) -> Finding:
    """A signal that no server sent. A program cannot send itself SIGKILL: that one is the machine's."""
    if number == signal.SIGXCPU:
        return ProgramVerdict.TIMEOUT, "cpu"
    name = f"killed:{signal.Signals(number).name}"
    return (ProgramVerdict.SANDBOX_ERROR if number == signal.SIGKILL else ProgramVerdict.FAILED), name


def _failure(status: int, stderr: str) -> Finding:
    found = _LAST_ERROR.search(stderr.rstrip().rpartition("\n")[2])
    name = found.group(1) if found and status == 1 else f"exit:{status}"
    if name == "MemoryError":
        return ProgramVerdict.MEMORY, name
    return ProgramVerdict.FAILED, "syntax" if name in _SYNTAX else name
