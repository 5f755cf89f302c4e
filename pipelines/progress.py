"""Progress of long work: a bar on a terminal, one line every 30 seconds elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

QUIET_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""


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
        yield _BarTracker(bar, bar.add_task(label, total=total, note=""))


def say(line: str) -> None:
    """One line of news."""
    print(line, file=sys.stderr, flush=True)
