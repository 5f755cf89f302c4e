"""The pages of a large run: seconds and peak memory of `stepstar report` and `stepstar audit` over many rationales.

    python tests/benchmarks/report_scale.py [--rationales 100000] [--folder DIR] [--out RESULT.json]

Makes a run folder of two rounds by the library's own writer: drawn arithmetic, eight samples a problem and round, three
in five of them right, with verdicts, selections, step labels, step scores (of the right ones, and of a thousand that
the PRM is judged by) and evaluations. Each command then runs in a process of its own, whose CPU seconds and peak memory
are told; `report` writes the audit page too.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data.batching import batched
from data.records import FinishReason, Origin, Problem, Provenance, Rationale, Status, StepLabel, StepScores, Verdict
from data.run_records import Evaluation, Selection
from data.sources.arithmetic import draw_problem
from data.steps import split_steps
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from prm.model_config import PrmConfig, write_config

SAMPLES, ROUNDS, SHARD, TESTS, JUDGED = 8, 2, 128, 600, 1000
MADE_BY = Provenance(model="embedded", revision="r", engine="transformers", prompt_hash="p", sampling="{}", seed=0,
                     round=0, code_version="0")  # fmt: skip


def draw_problems(n: int, split: str) -> list[Problem]:
    """Distinct drawn problems of one to six operations."""
    rng, found = random.Random(split), dict[str, Problem]()
    while len(found) < n:
        problem = replace(draw_problem(rng.randint(3, 6), rng), split=split)
        found[problem.id] = problem
    return list(found.values())


def samples(problems: Sequence[Problem], round_: int) -> Iterator[Rationale]:
    """Worked solutions; two in five end in another answer."""
    for problem in problems:
        for seed in range(SAMPLES):
            right = (int(problem.id, 16) + seed * 7 + round_) % 5 < 3
            text = problem.solution if right else problem.solution.rpartition("####")[0] + "#### 7777"
            yield Rationale.create(
                problem_id=problem.id, steps=split_steps(text), origin=Origin.SAMPLED, finish_reason=FinishReason.STOP,
                n_tokens=len(text), answer=problem.answer if right else "7777",
                made_by=replace(MADE_BY, seed=seed, round=round_),
            )  # fmt: skip


def verdicts(rows: Sequence[Rationale]) -> Iterator[Verdict]:
    """Right or wrong, as they were made."""
    for row in rows:
        status = Status.INCORRECT if row.answer == "7777" else Status.CORRECT
        yield Verdict(status=status, extracted=row.answer, method="integer", rationale_id=row.id)


def selections(rows: Sequence[Rationale], round_: int) -> Iterator[Selection]:
    """The right ones are kept."""
    for row in rows:
        kept = row.answer != "7777"
        yield Selection(rationale_id=row.id, problem_id=row.problem_id, arm="star", round=round_, kept=kept,
                        reason="kept" if kept else "incorrect")  # fmt: skip


def labels(rows: Sequence[Rationale]) -> Iterator[StepLabel]:
    """Every step but the last is right."""
    for row in rows:
        for step in range(len(row.steps) - 1):
            yield StepLabel(rationale_id=row.id, step=step, value=1.0, rating=None, source="symbolic")


def scores(rows: Sequence[Rationale]) -> Iterator[StepScores]:
    """Some probability for each step."""
    for row in rows:
        rng = random.Random(row.id)
        found = tuple(round(rng.random(), 3) for _ in row.steps)
        yield StepScores(rationale_id=row.id, scores=found, scorer="prm", revision="r")


def evaluations(problems: Sequence[Problem], arm: str, round_: int) -> Iterator[Evaluation]:
    """Better from round to round."""
    for place, problem in enumerate(problems):
        status = Status.CORRECT if place % 4 <= round_ else Status.INCORRECT
        yield Evaluation(problem_id=problem.id, arm=arm, round=round_, status=status, extracted=problem.answer,
                         text=problem.solution, finish_reason=FinishReason.STOP, n_tokens=40)  # fmt: skip


def write_folder(folder: Path, n: int) -> None:
    """The run."""
    run = RunFolder.open(folder, load_recipe("quickstart", ["compare_without_rationalization=false"]), fresh=True)
    train, test = draw_problems(n // (SAMPLES * ROUNDS), "train"), draw_problems(TESTS, "test")
    run.unit("problems", "train", "k", lambda: train)
    run.unit("problems", "test", "k", lambda: test)
    run.unit("evaluations", "base-r0-00000", "k", lambda: evaluations(test, "base", 0))
    for round_ in range(1, ROUNDS + 1):
        found: list[Rationale] = []
        for place, shard in enumerate(batched(train, SHARD)):
            unit = f"star-r{round_}-sample-{place:05d}"
            rows = run.unit("rationales", unit, "k", partial(samples, shard, round_))
            run.unit("verdicts", unit, "k", partial(verdicts, rows))
            found += rows
        run.unit("selections", f"star-r{round_}-00000", "k", partial(selections, found, round_))
        run.unit("evaluations", f"star-r{round_}-00000", "k", partial(evaluations, test, "star", round_))
        kept = [row for row in found if row.answer != "7777"]
        run.unit("step_labels", f"symbolic-{round_:05d}", "k", partial(labels, kept))
        run.unit("step_scores", f"prm-{round_:05d}", "k", partial(scores, kept))
        run.unit("step_scores", f"judged-{round_:05d}", "k", partial(scores, found[: JUDGED // ROUNDS]))
    (folder / "checkpoints" / "prm").mkdir(parents=True)
    write_config(folder / "checkpoints" / "prm", PrmConfig())
    run.close()


def measure(verb: str, folder: Path, page: Path) -> dict[str, float | str]:
    """Run a command and measure it; a shell of its own, so that its peak is not another's."""
    code = "import resource, subprocess, sys, json; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); " \
           "used = resource.getrusage(resource.RUSAGE_CHILDREN); " \
           "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"  # fmt: skip
    started = time.perf_counter()
    command = [sys.executable, "-c", code, sys.executable, "-m", "pipelines.cli", verb, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu, peak = json.loads(done.stdout)
    return {"command": verb, "wall_s": round(time.perf_counter() - started, 1), "cpu_s": round(cpu, 1),
            "peak_mb": round(peak), "page_mb": round(page.stat().st_size / 1e6, 2)}  # fmt: skip


def main() -> None:
    """Write the folder, then measure each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rationales", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "large"
        if not (folder / "config.json").exists():
            write_folder(folder, arguments.rationales)
        print(f"written at a peak of {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        rows = [measure(verb, folder, folder / f"{verb}.html") for verb in ("report", "audit")]
    for row in rows:
        print(row)
    if arguments.out:
        arguments.out.write_text(json.dumps({"rationales": arguments.rationales, "pages": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
