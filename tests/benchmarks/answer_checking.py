"""Ours and Math-Verify on the same file, one process each, in one run.

    pip install math-verify==0.9.0
    python tests/benchmarks/answer_checking.py CASES.jsonl [--split held] [--ours-only] [--thread] [--show]

Each line is {"gold": ..., "prediction": ..., "correct": true|false} and may have `class`, `split`, `kind`, or, in place
of gold and prediction, a recipe `build`, where {"repeat": s, "times": n, "prefix": a, "suffix": b} is a + s*n + b.
A grader that takes over ten seconds for a case is killed and started anew; deadline and address space (4 GiB) are the
same for both. Prints a line for each grader, the ratio of their rates, a table by class, and the sentinel files that
came into being, which tell that an answer's code was run. `--thread` grades outside the main thread, `--show` lists
what ours got wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Verdict = bool | str | None  # None is undecided; a text is "raised" or "killed"
Grader = Callable[[str, str, str], Verdict]
START_SECONDS, DEADLINE_SECONDS, LATE_SECONDS = 120.0, 10.0, 2.0
ADDRESS_SPACE = 4 << 30
SOLUTION = re.compile(r"\$|\\boxed|\n|####|answer|</|.{120}", re.IGNORECASE)


def ours() -> Grader:
    """check_answer; None where it is undecided."""
    from data.records import Status
    from verifiers import check_answer

    verdicts = {Status.CORRECT: True, Status.UNDECIDED: None}
    return lambda gold, prediction, kind: verdicts.get(check_answer(gold, prediction, kind=kind).status, False)


def math_verify() -> Grader:
    """Math-Verify with its defaults; gold and bare answers in dollars, as its own documentation has it."""
    from math_verify import parse, verify

    def grade(gold: str, prediction: str, kind: str) -> bool:
        bare = kind == "answer" or (kind != "text" and not SOLUTION.search(prediction))
        gold, wrapped = (text if "$" in text else f"${text}$" for text in (gold, prediction))
        return bool(verify(parse(gold), parse(wrapped if bare else prediction)))

    return grade


GRADERS: dict[str, Callable[[], Grader]] = {"ours": ours, "Math-Verify": math_verify}


def serve(requests: Connection, name: str, in_thread: bool) -> None:
    """Answer (gold, prediction, kind) with (verdict, seconds) until None comes."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    def answer() -> None:
        grade = GRADERS[name]()
        while (request := requests.recv()) is not None:
            started = time.perf_counter()
            try:
                verdict = grade(*request)
            except Exception:  # noqa: BLE001 - a grader may raise anything; it is counted
                verdict = "raised"
            requests.send((verdict, time.perf_counter() - started))

    ThreadPoolExecutor(1).submit(answer).result() if in_thread else answer()


class Worker:
    """One grader in a process of its own, replaced when it hangs or dies."""

    def __init__(self, name: str, in_thread: bool) -> None:
        self.arguments, self.peak_mb = (name, in_thread), 0.0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *self.arguments))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid
        theirs.close()
        if self.reply(("1/2", "The answer is $\\frac{1}{2}$.", "text"), START_SECONDS) is None:
            self.stop()
            raise SystemExit(f"{self.arguments[0]} does not start.")

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has not yet come to its own group
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()

    def reply(self, request: tuple[str, str, str], deadline: float) -> tuple[Verdict, float] | None:
        """Verdict and seconds, or None where the process hung or died."""
        with contextlib.suppress(EOFError, OSError):
            self.pipe.send(request)
            answered = self.pipe.poll(deadline)
            self.peak_mb = max(self.peak_mb, peak_mb(self.pid))
            return self.pipe.recv() if answered else None
        return None

    def ask(self, request: tuple[str, str, str]) -> tuple[Verdict, float]:
        if (reply := self.reply(request, DEADLINE_SECONDS)) is None:
            self.stop()
            self.start()
        return reply or ("killed", DEADLINE_SECONDS)


