"""How long a million rows take against benchmarks and each other, in how much memory, and what of the planted is found.

    python tests/benchmarks/decontamination.py DATA [--rows 1000000] [--out FILE.json]

DATA holds `gsm8k/{train,test}.jsonl.gz`, `math/math500.jsonl.gz` and `svamp/svamp.jsonl.gz`. The rows are GSM8K
training problems with their solutions, their digits and the order of the sentences changed, so that nearly all of them
are new. One row in 1,000 has a test problem's text within it, one in 1,000 repeats the row before it but for a word.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.curation.decontamination import decontaminate_file

_PLANTED = 1000


def rows_of(data: Path, n: int) -> Iterator[dict[str, Any]]:
    """Rows with what was planted in them: `test`, `repeat` or nothing."""
    train, test = (
        [json.loads(line) for line in gzip.decompress((data / f"gsm8k/{split}.jsonl.gz").read_bytes()).splitlines()]
        for split in ("train", "test")
    )
    rng, before = random.Random(0), ""
    for place in range(n):
        row = train[rng.randrange(len(train))]
        sentences = re.split(r"(?<=[.?!])\s+", f"{row['question']} {row['answer']}")
        rng.shuffle(sentences)
        text = " ".join(sentences).translate(str.maketrans("0123456789", f"{rng.randrange(10**9, 10**10)}"))
        planted = {1: "test", 501: "repeat"}.get(place % _PLANTED, "")
        if planted == "test":
            text = f"{text} {rng.choice(test)['question']}"
        elif planted == "repeat":
            text = before.replace(" the ", " that ", 1)
        before = text
        yield {"text": text, "planted": planted}


def measure(data: Path, n: int) -> dict[str, Any]:
    """Write the rows, look at them once, and say what was found."""
    against = [str(data / name) for name in ("gsm8k/test.jsonl.gz", "math/math500.jsonl.gz", "svamp/svamp.jsonl.gz")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        planted: dict[str, list[int]] = {"": [], "test": [], "repeat": []}
        with file.open("w") as stream:
            for place, row in enumerate(rows_of(data, n)):
                planted[row.pop("planted")].append(place)
                stream.write(json.dumps(row) + "\n")
        cpu, wall = time.process_time(), time.perf_counter()
        found = decontaminate_file(file, against, 0.8, None)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        megabytes = file.stat().st_size / 1e6
    others = [place for place in planted[""] if place in found.overlaps]
    return {
        "rows": n,
        "file_mb": round(megabytes, 1),
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "planted_test_problems_found": f"{sum(place in found.overlaps for place in planted['test'])}"
        f" of {len(planted['test'])}",
        "planted_repeats_found": f"{sum(place in found.repeats for place in planted['repeat'])}"
        f" of {len(planted['repeat'])}",
        "other_rows_that_overlap": len(others),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # The smaller first: the peak of a process never falls.
    found = [measure(options.data, n) for n in sorted({max(1, options.rows // 10), options.rows})]
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
