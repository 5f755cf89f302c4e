"""What the servers report about a child, whichever way it ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from data.errors import UserError
from verifiers import run_program
from verifiers.sandbox.pool import Sandbox
from verifiers.sandbox.worker import BUBBLEWRAP, Worker


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker(frozenset({"namespaces"}))
    yield made
    made.close()


def _script(worker: Worker, program: str, **changes: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    request = {"program": program, "stdin": "", "deadline": deadline, "memory_mb": 256, "cpu_s": 30, "output": 1000}
    return worker.run(request | changes, None, deadline)[0]


@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_cpu_time_that_is_used_up_is_no_failure_of_the_sandbox(worker: Worker, handler: str) -> None:
    program = f"import signal\nsignal.signal(signal.SIGXCPU, signal.{handler})\nwhile True: pass"
    reply = _script(worker, program, cpu_s=1)
    # A SIGKILL for which nobody gave a reason would be taken for the machine's.
    assert (reply["status"], reply["reason"]) in ((-24, ""), (-9, "timeout"))
    assert reply["cpu_s"] > 0.5  # the kernel counts in ticks, and those of a busy machine are coarse


def test_exit_status_and_output_are_reported(worker: Worker) -> None:
    reply = _script(worker, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(7)")
    assert (reply["status"], reply["reason"], reply["stdout"], reply["stderr"]) == (7, "", "out\n", "err\n")
    assert (reply["written"], reply["dirty"], reply["error"]) == (8, False, "")


def test_output_is_counted_to_the_byte(worker: Worker) -> None:
    assert _script(worker, "print('x' * 999)")["reason"] == ""
    assert _script(worker, "print('x' * 1000)")["reason"] == "output_limit"


def test_one_run_leaves_nothing_for_the_next(worker: Worker) -> None:
    program = "import os, sys\nopen('left', 'w').write('x')\nos.environ['LEFT'] = 'x'\nsys.modules['left'] = sys"
    assert _script(worker, program)["dirty"]
    second = _script(worker, "import os, sys\nprint(os.listdir('.'), 'LEFT' in os.environ, 'left' in sys.modules)")
    assert second["stdout"] == "[] False False\n"


def test_standard_input_can_be_read_twice_and_not_written(worker: Worker) -> None:
    program = "import os\nfor _ in range(2):\n    print(os.read(0, 9)); os.lseek(0, 0, 0)\n"
    program += "try: os.write(0, b'x')\nexcept OSError: print(1)"
    assert _script(worker, program, stdin="ab")["stdout"] == "b'ab'\nb'ab'\n1\n"


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_bubblewrap_is_one_more_wall_around_the_same_layers() -> None:
    with Sandbox(1, wrapper=BUBBLEWRAP) as sandbox:
        right = run_program("def f(x): return x + 1", "assert f(1) == 2", backend=sandbox)
        wrong = run_program("def f(x): return x", "assert f(1) == 2", backend=sandbox)
        outside = run_program("def f(): return open('/etc/hostname').read()", "f()", backend=sandbox)
    assert (right.verdict, wrong.verdict, outside.verdict) == ("passed", "failed", "failed")
    assert {"bwrap", "landlock", "seccomp"} <= set(right.layers)


def test_a_wrapper_that_is_not_there_is_a_user_error() -> None:
    with pytest.raises(UserError, match="'no-such-wrapper' is not installed"):
        Sandbox(1, wrapper=("no-such-wrapper",))