def peak_mb(pid: int) -> float:
    """Peak resident memory of a process and of its live descendants, MB (0 where /proc does not tell)."""
    with contextlib.suppress(OSError):
        high = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return (int(high[1]) / 1024 if high else 0.0) + sum(map(peak_mb, children))
    return 0.0


def built(value: Any) -> Any:
    """A text, or what its recipe makes."""
    return value if isinstance(value, str) else value["prefix"] + value["repeat"] * value["times"] + value["suffix"]


def score(verdicts: list[Verdict], cases: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Cases right, false accepts, false rejects; undecided, raised and killed are in none of the three."""
    pairs = Counter((verdict, bool(case["correct"])) for verdict, case in zip(verdicts, cases, strict=True))
    return pairs[True, True] + pairs[False, False], pairs[True, False], pairs[False, True]


def measure(name: str, cases: list[dict[str, Any]], in_thread: bool) -> tuple[float, list[Verdict]]:
    """Grade all cases, print a line, and return cases a second and the verdicts."""
    worker, replies = Worker(name, in_thread), []
    try:
        for case in cases:
            recipe = case.get("build", case)
            replies.append(worker.ask((built(recipe["gold"]), built(recipe["prediction"]), case.get("kind", "auto"))))
    finally:
        worker.stop()
    verdicts, seconds = [verdict for verdict, _ in replies], sorted(spent for _, spent in replies)
    (right, accepts, rejects), rate = score(verdicts, cases), len(cases) / sum(seconds)
    print(
        f"{name:12} {100 * right / len(cases):6.2f} % right, {accepts} false accepts, {rejects} false rejects, "
        f"{verdicts.count(None)} undecided, {verdicts.count('raised')} raised, {verdicts.count('killed')} killed, "
        f"{sum(one > LATE_SECONDS for one in seconds)} late; {rate:.0f} cases/s, p50 "
        f"{1e3 * seconds[len(seconds) // 2]:.2f} ms, p99 {1e3 * seconds[len(seconds) * 99 // 100]:.1f} ms, "
        f"peak {worker.peak_mb:.0f} MB"
    )
    return rate, verdicts


def table(results: dict[str, list[Verdict]], cases: list[dict[str, Any]]) -> None:
    """Print by class: cases, then for each grader the share right and its false accepts/rejects/no verdict."""
    print(f"{'class':58} cases" + "".join(f"{name:>24}" for name in results))
    for name in dict.fromkeys(case.get("class", "") for case in cases):
        rows = [index for index, case in enumerate(cases) if case.get("class", "") == name]
        print(f"{name:58} {len(rows):5}", end="")
        for verdicts in results.values():
            right, accepts, rejects = score([verdicts[row] for row in rows], [cases[row] for row in rows])
            cell = f"{accepts}/{rejects}/{len(rows) - right - accepts - rejects}"
            print(f"{100 * right / len(rows):12.1f} % {cell:>9}", end="")
        print()


def main() -> None:
    """Run one or both graders over a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path)
    parser.add_argument("--split", choices=("dev", "held"))
    for flag in ("--ours-only", "--thread", "--show"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    cases = [json.loads(line) for line in options.cases.read_text(encoding="utf-8").split("\n") if line]
    cases = [case for case in cases if options.split in (None, case.get("split"))]
    before = set(map(str, Path("/tmp").glob("stepstar_sentinel_*")))
    runs = {name: measure(name, cases, options.thread) for name in (["ours"] if options.ours_only else GRADERS)}
    if not options.ours_only:
        print(f"ratio        {runs['ours'][0] / runs['Math-Verify'][0]:.1f}x")
    table({name: verdicts for name, (_, verdicts) in runs.items()}, cases)
    print("sentinel files made:", sorted(set(map(str, Path("/tmp").glob("stepstar_sentinel_*"))) - before))
    for case, verdict in zip(cases, runs["ours"][1], strict=True):
        if options.show and verdict is not case["correct"]:
            print(f"  {verdict} for {json.dumps(case)[:400]}")


if __name__ == "__main__":
    main()
