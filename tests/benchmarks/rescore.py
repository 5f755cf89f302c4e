"""Grading stored outputs again: seconds and peak memory of `stepstar rescore` over a folder of many outputs.

    python tests/benchmarks/rescore.py GSM8K_TEST.jsonl[.gz] [--outputs 100000] [--folder DIR] [--out RESULT.json]

Makes an evaluation folder by the library's own writer: the worked solutions of GSM8K as a model writes them, the final
answer stated in one of six ways, two in five of them wrong. The command then runs in a process of its own, whose CPU
seconds (children included) and peak memory are told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from data.batching import batched
from data.records import FinishReason, Origin, Problem, Provenance, Rationale
from data.sources import Reject, read_problems
from data.steps import split_steps
from pipelines.evaluation.folder import EvalFolder
from pipelines.evaluation.settings import BenchmarkConfig, config_from
from pipelines.evaluation.stage import SAMPLES, problems_unit, unit_prefix
from pipelines.stages.verification import check_rationales, final_answer

ENDINGS = (
    "#### {}", "The answer is {}.", "So the answer is \\boxed{{{}}}.", "**Answer: ${}**", "Therefore, {} in total.",
    "#### {}.00",
)  # fmt: skip
SHARD = 2000


def write_folder(folder: Path, problems: list[Problem], n: int) -> None:
    """An evaluation folder with `n` samples and their verdicts."""
    benchmark = BenchmarkConfig(name="gsm8k", source="gsm8k", path="stored")
    config = config_from("stored", "scripted", [benchmark], {"samples": -(-n // len(problems))}, [])
    run = EvalFolder.begin(folder, config, fresh=True)
    run.unit("problems", problems_unit("gsm8k"), "key", lambda: problems)
    for place, shard in enumerate(batched(range(n), SHARD)):
        owners = [problems[number % len(problems)] for number in shard]
        unit = f"{unit_prefix('gsm8k', SAMPLES)}{place:05d}"
        rows = run.unit("rationales", unit, "key", partial(outputs, owners, place))
        run.unit("verdicts", unit, "key", partial(check_rationales, list(dict.fromkeys(owners)), rows))
    run.close()


def outputs(owners: list[Problem], seed: int) -> Iterator[Rationale]:
    """One output for each problem given."""
    rng = random.Random(seed)
    made_by = Provenance(model="stored", revision="r", engine="scripted", prompt_hash="p", sampling="{}", seed=0,
                         round=0, code_version="0")  # fmt: skip
    for number, problem in enumerate(owners):
        gold = problem.answer
        said = gold if rng.random() < 0.6 else str(rng.randint(1, 500))
        body = problem.solution.rpartition("####")[0].replace("<<", "").replace(">>", "")
        text = body + rng.choice(ENDINGS).format(said)
        yield Rationale.create(
            problem_id=problem.id, steps=split_steps(text), origin=Origin.SAMPLED, finish_reason=FinishReason.STOP,
            n_tokens=len(text) // 4, answer=final_answer(text, problem).answer,
            made_by=replace(made_by, seed=seed * SHARD + number),
        )  # fmt: skip


def measure(folder: Path, policy: str) -> dict[str, float | int | str]:
    """Run the command and measure it."""
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pipelines.cli", "rescore", str(folder), "--policy", policy]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "policy": policy,
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mb": round(after.ru_maxrss / 1024, 1),
        "said": done.stdout.splitlines()[0],
    }


def main() -> None:
    """Write the folder, then measure each policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--outputs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    stream = read_problems("gsm8k", path=str(arguments.problems), split="test")
    problems = [row for row in stream if not isinstance(row, Reject)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "stored"
        started = time.process_time()
        if not (folder / "config.json").exists():
            write_folder(folder, problems, arguments.outputs)
            print(f"{arguments.outputs} outputs written and checked in {time.process_time() - started:.0f} CPU seconds")
        rows = [measure(folder, policy) for policy in ("default", "strict")]
    for row in rows:
        print(row)
    if arguments.out:
        arguments.out.write_text(json.dumps({"outputs": arguments.outputs, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
