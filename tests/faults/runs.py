"""Runs that are stopped at random moments and resumed, beside one that is not: what the fault campaign is made of.

One small recipe goes through every stage that a run has: rounds with rationalization, the arm without, leak tests,
labels, near-misses, PRM, preferences, PPO, dataset, report. Moments are drawn evenly over the CPU time that is left of
the uninterrupted run, so that a busy machine shifts none.

What counts is names and bytes of all files in `dataset/`, `checkpoints/` and `records/`. What differs by its nature
does not: the seconds in `records/verdicts`, `records/step_scores`, `manifest.json` and the report, and `logs/`.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from disks import mount, unmount

ROOT = Path(__file__).parents[2]
# This checkout, whatever is installed.
sys.path.insert(0, str(ROOT))
RECIPE = (
    "problems.options={n: 12, difficulty: [3, 5], seed: 1}",
    "evaluation.options={n: 2, difficulty: [3, 5], seed: 2}",
    "target_difficulties=[]",
    "shard_size=8",
    "engine.batch_size=32",
    "rounds=2",
    "threads=1",
    "sampling={n: 1, temperature: 0.8, max_tokens: 64}",
    "sft={steps: 5, batch_size: 16, save_every_s: 0}",
    "rationalization.wrong_hints=2",
    "promotion.dev_share=0.25",
    "near_misses.rationales=6",
    "prm={enabled: true, steps: 6, batch_tokens: 1024, evaluate_every: 3, samples: 2, save_every_s: 0, "
    "outcome_model: {steps: 3}}",
    "preference={enabled: true, steps: 4, samples: 2, batch_size: 8, save_every_s: 0}",
    "ppo={enabled: true, rewards: prm, iterations: 3, problems_per_iteration: 3, samples_per_problem: 2, epochs: 1, "
    "lora_rank: 4, critic_warmup: 0, learning_rate: 1e-3, guards: {gate_every: 2, gate_drop: 1}}",
)
SHORT = (
    "problems.options={n: 14, difficulty: [2], seed: 1}",
    "evaluation.options={n: 2, difficulty: [2], seed: 2}",
    "rounds=1",
    "compare_without_rationalization=false",
    "rationalization.wrong_hints=0",
    "sampling.max_tokens=32",
    "sft.steps=3",
    "prm.steps=2",
    "preference.enabled=false",
    "ppo.iterations=1",
)
COUNTS = ("dataset", "checkpoints", "records")
TIMED = ("records/verdicts", "records/step_scores")
"""Tables whose rows say how long they took."""
KILLS = (1, 1, 1, 2, 3)
"""Of one run, one of these."""
_MARK = "at stage: "
_CUT = 0.02, 0.95
"""A disk that is too small holds between these shares of what a run leaves."""
_PROCESS_CLOCK = 2
"""CPUCLOCK_SCHED: the kind of clock that counts the CPU time of a whole process, in Linux's numbering."""
_GRACE_S = 60.0
"""After SIGTERM."""
_TERMINATED, _RESUME = 128 + signal.SIGTERM, "stopped. Run the same command again to resume."


@dataclass(frozen=True, slots=True)
class Run:
    """One run that was stopped and resumed."""

    name: str
    stops: list[str]
    """How and at which stage, of each stop."""
    differences: list[str]
    """Files that differ, are missing, or are too many."""


def fingerprint(folder: Path) -> dict[str, str]:
    """Relative path to SHA-256 of every file that counts."""
    from data.store import sha256_of

    # Those of each outer round too, which is a run in a folder of its own.
    roots = [folder, *folder.glob("outer-*")]
    files = [file for root in roots for part in COUNTS for file in (root / part).rglob("*") if file.is_file()]
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: sha256_of(file) for name, file in names.items() if not any(part in name for part in TIMED)}


def differences(whole: dict[str, str], found: dict[str, str]) -> list[str]:
    """Names of the files in which two fingerprints differ."""
    return sorted(name for name in {*whole, *found} if whole.get(name) != found.get(name))


def attempt(folder: Path, log: Path, overrides: Sequence[str]) -> None:
    """Run the recipe in this process, a session of its own; the log says at which stage it is."""
    os.setsid()
    with log.open("a", buffering=1) as stream, contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        _announce_stages()
        from pipelines.cli import main

        sys.argv = ["stepstar", "run", "quickstart", *overrides, "--out", str(folder)]
        main()


def _announce_stages() -> None:
    from pipelines.run_dir import RunFolder

    plain = RunFolder.stage

    @contextlib.contextmanager
    def announced(run: RunFolder, name: str) -> Iterator[None]:
        print(f"{_MARK}{name}", file=sys.stderr)
        with plain(run, name):
            yield
        print(f"{_MARK}after {name}", file=sys.stderr)

    RunFolder.stage = announced  # type: ignore[method-assign]


