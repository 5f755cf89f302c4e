"""Stops runs at random moments, resumes them, and compares what they leave with an uninterrupted run, byte for byte.

    python tests/faults/campaign.py [--kills 100] [--disks 10] [--seed 0] [--out RESULT.json] [KEY=VALUE ...]

`--kills` runs of one small recipe (`runs.py`) are each killed by SIGKILL with their process group, some several times,
every third asked to end by SIGTERM before, and resumed until they are done. `--disks` runs begin on a disk (a tmpfs,
where mounting is allowed) that is too small, must say so, and go on when it has room. KEY=VALUE changes the recipe, as
in `outer_rounds=2` or `executor.workers=2`.

Attempts are forks of this process, which has loaded torch: a start costs milliseconds instead of seconds. One
uninterrupted run and the last attempt of every tenth run are commands of their own, with other hash seeds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from disks import can_mount
from runs import RECIPE, SHORT, Run, Trial

HEAVY = ("datasets", "jinja2", "peft", "plotly.graph_objects", "pyarrow.parquet", "transformers.models.llama",
         "pipelines.outer", "prm.training", "star.ppo.trainer", "star.preference.training")  # fmt: skip
"""What a run imports. None starts a thread: a fork would not have it."""


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Counts over runs."""
    stops = Counter(stop for run in runs for stop in run.stops)
    return {
        "runs": len(runs),
        "stopped": sum(bool(run.stops) for run in runs),
        "identical": sum(not run.differences for run in runs),
        "stopped_several_times": sum(len(run.stops) > 1 for run in runs),
        "stops": dict(sorted(stops.items())),
        "damaged": [asdict(run) for run in runs if run.differences],
    }


def campaign(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it; the result so far is stored after each run."""
    for name in HEAVY:
        importlib.import_module(name)
    recipe = (*RECIPE, *SHORT * options.short, *options.overrides)
    trial, began = Trial(folder, options.seed, recipe), time.perf_counter()
    trial.run_whole()
    if not options.short:
        trial.check_whole()
    print(f"uninterrupted: {trial.cpu_s:.1f} CPU s, {len(trial.whole)} files", flush=True)
    disks = options.disks if can_mount(folder) else 0
    killed, full, found = list[Run](), list[Run](), dict[str, Any]()
    # Mixed, so that a campaign that is cut short has some of both.
    jobs = [(n / options.kills, True, n) for n in range(options.kills)] + [(n / disks, False, n) for n in range(disks)]
    for _, kill, number in sorted(jobs):
        run = trial.run_killed(number) if kill else trial.run_on_small_disk(number)
        (killed if kill else full).append(run)
        print(f"{run.name}: {', '.join(run.stops)}: {run.differences or 'equal'}", flush=True)
        found = {
            "seed": options.seed,
            "overrides": options.overrides,
            "run_cpu_s": round(trial.cpu_s, 1),
            "files": len(trial.whole),
            "killed": summary(killed),
            "full_disk": summary(full) if full else "none: a tmpfs cannot be mounted here" * (disks < options.disks),
            "slowest_end_after_sigterm_s": round(trial.slowest_end_s, 2),
            "cpu_s": round(sum(os.times()[:4])),
            "wall_s": round(time.perf_counter() - began),
        }
        if options.out:
            options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="runs that are killed")
    parser.add_argument("--disks", type=int, default=10, help="runs that find their disk full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="one round, one iteration of PPO, no preferences")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    found = campaign(options, folder)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    parts = [part for part in (found["killed"], found["full_disk"]) if isinstance(part, dict)]
    if any(part["damaged"] for part in parts):
        sys.exit(f"the damaged runs are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
