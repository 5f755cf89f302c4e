"""Seconds and peak memory of reading a file of PRM800K's shape and size.

    python tests/benchmarks/prm800k.py [--out RESULT.json] [LINES [RAW.jsonl ...]]

Makes a file of that many lines (98,000, about the size of PRM800K's) in a temporary folder: raw lines given by name,
or a few of its own, each with its problem numbered so that no two are alike. Converts it in this process, writing every
solution out again, and prints time, rate, peak memory and the ledger; stored in `results/prm800k.json`.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prm.labels import LabelledSolution, Prm800kConverter, read_prm800k, write_labels


def own_line(rng: random.Random) -> dict[str, Any]:
    """A line of about the size of PRM800K's: 8 steps on average, up to 7 completions at some of them."""
    steps = []
    for number in range(rng.randint(4, 12)):
        n_offered = 7 if rng.random() < 0.15 else 1
        completions = [
            {"text": f"Step {number}, version {place}: " + "we have $x + y = 2$ and so on. " * 3, "rating": 1}
            for place in range(n_offered)
        ]
        steps.append({"completions": completions, "human_completion": None, "chosen_completion": 0})
    steps[-1]["completions"][0]["rating"] = -1  # type: ignore[index]
    steps[-1]["chosen_completion"] = None
    question = {"problem": "Find $x$. " * 20, "ground_truth_answer": "2"}
    return {"question": question, "label": {"steps": steps, "finish_reason": "found_error"}}


def make_file(path: Path, n_lines: int, raw: list[str]) -> None:
    """Write the file."""
    rng = random.Random(0)
    lines = [json.loads(line) for name in raw for line in Path(name).read_text(encoding="utf-8").splitlines()]
    lines = lines or [own_line(rng) for _ in range(20)]
    with path.open("w", encoding="utf-8") as stream:
        for number in range(n_lines):
            line = lines[number % len(lines)]
            question = line["question"] | {"problem": f"{line['question']['problem']} ({number})"}
            stream.write(json.dumps(line | {"question": question}) + "\n")


def measure(source: Path, target: Path, n_lines: int) -> dict[str, Any]:
    """Read the file, then read it and write the labels; seconds by the clock and of this process's CPU."""
    found: dict[str, Any] = {"lines": n_lines, "megabytes": round(source.stat().st_size / 2**20)}
    for name, write in (("read", False), ("read and write", True)):
        converter = Prm800kConverter()
        started, used = time.perf_counter(), time.process_time()
        kept = (item for item in read_prm800k(str(source), converter) if isinstance(item, LabelledSolution))
        n_solutions = write_labels(target, kept, "stepstar")["written"] if write else sum(1 for _ in kept)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found |= {"solutions": n_solutions, "peak_megabytes": round(peak)}
        found[name] = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
        print(
            f"{name}: {n_lines} lines, {found['megabytes']} MB, {n_solutions} solutions in {seconds:.1f} s "
            f"({cpu:.1f} of CPU), {n_lines / seconds:.0f} lines/s, peak memory {peak:.0f} MB"
        )
    print(dict(converter.ledger.lines), dict(converter.ledger.completions))
    return found


def main() -> None:
    """Make the file, convert it, print, store."""
    words = sys.argv[1:]
    out = words[words.index("--out") + 1] if "--out" in words else ""
    words = [word for word in words if word not in ("--out", out)]
    n_lines = int(words[0]) if words else 98_000
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "raw.jsonl"
        make_file(source, n_lines, words[1:])
        found = measure(source, Path(folder) / "labels.jsonl", n_lines)
    if out:
        Path(out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
