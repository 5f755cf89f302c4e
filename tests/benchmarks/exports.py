"""What an export costs: CPU microseconds a row and peak memory, by format.

    python tests/benchmarks/exports.py [RATIONALES] [OUT.json]

The run is of sums of three numbers with one right solution each (default 100,000) and near-misses of 100 of them,
written through the run's own stages. Each format is exported by a process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data.batching import batched
from data.exports.layouts import LAYOUTS
from data.prompts import PromptTemplate
from data.records import FinishReason, Origin, Problem, Provenance, Rationale, Status, Verdict
from data.run_records import Selection
from data.steps import split_steps
from pipelines.curation.export import ExportJob, export_run
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.labels import write_labels
from pipelines.stages.sampling import Context

_MADE_BY = Provenance(
    model="embedded", revision="r", engine="scripted", prompt_hash="p", sampling="{}", seed=1, round=0, code_version="0"
)
_SHARD = 1000


def write_run(root: Path, n: int) -> None:
    """A run with `n` problems, each with its right solution."""
    recipe = load_recipe("quickstart", ["near_misses.rationales=100"])
    run = RunFolder.open(root, recipe)
    problems = [
        Problem.create(prompt=f"{10 + number % 990}+{number // 990}+7=?", answer=str(17 + number % 990 + number // 990))
        for number in range(n)
    ]
    run.unit("problems", "train", "key", lambda: problems)
    for place, shard in enumerate(batched(problems, _SHARD)):
        rows = [_solved(problem) for problem in shard]
        unit = f"star-r1-sample-{place:05d}"
        run.unit("rationales", unit, "key", lambda rows=rows: rows)
        run.unit("verdicts", unit, "key", lambda rows=rows: [
            Verdict(status=Status.CORRECT, extracted=row.answer, method="string", rationale_id=row.id) for row in rows
        ])  # fmt: skip
        run.unit("selections", f"star-r1-{place:05d}", "key", lambda rows=rows: [
            Selection(rationale_id=row.id, problem_id=row.problem_id, arm="star", round=1, kept=True, reason="kept")
            for row in rows
        ])  # fmt: skip
    write_labels(Context(run, recipe, PromptTemplate(recipe.prompt)), "star")
    run.close()


def _solved(problem: Problem) -> Rationale:
    first, second, _ = problem.prompt.split("+")
    total = int(first) + int(second)
    text = f"{first}+{second}={total}\n{total}+7={problem.answer}\n#### {problem.answer}"
    return Rationale.create(
        problem_id=problem.id, steps=split_steps(text), origin=Origin.SAMPLED, made_by=_MADE_BY, answer=problem.answer,
        finish_reason=FinishReason.STOP, n_tokens=20,
    )  # fmt: skip


def measure(root: Path, layout: str) -> dict[str, Any]:
    """Export once, in this process."""
    cpu = time.process_time()
    contents = export_run(RunFolder.read(root), ExportJob(layout=layout, out=root.parent / layout))
    rows = sum(splits.total() for splits in contents.parts.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time() - cpu
    return {"format": layout, "rows": rows, "cpu_us_a_row": round(cpu / rows * 1e6), "peak_mb": round(peak)}


def main() -> None:
    """Measure every format and print."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3])))
        return
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        write_run(root, n)
        command = [sys.executable, __file__, "--one", str(root)]
        found = [json.loads(subprocess.check_output([*command, layout], text=True)) for layout in LAYOUTS]
    text = json.dumps(found, indent=1)
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text + "\n")


if __name__ == "__main__":
    main()
