"""Programs get the verdict that they earn, whatever they try; packs of honest and hostile ones, and bad input."""

from __future__ import annotations

import contextlib
import gc
import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from data.errors import UserError
from data.records import Problem
from data.sources.programs import parse_humaneval, parse_mbpp
from verifiers.programs import ProgramCase, ProgramLimits, program_case, run_problem, run_program, run_programs
from verifiers.sandbox import pool
from verifiers.sandbox.cases import StdioCase
from verifiers.sandbox.pool import Sandbox
from verifiers.sandbox.results import ProgramVerdict

PACKS = Path(__file__).parent / "packs"
DATA = Path(__file__).parents[2].parent / "shared" / "data"
GENERATED = {
    "nested_brackets": "x = " + "(" * 5000 + ")" * 5000,
    "nested_operators": "x = " + "-" * 200_000 + "1",
    "nested_lambdas": "x = " + "lambda: " * 20_000 + "0",
    "nested_indents": "".join(" " * depth + "if 1:\n" for depth in range(300)) + " " * 300 + "pass",
    "megabyte_of_source": "x = 1\n" * 170_000,
    "long_expression": "x = " + " + ".join(["1"] * 100_000),
}


@pytest.fixture(scope="module", params=["all_layers", "no_namespaces"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    without = frozenset({"namespaces"}) if request.param == "no_namespaces" else frozenset[str]()
    with Sandbox(2, without) as made:
        assert run_program("def f(): return 1", "assert f() == 1", backend=made).verdict is ProgramVerdict.PASSED
        if made.without != without:
            pytest.skip("no namespaces on this machine")
        yield made


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PACKS / name).read_text(encoding="utf-8").splitlines()]


def _case(row: dict[str, Any]) -> ProgramCase:
    cases = [StdioCase(stdin=stdin, stdout=stdout) for stdin, stdout in row.get("cases", ())]
    return ProgramCase(
        program=row["program"], tests=cases or row["tests"], trusted_setup=row.get("setup", "")
    )  # fmt: skip


def _run_pack(rows: list[dict[str, Any]], sandbox: Sandbox, **limits: Any) -> dict[str, tuple[str, str]]:
    results = run_programs(map(_case, rows), workers=2, backend=sandbox, limits=ProgramLimits(**limits))
    return {row["name"]: (str(found.verdict), found.detail) for row, found in zip(rows, results, strict=True)}


def test_no_program_that_only_pretends_passes() -> None:
    rows = _rows("program_hacks.jsonl")
    found = _run_pack(rows, pool.shared(2), timeout_s=1)
    # Nor may a program blame the problem or the sandbox, which would spare it the verdict.
    assert {name: one for name, one in found.items() if one[0] not in ("failed", "timeout")} == {}
    assert len(found) == len(rows) > 120