class Trial:
    """Runs of one recipe in one folder: some that are stopped, and one that is not."""

    def __init__(self, folder: Path, seed: int, overrides: Sequence[str]) -> None:
        self.folder = folder
        self.seed = seed
        self.overrides = overrides
        self.whole: dict[str, str] = {}
        """Fingerprint of the uninterrupted run."""
        self.cpu_s = math.inf
        """CPU time of its process, without the imports."""
        self.slowest_end_s = 0.0
        """From SIGTERM to the end of the process."""

    def run_whole(self) -> None:
        """The uninterrupted run."""
        _, self.cpu_s = self._fork(self.folder / "whole")
        self.whole = fingerprint(self.folder / "whole")

    def check_whole(self) -> None:
        """The same as a command: if it differs, the recipe itself cannot be repeated."""
        self._command(self.folder / "again")
        if wrong := self._compare("again", []).differences:
            raise SystemExit(f"two uninterrupted runs differ in {wrong}")

    def run_killed(self, number: int) -> Run:
        """One run, killed once or more and resumed."""
        rng, folder = random.Random(f"{self.seed} {number}"), self.folder / f"run-{number:03}"
        stops, spent = list[str](), 0.0
        signals = [signal.SIGTERM] * (number % 3 == 1) + [signal.SIGKILL] * rng.choice(KILLS)
        for sent in signals:
            code, cpu_s = self._fork(folder, rng.uniform(0, max(0.0, self.cpu_s - spent)), sent)
            if code == 0:
                break
            stops.append(f"{sent.name} {self._stage(folder)}")
            spent += cpu_s
        if number % 10 == 9:
            self._command(folder)
        else:
            self._fork(folder)
        return self._compare(folder.name, stops)

    def run_on_small_disk(self, number: int) -> Run:
        """One run that finds its disk full, and goes on when it has room."""
        rng, folder = random.Random(f"{self.seed} disk {number}"), self.folder / f"disk-{number:03}"
        needed = sum(file.stat().st_size for file in (self.folder / "whole").rglob("*") if file.is_file())
        folder.mkdir()
        mount(folder, f"size={round(needed * rng.uniform(*_CUT))}")
        try:
            code, _ = self._fork(folder, expected=(0, 2))
            stops = [f"disk full {self._stage(folder)}"] * (code == 2)
            if code and "No space left" not in self._said(folder).splitlines()[-1]:
                raise SystemExit(f"a full disk was not named:\n{self._said(folder)[-3000:]}")
            mount(folder, "remount,size=1g")
            self._fork(folder)
            return self._compare(folder.name, stops)
        finally:
            unmount(folder)

    def _compare(self, name: str, stops: list[str]) -> Run:
        """Look at a run that is done; its folder stays where it differs."""
        wrong = differences(self.whole, fingerprint(self.folder / name))
        if not wrong and not name.startswith("disk"):
            shutil.rmtree(self.folder / name)
        return Run(name, stops, wrong)

    def _fork(
        self,
        folder: Path,
        stop_at: float = math.inf,
        sent: signal.Signals = signal.SIGKILL,
        expected: Sequence[int] = (0,),
    ) -> tuple[int, float]:
        """One attempt, stopped after so many CPU seconds: its exit code, and those that it had."""
        log = self._log(folder)
        log.unlink(missing_ok=True)
        process = multiprocessing.get_context("fork").Process(target=attempt, args=(folder, log, self.overrides))
        process.start()
        assert process.pid is not None
        clock, spent = (~process.pid << 3) | _PROCESS_CLOCK, 0.0
        while process.is_alive() and spent < stop_at:
            with contextlib.suppress(OSError):  # A process that has ended has no clock.
                spent = time.clock_gettime(clock)
            process.join(0.005)
        if process.is_alive():
            expected = (0, -signal.SIGKILL) if sent is signal.SIGKILL else (0, _TERMINATED, -signal.SIGTERM)
            self._stop(process, sent)
        process.join()
        if process.exitcode not in expected:
            raise SystemExit(f"an attempt ended with {process.exitcode}:\n{log.read_text()[-3000:]}")
        if process.exitcode == _TERMINATED and not self._said(folder).rstrip().endswith(_RESUME):
            raise SystemExit(f"SIGTERM was not answered by '{_RESUME}':\n{self._said(folder)[-3000:]}")
        return process.exitcode, spent

    def _stop(self, process: multiprocessing.process.BaseProcess, sent: signal.Signals) -> None:
        assert process.pid is not None
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            # Before its first line, a fork has no group of its own yet.
            group = os.getpgid(process.pid)
            (os.killpg if group == process.pid and sent is signal.SIGKILL else os.kill)(process.pid, sent)
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
            raise SystemExit(f"an attempt was still there {_GRACE_S:g} s after {sent.name}")
        if sent is signal.SIGTERM:
            self.slowest_end_s = max(self.slowest_end_s, time.monotonic() - began)

    def _command(self, folder: Path) -> None:
        command = [sys.executable, __file__, str(folder), str(self._log(folder)), *self.overrides]
        subprocess.run(command, check=True)

    def _log(self, folder: Path) -> Path:
        return folder.with_suffix(".log")

    def _said(self, folder: Path) -> str:
        return self._log(folder).read_text() if self._log(folder).exists() else ""

    def _stage(self, folder: Path) -> str:
        """Where the last attempt was; what lies between two stages is named after the first."""
        lines = self._said(folder).splitlines()
        return next((line.removeprefix(_MARK) for line in reversed(lines) if line.startswith(_MARK)), "start")


if __name__ == "__main__":
    attempt(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
