"""Each attempt of a run leaves one log that says what was run, what it said, and how it ended."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from data.errors import UserError
from pipelines.progress import AttemptLog, say, track
from pipelines.recipe import load_recipe
from pipelines.run import run_recipe


def logs(root: Path) -> list[str]:
    return [file.read_text() for file in sorted((root / "logs").iterdir())]


def attempt(root: Path, error: BaseException | None = None) -> None:
    log = AttemptLog(root)
    try:
        say("set aside a torn file")
        with track("sample", 4, stream=io.StringIO()) as bar:
            bar.advance(4)
        if error:
            raise error
    finally:
        log.end()


def test_news_and_progress_stand_in_the_log_with_the_time(tmp_path: Path) -> None:
    attempt(tmp_path)
    (text,) = logs(tmp_path)
    lines = text.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)
    assert ["stepstar" in lines[0], "torn file" in lines[1], "sample: 4/4" in lines[2]] == [True] * 3
    assert lines[3].endswith("finished")


def test_a_mistake_is_one_line_and_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    for error in (UserError("the disk is full.", "Free space."), KeyboardInterrupt(), ValueError("a bug")):
        with pytest.raises(type(error)):
            attempt(tmp_path, error)
    mistake, interrupt, bug = logs(tmp_path)
    assert mistake.splitlines()[-1].endswith("stopped: the disk is full. Free space.")
    assert interrupt.splitlines()[-1].endswith("stopped: interrupted")
    assert "Traceback" in bug
    assert bug.splitlines()[-1] == "ValueError: a bug"


def test_after_its_end_a_log_hears_nothing(tmp_path: Path) -> None:
    attempt(tmp_path)
    say("later")
    assert "later" not in logs(tmp_path)[0]


def test_a_log_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("in the way")
    attempt(tmp_path)
    assert "the log cannot be written" in capsys.readouterr().err


def test_a_run_that_is_refused_has_a_log_too(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ["problems.source=local", "problems.path=none.jsonl", "problems.options={}"])
    for _ in range(2):
        with pytest.raises(UserError):
            run_recipe(recipe, tmp_path / "run")
    assert ["none.jsonl" in text for text in logs(tmp_path / "run")] == [True, True]
