"""Self-training variants side by side: every shipped recipe on the embedded model, same problems, same evaluation.

    python tests/benchmarks/variants.py [OUT.json] [RECIPE ...] [KEY=VALUE ...]

Prints a table: held-out accuracy on the target difficulties before and after, on the hardest, samples drawn, tokens
trained on, seconds. `tests/benchmarks/results/variants.json` is the stored result.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipelines.recipe import load_recipe
from pipelines.report.summary import last_promoted, summarize
from pipelines.run import run_recipe

VARIANTS = ("star", "star-no-rationalization", "rft", "rest-em", "b-star", "expert-iteration")


def measure(name: str, changes: list[str], folder: Path) -> dict[str, Any]:
    """Figures of one recipe."""
    run = run_recipe(load_recipe(name, changes), folder)
    summary = summarize(run)
    last = last_promoted(summary, {place[:2] for place in summary.accuracy})
    assert last is not None
    hardest = summary.targets[-1]
    return {
        "recipe": name,
        "base": summary.accuracy["base", 0, "all"].mean,
        "targets": summary.accuracy[*last, "all"].mean,
        "hardest": summary.accuracy[*last, hardest].mean,
        "round": last[1],
        "samples": sum(1 for _ in run.table("rationales", "star-")),
        "trained_tokens": sum(entry["tokens"] for entry in summary.trainings.values()),
        "seconds": round(sum(cost["seconds"] for cost in summary.costs.values())),
    }


def main() -> None:
    """Run the recipes, print and store."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    changes, rows = [word for word in sys.argv[2:] if "=" in word], []
    for name in [word for word in sys.argv[2:] if word not in changes] or VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, changes, Path(folder) / "run"))
        print(json.dumps(rows[-1]), flush=True)
    print(f"{'recipe':26}{'targets':>9}{'hardest':>9}{'samples':>9}{'M tokens':>10}{'seconds':>9}")
    for row in rows:
        print(f"{row['recipe']:26}{row['targets']:>9.1%}{row['hardest']:>9.1%}{row['samples']:>9}"
              f"{row['trained_tokens'] / 1e6:>10.2f}{row['seconds']:>9}")  # fmt: skip
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
