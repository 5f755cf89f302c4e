"""The program of one worker process: reads a JSON line with a pair of answers, writes a JSON line with a decision.

It is started by `verifiers.pool`, which owns every time limit. The worker itself only makes sure that it cannot outlive
its parent, cannot take more memory than it was given, and that nothing a library prints reaches the answers.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, memory_mb: int) -> None:
    """Serve until the parent closes the pipe.

    Args:
        parent: process id of the parent.
        memory_mb: cap on the address space.
    """
    _die_with(parent)
    # Ctrl-C goes to the whole foreground group; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    load_sympy()
    _cap_memory(memory_mb)
    print('{"ready": true}', file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)


def load_sympy() -> None:
    """Import sympy, and have it import what it puts off until it is asked: no part of the first case's time."""
    answer({"gold": "1", "answer": r"\sum_{k=1}^{\infty} \frac{1}{3^{k}}"})


def answer(request: dict[str, str]) -> dict[str, str]:
    """Decide one pair.

    Args:
        request: `gold` and `answer`.

    Returns:
        `outcome` and `rule`.
    """
    from verifiers.answers.equivalence import decide
    from verifiers.answers.symbolic import compare

    try:
        decision = decide(request["gold"], request["answer"], compare)
    except MemoryError:
        return {"outcome": "unknown", "rule": "memory"}
    except Exception as error:  # noqa: BLE001 - sympy raises what it likes; the case is reported as undecided by name
        return {"outcome": "unknown", "rule": f"error_{type(error).__name__}"}
    return {"outcome": decision.outcome, "rule": decision.rule}


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent goes, however it goes (Linux; elsewhere the pipe closes)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have gone before the line above took effect.
    if os.getppid() != parent:
        os._exit(1)


def _cap_memory(megabytes: int) -> None:
    import resource

    # macOS accepts no RLIMIT_AS; there only the time limit holds.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
