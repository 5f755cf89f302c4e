"""Runs the command line and kills itself with SIGKILL right after its n-th write to the disk (n = 0: never).

    python killed_command.py N ARGUMENTS...

A write is an fsync, a file put in its place, or a folder removed. Prints how many there were.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

count = 0


def deadly(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        global count
        count += 1
        mine = count
        result = function(*arguments, **named)
        if mine == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


if __name__ == "__main__":
    at = int(sys.argv[1])
    sys.argv = ["stepstar", *sys.argv[2:]]
    os.fsync = deadly(os.fsync, at)
    os.replace = deadly(os.replace, at)
    shutil.rmtree = deadly(shutil.rmtree, at)  # type: ignore[assignment]
    from pipelines.cli import main

    try:
        main()
    finally:
        print(f"writes {count}", file=sys.stderr)
