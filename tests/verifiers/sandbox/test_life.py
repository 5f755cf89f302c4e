"""Workers live as long as they are needed: under threads, asyncio, fork and spawn; never longer than their parent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from verifiers.programs import run_program
from verifiers.sandbox import pool
from verifiers.sandbox.pool import Sandbox

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""After so many seconds a test that waits for something has failed."""
PROGRAM, TESTS = "def f(x): return x + 1", "assert f(1) == 2"


@pytest.fixture(autouse=True)
def _fresh_pool() -> Iterator[None]:
    yield
    pool.close()


def _verdict(_: object = None) -> str:
    return str(run_program(PROGRAM, TESTS).verdict)


def _wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=PATIENCE)[1]


def test_threads_share_the_sandbox() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(_verdict, range(24))) == {"passed"}
    assert len(pool.shared().processes()) <= pool.shared().limit


def test_runs_under_asyncio() -> None:
    async def gather() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(_verdict) for _ in range(4)))

    assert asyncio.run(gather()) == ["passed"] * 4


def test_worker_outlives_the_thread_that_started_it() -> None:
    thread = threading.Thread(target=_verdict)
    thread.start()
    thread.join()
    (pid,) = pool.shared().processes()
    assert _verdict() == "passed"
    assert pool.shared().processes() == [pid]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_process_starts_its_own_workers(method: str) -> None:
    # Run apart: this process has threads, whose locks a fork would find held for ever.
    code = f"""
        import concurrent.futures, multiprocessing, sys
        sys.path.insert(0, {str(ROOT)!r})
        from verifiers.programs import run_program
        case, context = ({PROGRAM!r}, {TESTS!r}), multiprocessing.get_context({method!r})
        print(run_program(*case).verdict)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as processes:
            print(processes.submit(run_program, *case).result({PATIENCE}).verdict)
        print(run_program(*case).verdict)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["passed"] * 3, done.stderr


def test_no_signal_handler_is_installed() -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)]

    before = handlers()
    assert _verdict() == "passed"
    assert handlers() == before


def test_closing_leaves_no_process_and_no_folder() -> None:
    for without in (frozenset[str](), frozenset({"namespaces"})):
        with Sandbox(1, without) as own:
            assert run_program("open('x', 'w').write('x')\n" + PROGRAM, TESTS, backend=own).verdict == "passed"
            (launcher,) = map(psutil.Process, own.processes())
            processes = [launcher, *launcher.children(recursive=True)]
            folder = next(iter(own._all))._scratch
            assert os.path.isdir(folder) == ("namespaces" in own.without)
        assert _wait_until_gone(processes) == []
        assert not os.path.exists(folder)


@pytest.mark.parametrize("busy", [False, True])
def test_killed_parent_takes_its_workers_along(busy: bool) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from verifiers.programs import run_program
        run_program("def f(): return 1", "assert f() == 1")
        print("ready", flush=True)
        run_program("while True: pass", "f()", timeout_s=600) if {busy} else sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        expected = 5 if busy else 3
        while len(psutil.Process(parent.pid).children(recursive=True)) < expected:
            time.sleep(0.02)
        processes = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        assert _wait_until_gone(processes) == []


def test_ordinary_user_gets_the_same_verdicts() -> None:
    if os.geteuid() != 0:
        pytest.skip("this is not root, so the other tests show it")
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    version = "import sys; raise SystemExit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([python, "-c", version], check=False).returncode:
        pytest.skip("no Python that an ordinary user can reach")
    code = f"""
        import os, sys, types
        os.setgroups([]); os.setgid(54321); os.setuid(54321)
        # Without the package's own imports: this Python has no third-party packages.
        package = types.ModuleType("verifiers"); package.__path__ = [{str(ROOT / "verifiers")!r}]
        sys.modules["verifiers"] = package
        sys.path.insert(0, {str(ROOT)!r})
        from verifiers.programs import run_program
        from verifiers.sandbox.pool import Sandbox
        for without in (frozenset(), frozenset({{"namespaces"}})):
            with Sandbox(1, without) as own:
                print(*(run_program(program, "assert f() == 1", backend=own,
                                    timeout_s=1 if "while" in program else 60).verdict for program in (
                    "def f(): return 1", "def f(): return 2", "while True: pass",
                    "import os\\nos.mkdir('a', 0)\\ndef f(): return 1",
                    "import os\\nos.mkdir('a')\\nopen('a/b', 'w').close()\\nos.mkdir('a/c', 0)\\ndef f(): return 1",
                    "import os\\ntry: os.chmod('/tmp', 0o700)\\nexcept PermissionError:\\n    def f(): return 1",
                    "import os\\ntry: os.fork()\\nexcept PermissionError:\\n    def f(): return 1")))
                assert "user" not in run_program("def f(): return 1", "assert f() == 1", backend=own).layers
    """
    done = subprocess.run([python, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd="/")
    line = "passed failed timeout passed passed passed passed\n"
    assert (done.stdout, done.stderr) == (line * 2, "")
