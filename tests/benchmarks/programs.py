"""The sandbox and the usual way (a file with program and tests, exit status of a subprocess), side by side in one run.

    python tests/benchmarks/programs.py HUMANEVAL.jsonl.gz [REPEATS]
    python tests/benchmarks/programs.py HUMANEVAL.jsonl.gz --soak RUNS

Both run the reference solutions of HumanEval, one at a time, in turns. Prints programs a second of wall time and of CPU
time, and their ratio. With `--soak` the sandbox runs so many programs, every tenth of which attacks it, and counters of
processes, descriptors, temporary files and resident memory are printed on the way.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import psutil

from data.records import Problem
from data.sources.programs import parse_humaneval
from verifiers.programs import ProgramCase, ProgramLimits, program_case, run_programs

ATTACKS = (
    "import os\nos._exit(0)\n",
    "x = []\nwhile True: x.append(bytearray(10 ** 7))\n",
    "while True: print('x' * 1000)\n",
    "import os\nos.makedirs('a/b/c')\nopen('a/b/c/d', 'w').write('x')\n",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n",
    "import ctypes\nctypes.string_at(0)\n",
    "def f(: pass\n",
)


def run_file(problem: Problem) -> bool:
    """The usual way, with no isolation at all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(f"{problem.solution}\n\n{problem.tests}", encoding="utf-8")
        done = subprocess.run([sys.executable, path], capture_output=True, timeout=10, check=False)
    return done.returncode == 0


def compare(problems: list[Problem], repeats: int) -> None:
    """Print rates of both, measured in turns."""
    seconds, cpu = Counter[str](), Counter[str]()
    passed = Counter[str]()
    list(run_programs([program_case(problems[0], problems[0].solution)]))
    for _ in range(repeats):
        for start in range(0, len(problems), 20):
            part = problems[start : start + 20]
            before, began = _cpu_s(), time.perf_counter()
            results = list(run_programs(program_case(problem, problem.solution) for problem in part))
            seconds["sandbox"] += time.perf_counter() - began
            cpu["sandbox"] += _cpu_s() - before
            passed["sandbox"] += sum(result.verdict == "passed" for result in results)
            before, began = _cpu_s(), time.perf_counter()
            passed["file"] += sum(map(run_file, part))
            seconds["file"] += time.perf_counter() - began
            cpu["file"] += _cpu_s() - before
    count = repeats * len(problems)
    for name in ("sandbox", "file"):
        print(f"{name:8} {passed[name]} of {count} passed; {count / seconds[name]:.1f} programs/s, "
              f"{1000 * seconds[name] / count:.1f} ms each, {count / cpu[name]:.1f} per CPU second")  # fmt: skip
    wall, used = seconds["file"] / seconds["sandbox"], cpu["file"] / cpu["sandbox"]
    print(f"ratio    {wall:.2f} in wall time, {used:.2f} in CPU time")


def soak(problems: list[Problem], runs: int) -> None:
    """Print what is left behind, ten times on the way."""

    def cases() -> islice[ProgramCase]:
        honest = cycle(program_case(problem, problem.solution) for problem in problems)
        attacks = cycle(ProgramCase(program=text, tests="assert f(1) == 1\n") for text in ATTACKS)
        return islice((next(attacks) if number % 10 == 9 else next(honest) for number in range(runs)), runs)

    print("runs  processes  descriptors  files  parent MB  workers MB  verdicts")
    verdicts = Counter[str]()
    limits = ProgramLimits(timeout_s=3, memory_mb=128)
    for number, result in enumerate(run_programs(cases(), limits=limits), start=1):
        verdicts[str(result.verdict)] += 1
        if number in (100, runs) or number % max(1, runs // 10) == 0:
            own = psutil.Process()
            children = own.children(recursive=True)
            files = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("stepstar-")]
            print(f"{number:6} {len(children):9} {own.num_fds():11} {len(files):6} {_mb(own):10.1f} "
                  f"{sum(map(_mb, children)):10.1f}  {dict(verdicts)}", flush=True)  # fmt: skip


def _mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / (1 << 20)


def _cpu_s() -> float:
    """CPU time of this process, of its children that ended, and of the workers with the children that ended there."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(one.ru_utime + one.ru_stime for one in usage)
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    """Compare, or soak."""
    with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
        problems = [parse_humaneval(json.loads(line)) for line in lines]
    if "--soak" in sys.argv:
        soak(problems, int(sys.argv[sys.argv.index("--soak") + 1]))
    else:
        compare(problems, int(sys.argv[2]) if len(sys.argv) > 2 else 1)


if __name__ == "__main__":
    main()
