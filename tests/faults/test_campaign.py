"""The short form of the fault campaign: every stage of a run in little, stopped anywhere, ends with the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_runs_stopped_by_sigkill_and_sigterm_end_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("campaign.py")), "--short", "--kills", "2", "--disks", "0"]
    # Of this seed both stop before the half: later, an attempt that takes less CPU time than the first may be through.
    command += ["--seed", "51"]
    # A process of its own: it forks, and has no threads.
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "found.json")], capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [found["killed"][name] for name in ("runs", "stopped", "identical")] == [2, 2, 2]
    assert {stop.split()[0] for stop in found["killed"]["stops"]} == {"SIGKILL", "SIGTERM"}
    assert found["files"] > 30