def test_hard_honest_programs_pass(sandbox: Sandbox) -> None:
    # Without namespaces it is files and memory that might differ; a third of the rest will do.
    rows = _rows("program_honest.jsonl")
    if "namespaces" in sandbox.without:
        rows = [
            row for place, row in enumerate(rows) if place % 3 == 0 or "file" in row["name"] or "mem" in row["name"]
        ]
    found = _run_pack(rows, sandbox, timeout_s=60)
    assert {name: one for name, one in found.items() if one[0] != "passed"} == {}
    assert len(found) > 25


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What there is to reach outside: files open to all, sockets that listen, a process of the same user."""
    folder = tmp_path_factory.mktemp("host")
    for part in (folder, *list(folder.parents)[:2]):
        part.chmod(0o777)
    (folder / "canary").write_text("secret")
    (folder / "canary").chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0stepstar-canary")
        abstract.listen()
        with subprocess.Popen(["sleep", "1000"]) as victim, socket.socket(socket.AF_UNIX) as local:
            local.bind(str(folder / "socket"))
            local.listen()
            (folder / "socket").chmod(0o777)
            yield {"folder": folder, "port": server.getsockname()[1], "victim": victim.pid}
            assert victim.poll() is None
            victim.kill()


def test_nothing_outside_can_be_reached(sandbox: Sandbox, host: dict[str, Any]) -> None:
    rows = _rows("program_escapes.jsonl")
    for row in rows:
        attempt = row["attempt"]
        for name, value in host.items():
            attempt = attempt.replace(f"{{{name}}}", str(value))
        row["program"] = (
            f"def attempt():\n    {attempt}\n\ndef f():\n    try:\n        attempt()\n"
            "    except (OSError, ImportError, AssertionError, ValueError, AttributeError):\n        return 'refused'\n"
        )
        row["tests"] = "assert f() == 'refused'\n"
    found = _run_pack(rows, sandbox, timeout_s=60)
    assert {name: one for name, one in found.items() if one[0] != "passed"} == {}
    canary = host["folder"] / "canary"
    assert sorted(path.name for path in host["folder"].iterdir()) == ["canary", "socket"]
    assert (canary.read_text(), canary.stat().st_mode & 0o777) == ("secret", 0o666)


def test_attacks_on_resources_are_contained_and_named(sandbox: Sandbox) -> None:
    rows = _rows("program_attacks.jsonl")
    if "namespaces" in sandbox.without:
        # All the rest is up to layers that hold in both ways.
        rows = [row for row in rows if row["name"].startswith(("disk", "memory"))]
    else:
        rows += [{"name": name, "program": text, "verdicts": ["failed", "memory", "timeout"]}
                 for name, text in GENERATED.items()]  # fmt: skip
    for row in rows:
        row["tests"] = "assert f() == 1\n"
    # Those that end by themselves get the time for it.
    endless = [row for row in rows if "timeout" in row["verdicts"]]
    others = [row for row in rows if "timeout" not in row["verdicts"]]
    found = _run_pack(endless, sandbox, timeout_s=0.7, memory_mb=160)
    found |= _run_pack(others, sandbox, timeout_s=60, memory_mb=160)
    wrong = {row["name"]: found[row["name"]] for row in rows if found[row["name"]][0] not in row["verdicts"]}
    assert wrong == {}
    launchers = [psutil.Process(pid) for pid in sandbox.processes()]
    # A launcher and its two servers are all that is left.
    assert [len(one.children(recursive=True)) for one in launchers] == [2] * len(launchers)


@pytest.mark.parametrize(
    ("program", "tests", "verdict", "detail"),
    [
        ("def f(x): return x", "assert f(1) == 1", "passed", ""),
        ("def f(x): return x", "assert f(1) == 2", "failed", "assertion"),
        ("def f(x): return 1 / 0", "f(1)", "failed", "ZeroDivisionError"),
        ("def f(x: return 1", "f(1)", "failed", "syntax"),
        ("def f(x): return 1\0", "f(1)", "failed", "syntax"),
        ("x = '\ud800'\ndef f(x): return x", "assert f(1) == 1", "failed", "syntax"),
        ("def g(): pass", "f(1)", "failed", "NameError"),
        ("import os\nos._exit(0)", "f(1)", "failed", "ended_early"),
        ("import sys\ndef f(x): sys.exit()", "f(1)", "failed", "ended_early"),
        ("import os\nos.write(3, b'x' * 100)", "f(1)", "failed", "protocol"),
        ("import ctypes\nctypes.string_at(0)", "f(1)", "failed", "killed:SIGSEGV"),
        ("while True: pass", "f(1)", "timeout", ""),
        ("def f(x): return x", "while True: f(1)", "timeout", ""),
        ("def f(x): return x", "f(1)\nwhile True: pass", "timeout", ""),
        ("def f(x): return bytearray(1 << 40)", "f(1)", "memory", "MemoryError"),
        ("x = bytearray(1 << 40)", "f(1)", "memory", "MemoryError"),
        ("print('x' * (2 << 20))\ndef f(x): return x", "assert f(1) == 1", "output_limit", ""),
        ("", "f(1)", "failed", "empty_program"),
        (" \n", "f(1)", "failed", "empty_program"),
        ("def f(x): return x", "", "problem_error", "no_tests"),
        ("def f(x): return x", " \n\t", "problem_error", "no_tests"),
        ("def f(x): return x", "# nothing", "problem_error", "untested"),
        ("def f(x): return x", "def check(c): assert c(1) == 1\n", "problem_error", "untested"),
        ("def f(x): return x", "def check(c): pass\ncheck(f)\n", "problem_error", "untested"),
        ("def f(x): return x", "assert f(1 == 1", "problem_error", "tests:syntax"),
        ("def f(x): return x", "assert f(1) == 1\0", "problem_error", "tests:syntax"),
        ("def f(x): return x", "x = '\ud800'\nassert f(1)", "problem_error", "tests:syntax"),
        ("def f(x): return x", "import no_such_module\nf(1)", "problem_error", "tests:ModuleNotFoundError"),
        ("def f(x): return x", "assert False", "problem_error", "tests:assertion"),
    ],
)  # fmt: skip
def test_verdict_and_detail(program: str, tests: str, verdict: str, detail: str) -> None:
    found = run_program(program, tests, timeout_s=1 if verdict == "timeout" else 60)
    assert (found.verdict, found.detail) == (verdict, detail)


@pytest.mark.parametrize("setup", ["def f(:", "1 / 0", "import no_such_module"])
def test_broken_setup_is_an_error_of_the_problem(setup: str) -> None:
    found = run_program("def f(x): return x", "assert f(1) == 1", trusted_setup=setup)
    assert (found.verdict, found.detail.partition(":")[0]) == (ProgramVerdict.PROBLEM_ERROR, "setup")
    assert not found.decided


def test_setup_wins_over_the_program_and_its_stubs_do_not() -> None:
    setup = "import math\ndef helper(x):\n    return x + 1\n\ndef f(x):\n    import math\n    '''To do.'''\n"
    tests = "assert helper(1) == 2\nassert math.floor(1.5) == 1\nassert f(1) == 5\n"
    program = "def helper(x): return 9\nclass math: floor = staticmethod(lambda x: 7)\ndef f(x): return 5\n"
    assert run_program(program, tests, trusted_setup=setup).verdict is ProgramVerdict.PASSED


def test_built_in_names_are_the_programs_only_as_entry_points() -> None:
    program, tests = "def sum(a, b): return 6\n", "assert sum(10, 15) == 6\n"
    assert run_program(program, tests).verdict is ProgramVerdict.PROBLEM_ERROR
    assert run_program(program, tests, entry_points=["sum"]).verdict is ProgramVerdict.PASSED
    assert run_program("def f(): pass\n", tests, entry_points=["sum"]).detail == "NameError"


def test_result_says_what_it_cost_and_what_was_written() -> None:
    found = run_program("import sys\nprint('héllo')\nsys.stderr.write('bad')\ndef f(): return 1", "assert f() == 1")
    assert (found.out_bytes, found.out_tail) == (10, "héllo\nbad")
    assert {"limits", "landlock", "seccomp"} <= set(found.layers)
    assert 0 < found.cpu_s < 10
    assert found.wall_s > 0


def test_script_is_run_for_each_input_and_stops_at_the_first_that_fails() -> None:
    program = "print(int(input()) ** 2 if int(1) else 0)"
    right = [StdioCase(stdin="2\n", stdout="4"), StdioCase(stdin="3", stdout="9 \n\n")]
    assert run_program(program, right).verdict is ProgramVerdict.PASSED
    wrong = run_program(program, [*right, StdioCase(stdin="x", stdout="1"), StdioCase(stdin="1", stdout="2")])
    assert (wrong.verdict, wrong.detail) == (ProgramVerdict.FAILED, "ValueError")
    assert run_program(program, []).detail == "no_tests"
    assert run_program("print(1", right).detail == "syntax"


def test_same_program_draws_the_same_numbers() -> None:
    program = "import random\ndef f(): return random.random(), hash('a'), list({'a', 'b', 'c'})\nprint(f())\n"
    assert len({run_program(program, "f()").out_tail for _ in range(3)}) == 1


@pytest.mark.parametrize("layer", ["landlock", "seccomp"])
def test_machine_without_an_essential_layer_is_refused_unless_allowed(layer: str) -> None:
    with Sandbox(1, frozenset({layer})) as lesser:
        with pytest.raises(UserError, match=layer):
            run_program("def f(): return 1", "assert f() == 1", backend=lesser)
        found = run_program("def f(): return 1", "assert f() == 1", backend=lesser, allow_unsafe=True)
        assert found.verdict is ProgramVerdict.PASSED
        assert layer not in found.layers


@pytest.mark.parametrize("limits", [{"timeout_s": 0}, {"timeout_s": float("inf")}, {"memory_mb": 0}, {"output_kb": 0}])
def test_senseless_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        run_program("x = 1", "x", **limits)


def test_results_keep_the_order_and_cases_are_read_a_bounded_way_ahead() -> None:
    taken = 0

    def cases() -> Iterator[ProgramCase]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield ProgramCase(
                program=f"def f(): return {number}", tests=f"assert f() == {number if number % 3 else -1}"
            )

    results = list(itertools.islice(run_programs(cases(), workers=2), 12))
    assert [one.verdict for one in results] == [
        ProgramVerdict.PASSED if i % 3 else ProgramVerdict.FAILED for i in range(12)
    ]
    assert taken < 1000


def test_slow_case_holds_up_no_other() -> None:
    slow = ProgramCase(program="import time\ntime.sleep(1000)", tests="f()")
    quick = [ProgramCase(program="def f(): return 1", tests="assert f() == 1") for _ in range(20)]
    with Sandbox(2) as own:
        results = run_programs([slow, *quick], workers=2, backend=own, limits=ProgramLimits(timeout_s=4))
        found = list(results)
    assert [one.verdict for one in found] == [ProgramVerdict.TIMEOUT] + [ProgramVerdict.PASSED] * 20


@contextlib.contextmanager
def _killing(own: Sandbox, times: int, pick: Callable[[psutil.Process], list[psutil.Process]]) -> Iterator[None]:
    """Kill processes of a busy worker, as soon as it runs a program, and then let programs go on."""
    over, killed = threading.Event(), set[int]()

    def work() -> None:
        while not over.wait(0.005):
            for pid in {worker.process.pid for worker in list(own._all)} - killed:
                # What is there may be gone at the next line.
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    launcher = psutil.Process(pid)
                    below = launcher.children(recursive=True)
                    # Two servers and a child of each: a run is going on.
                    if len(below) == 4 and len(killed) == times:
                        for process in below:
                            process.send_signal(signal.SIGCONT)
                    elif len(below) == 4:
                        for victim in pick(launcher):
                            victim.send_signal(signal.SIGKILL)
                            killed.add(pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(killed) == times


PICKS: dict[str, Callable[[psutil.Process], list[psutil.Process]]] = {
    "launcher": lambda launcher: [launcher],
    "candidate_server": lambda launcher: launcher.children()[:1],
    "checker_server": lambda launcher: launcher.children()[1:],
    "candidate": lambda launcher: launcher.children()[0].children(),
    "checker": lambda launcher: launcher.children()[1].children(),
}


@pytest.mark.parametrize("name", PICKS)
@pytest.mark.parametrize(("times", "verdict"), [(1, "passed"), (2, "sandbox_error")])
def test_killed_sandbox_is_tried_once_more_and_never_says_failed(name: str, times: int, verdict: str) -> None:
    # Waits until it is told that nobody is killed any more.
    program = (
        "import signal, time\ntold = []\nsignal.signal(signal.SIGCONT, lambda *_: told.append(1))\n"
        "def f():\n    while not told:\n        time.sleep(0.01)\n    return 1"
    )
    with Sandbox(1) as own:
        assert run_program("def f(): return 1", "assert f() == 1", backend=own).verdict is ProgramVerdict.PASSED
        with _killing(own, times, PICKS[name]):
            found = run_program(program, "assert f() == 1", backend=own, timeout_s=60)
        assert found.verdict == verdict
        assert run_program("def f(): return 1", "assert f() == 1", backend=own).verdict is ProgramVerdict.PASSED


def _problems(path: str, parse: Callable[[dict[str, Any]], Problem]) -> list[Problem]:
    file = DATA / path
    if not file.exists():
        pytest.skip(f"{file} is not here")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [parse(json.loads(line)) for line in lines]


def _failures(problems: list[Problem]) -> dict[str, tuple[str, str]]:
    cases = [program_case(problem, problem.solution) for problem in problems]
    results = run_programs(cases, workers=2, limits=ProgramLimits(timeout_s=60))
    found = zip(problems, results, strict=True)
    return {one.prompt[:80]: (str(got.verdict), got.detail) for one, got in found if got.verdict != "passed"}


def test_every_humaneval_reference_passes() -> None:
    problems = _problems("humaneval/humaneval.jsonl.gz", parse_humaneval)
    assert len(problems) == 164
    assert _failures(problems) == {}


def test_mbpp_references_pass() -> None:
    problems = _problems("mbpp/mbpp.jsonl.gz", parse_mbpp)
    # Those with a setup, an own `sum` and `sys.getsizeof` in the tests, and every sixteenth.
    special = [one for one in problems if "root = Node" in one.tests or "sum" in one.tests or "sys." in one.tests]
    assert _failures([*special, *problems[::16]]) == {}


@pytest.mark.slow
def test_every_mbpp_reference_passes() -> None:
    problems = _problems("mbpp/mbpp.jsonl.gz", parse_mbpp)
    assert len(problems) == 974
    assert _failures(problems) == {}


def test_reference_of_another_problem_does_not_pass() -> None:
    problems = _problems("humaneval/humaneval.jsonl.gz", parse_humaneval)[:24]
    crossed = [program_case(one, other.solution) for one, other in itertools.pairwise(problems)]
    assert {one.verdict for one in run_programs(crossed)} == {ProgramVerdict.FAILED}


def test_completion_of_a_problem_is_run() -> None:
    prompt = 'def inc(x):\n    """Add one."""\n'
    problem = parse_humaneval({"prompt": prompt, "entry_point": "inc", "test": "def check(c):\n    assert c(1) == 2\n",
                               "canonical_solution": "    return x + 1\n"})  # fmt: skip
    assert run_problem(problem, "    return x + 1\n").verdict is ProgramVerdict.PASSED
    assert (
        run_problem(problem, "Here:\n```python\ndef inc(x):\n    return x + 1\n```\n").verdict is ProgramVerdict.PASSED
    )
    assert run_problem(problem, "    return x\n").verdict is ProgramVerdict.FAILED


def test_descriptors_do_not_grow() -> None:
    run_program("def f(): return 1", "assert f() == 1")
    gc.collect()  # What earlier tests left open must not be closed in between.
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        run_program("def f(): return 1", "assert f() == 1")
        run_program("import os\nos._exit(1)", "f()")
    assert len(os.listdir("/proc/self/fd")) == before
