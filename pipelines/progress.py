"""Progress of long work: a bar on a terminal, one line every 30 seconds elsewhere. Always on stderr.

While a run is at work, what it says goes to `logs/attempt-NNN.log` of its folder too, with the time in front.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, TextIO

from data.errors import StepstarError

QUIET_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""


class AttemptLog:
    """The log of one attempt of a run, from now until `end`. A log that cannot be written does not stop the run."""

    def __init__(self, root: Path) -> None:
        self._stream: TextIO | None = None
        with self._forgiving():
            folder = root / "logs"
            folder.mkdir(exist_ok=True)
            file = folder / f"attempt-{1 + len(list(folder.glob('attempt-*.log'))):03}.log"
            # What a model wrote may stand in an error, and need not be UTF-8.
            self._stream = file.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        _logs.append(self)
        self.write(f"stepstar {version('stepstar')}, process {os.getpid()}: {shlex.join(sys.argv)}")

    def write(self, line: str) -> None:
        """Add a line with the time, UTC."""
        with self._forgiving():
            if self._stream:
                print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), line, file=self._stream)

    def end(self) -> None:
        """Say how the attempt ends; to be called where an exception, if there is one, is still on its way."""
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit):
            self.write("stopped: SIGTERM")
        elif isinstance(error, StepstarError | KeyboardInterrupt):
            self.write(f"stopped: {str(error) or 'interrupted'}")
        elif error:
            self.write("failed:\n" + "".join(traceback.format_exception(error)).rstrip())
        else:
            self.write("finished")
        _logs.remove(self)
        with self._forgiving():
            if self._stream:
                self._stream.close()

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._stream = None
            print(f"the log cannot be written: {error.strerror}", file=sys.stderr)


_logs: list[AttemptLog] = []
"""Of the run that this process is at, if any."""


def _log(line: str) -> None:
    for log in _logs:
        log.write(line)


class Tracker(Protocol):
    """Counts work done."""

    def advance(self, amount: int, note: str = "") -> None:
        """Add finished items; `note` replaces the text beside the bar, e.g. `accepted 45 %`."""

    def reach(self, done: int, note: str = "") -> None:
        """Set the number of finished items, where an earlier attempt may have done some."""


class _LineTracker:
    """One line every 30 seconds and one at the end."""

    def __init__(self, label: str, total: int, stream: TextIO) -> None:
        self.label, self.total, self.stream = label, total, stream
        self.done, self.note = 0, ""
        self.started = self.printed = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self.printed >= QUIET_SECONDS:
            self.print()

    def reach(self, done: int, note: str = "") -> None:
        self.advance(done - self.done, note)

    def print(self) -> None:
        """Write the line."""
        self.printed = time.monotonic()
        elapsed = max(self.printed - self.started, 1e-9)
        rate = self.done / elapsed
        left = f", {(self.total - self.done) / rate:.0f} s left" if 0 < self.done < self.total else ""
        note = f", {self.note}" if self.note else ""
        line = f"{self.label}: {self.done}/{self.total} in {elapsed:.0f} s ({rate:.1f}/s{left}{note})"
        print(line, file=self.stream, flush=True)
        _log(line)


class _BarTracker:
    def __init__(self, bar: object, task: object) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int, note: str = "") -> None:
        fields = {"note": note} if note else {}
        self._bar.update(self._task, advance=amount, **fields)  # type: ignore[attr-defined]

    def reach(self, done: int, note: str = "") -> None:
        fields = {"note": note} if note else {}
        self._bar.update(self._task, completed=done, **fields)  # type: ignore[attr-defined]


@contextmanager
def track(label: str, total: int, stream: TextIO | None = None) -> Iterator[Tracker]:
    """Show the progress of `total` items of work."""
    stream = stream or sys.stderr
    if not stream.isatty():
        tracker = _LineTracker(label, total, stream)
        yield tracker
        tracker.print()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(label, total=total, note="")
        yield _BarTracker(bar, task)
        done = bar.tasks[0]
        _log(f"{label}: {done.completed:.0f}/{total} in {done.elapsed or 0:.0f} s")


def say(line: str) -> None:
    """One line of news."""
    print(line, file=sys.stderr, flush=True)
    _log(line)
