"""Runs the command line and kills itself with SIGKILL at its n-th event, before or after it (n = 0: never).

    python killed_run.py N before|after ARGUMENTS...

An event is a file put in its place, a line of the journal, a folder removed, or an optimizer step: every point at which
the run folder changes, and the middle of every training. Prints the number of events at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

count = 0


def deadly(function: Callable[..., Any], at: int, when: str) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        global count
        count += 1
        mine = count
        if mine == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if mine == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


if __name__ == "__main__":
    at, when = int(sys.argv[1]), sys.argv[2]
    sys.argv = ["stepstar", *sys.argv[3:]]
    os.replace = deadly(os.replace, at, when)
    shutil.rmtree = deadly(shutil.rmtree, at, when)  # type: ignore[assignment]
    import star.sft
    from pipelines.journal import Journal

    Journal.add = deadly(Journal.add, at, when)  # type: ignore[method-assign]
    star.sft._step = deadly(star.sft._step, at, when)
    from pipelines.cli import main

    try:
        main()
    finally:
        print(f"events {count}", file=sys.stderr)
