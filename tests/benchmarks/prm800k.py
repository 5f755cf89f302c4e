"""Seconds and peak memory of reading a file of PRM800K's shape and size.

    python tests/benchmarks/prm800k.py [LINES [RAW.jsonl ...]]

Makes a file of that many lines (98,000, about the size of PRM800K's) in a temporary folder: raw lines given by name,
or a few of its own, each with its problem numbered so that no two are alike. Converts it in this process, writing every
solution out again, and prints time, rate, peak memory and the ledger.
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


def main() -> None:
    """Make the file, convert it, print."""
    n_lines = int(sys.argv[1]) if len(sys.argv) > 1 else 98_000
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "raw.jsonl", Path(folder) / "labels.jsonl"
        make_file(source, n_lines, sys.argv[2:])
        for name, write in (("read", False), ("read and write", True)):
            converter = Prm800kConverter()
            started = time.perf_counter()
            kept = (item for item in read_prm800k(str(source), converter) if isinstance(item, LabelledSolution))
            n_solutions = write_labels(target, kept, "stepstar")["written"] if write else sum(1 for _ in kept)
            seconds = time.perf_counter() - started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{name}: {n_lines} lines, {source.stat().st_size / 2**20:.0f} MB, {n_solutions} solutions in "
                f"{seconds:.1f} s, {n_lines / seconds:.0f} lines/s, peak memory {peak:.0f} MB"
            )
        print(dict(converter.ledger.lines), dict(converter.ledger.completions))


if __name__ == "__main__":
    main()
