"""Workers can be late, be killed, be shared by threads, and never outlive their parent; each test is one property."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from data.records import Status, Verdict
from verifiers import check_answer, check_answers, pool
from verifiers.process import Worker

ROOT = Path(__file__).parents[2]
SLOW = r"\sum_{k=1}^{\infty} \frac{\sin k}{k^{2}+1}"
"""Small enough for every cap, without a value for the comparators, and sympy takes a quarter of a minute."""
WARM = ("1", r"\sum_{k=1}^{\infty} \frac{1}{2^{k}}")
"""A pair that only sympy decides, at once."""
PATIENCE = 60.0
"""After so many seconds a test that waits for something has failed."""


@pytest.fixture(autouse=True)
def _fresh_pool() -> Iterator[None]:
    yield
    pool.close()


def _workers(parent: int | None = None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):
            if "verifiers.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def _check(gold: str, answer: str) -> Verdict:
    """A check that is not late on a busy machine."""
    return check_answer(gold, answer, timeout_s=PATIENCE)


def _wait_until_busy(parent: int | None = None) -> psutil.Process:
    """A worker of this process, or of another, that is in the middle of a case: it uses CPU time."""
    before = {worker: sum(worker.cpu_times()[:2]) for worker in _workers(parent)}
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for worker in _workers(parent):
            if sum(worker.cpu_times()[:2]) > before.setdefault(worker, 0.0) + 0.1:
                return worker
        time.sleep(0.02)
    raise AssertionError("no worker was at work")


def test_late_case_is_undecided_and_only_that_case() -> None:
    _check(*WARM)
    verdicts = check_answers([WARM, ("1", SLOW), WARM], kind="answer", timeout_s=3)
    assert [verdict.status for verdict in verdicts] == [Status.CORRECT, Status.UNDECIDED, Status.CORRECT]
    assert (verdicts[1].method, verdicts[1].detail) == ("", "timeout")
    assert verdicts[1].seconds >= 3


def test_what_sympy_loads_late_is_loaded_before_the_clock_of_the_first_case_starts() -> None:
    script = f"""
        import sys
        from verifiers import worker
        worker.load_sympy()
        before = set(sys.modules)
        print(worker.answer({{"gold": {WARM[0]!r}, "answer": {WARM[1]!r}}})["outcome"], set(sys.modules) - before)
    """
    assert _run(script, cwd=ROOT).split() == ["equal", "set()"]


def test_slow_case_does_not_hold_up_another_worker() -> None:
    _check(*WARM)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(_check, "1", SLOW)
        busy = _wait_until_busy()
        assert _check(*WARM).status is Status.CORRECT
        assert not slow.done()
        busy.kill()
        assert slow.result().detail == "worker_died"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is by the clock")
def test_case_is_late_by_cpu_time_so_that_a_busy_machine_changes_no_verdict() -> None:
    _check(*WARM)
    (worker,) = _workers()
    worker.suspend()
    with ThreadPoolExecutor(1) as thread:
        verdict = thread.submit(check_answer, *WARM, timeout_s=1)
        time.sleep(2)
        assert not verdict.done()
        worker.resume()
        assert verdict.result().status is Status.CORRECT


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is by the clock")
def test_worker_that_does_nothing_is_not_waited_for_for_ever() -> None:
    _check(*WARM)
    (worker,) = _workers()
    worker.suspend()
    assert check_answer(*WARM, timeout_s=0.1).detail == "timeout"


def test_worker_killed_in_the_middle_is_undecided_and_the_next_check_works() -> None:
    _check(*WARM)
    with ThreadPoolExecutor(1) as thread:
        verdict = thread.submit(_check, "1", SLOW)
        _wait_until_busy().kill()
        assert (verdict.result().status, verdict.result().detail) == (Status.UNDECIDED, "worker_died")
    assert _check(*WARM).status is Status.CORRECT


def test_worker_killed_while_idle_costs_no_verdict() -> None:
    _check(*WARM)
    for worker in _workers():
        worker.kill()
        worker.wait(PATIENCE)
    assert _check(*WARM).status is Status.CORRECT


def test_eight_threads_get_the_verdicts_that_one_gets() -> None:
    pairs = [
        WARM,
        ("2x+2", "2(x+1)"),
        ("7", "7.0"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        ("x^2", "x^3"),
        ("5", ")("),
        ("1/3", "0.33"),
    ]

    def verdicts(_: int) -> list[tuple[Status, str, str]]:
        found = check_answers(pairs, kind="answer", timeout_s=PATIENCE)
        return [(verdict.status, verdict.method, verdict.detail) for verdict in found]

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(verdicts, range(8)))
    assert all(result == verdicts(0) for result in results)
    assert len(_workers()) <= (os.cpu_count() or 1)


def test_checks_run_under_asyncio() -> None:
    async def gather() -> list[Verdict]:
        return await asyncio.gather(*(asyncio.to_thread(_check, "2x", f"{n}x") for n in range(4)))

    assert [verdict.status is Status.CORRECT for verdict in asyncio.run(gather())] == [False, False, True, False]


def test_worker_outlives_the_thread_that_needed_it() -> None:
    thread = threading.Thread(target=_check, args=WARM)
    thread.start()
    thread.join()
    (worker,) = _workers()
    assert _check(*WARM).status is Status.CORRECT
    assert _workers() == [worker]


def test_close_leaves_no_process() -> None:
    check_answers([WARM, ("2", WARM[1])], kind="answer", workers=2, timeout_s=PATIENCE)
    assert _workers()
    pool.close()
    assert _workers() == []


def test_memory_cap_is_undecided() -> None:
    worker = Worker(memory_mb=8)
    try:
        decision = worker.ask({"gold": "1", "answer": SLOW}, PATIENCE)
        assert decision.rule in ("memory", "worker_died", "error_OSError")
    finally:
        worker.kill()


def test_forked_child_starts_its_own_workers() -> None:
    _check(*WARM)
    # Run apart: forking this process, which has threads, is what the deprecation warning is about.
    script = f"""
        import multiprocessing
        from verifiers import check_answer
        def check(): return str(check_answer(*{WARM!r}, timeout_s={PATIENCE}).status)
        def child(answers): answers.put(check())
        assert check() == "correct"
        for method in ("fork", "spawn"):
            if __name__ == "__main__":
                context = multiprocessing.get_context(method)
                answers = context.Queue()
                process = context.Process(target=child, args=(answers,)); process.start()
                print(answers.get(timeout={2 * PATIENCE})); process.join()
        print(check())
    """
    assert _run(script, cwd=ROOT).split() == ["correct"] * 4


def _run(script: str, cwd: Path) -> str:
    path = cwd / "main.py" if cwd != ROOT else Path(os.environ.get("TMPDIR", "/tmp")) / f"verifiers-{os.getpid()}.py"
    path.write_text(textwrap.dedent(script))
    try:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        ran = subprocess.run([sys.executable, str(path)], cwd=cwd, env=environment, capture_output=True, text=True)
    finally:
        path.unlink()
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_script_needs_no_main_guard_and_a_foreign_folder_does_no_harm(tmp_path: Path) -> None:
    for name in ("sympy", "json", "worker"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')")
    (tmp_path / "work").mkdir()
    script = f"from verifiers import check_answer\nprint(check_answer(*{WARM!r}, timeout_s={PATIENCE}).status)\n"
    (tmp_path / "work" / "main.py").write_text(script)
    ran = subprocess.run([sys.executable, "work/main.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert ran.stdout.split() == ["correct"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    script = f"""
        import sys, threading
        from verifiers import check_answer
        check_answer(*{WARM!r}, timeout_s={PATIENCE})
        threading.Thread(target=check_answer, args=("1", {SLOW!r}), kwargs=dict(timeout_s=300)).start()
        print("busy", flush=True)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == b"busy\n"
        worker = _wait_until_busy(parent.pid)
        parent.kill()
    end = time.monotonic() + PATIENCE
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_signal_handler_is_installed() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGCHLD, signal.SIGTERM)]
    _check(*WARM)
    after = [signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGCHLD, signal.SIGTERM)]
    assert before == after


def test_every_start_method_is_left_alone() -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    _check(*WARM)
    assert multiprocessing.get_start_method(allow_none=True) == before
