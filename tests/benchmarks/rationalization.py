"""Does rationalization buy anything? The quickstart over several seeds, with and without it, at equal rounds.

    python tests/benchmarks/rationalization.py [OUT.json] [SEED ...]

Problems, evaluation problems, samples and training orders are all drawn anew for each seed. Prints a table and writes
the figures; `tests/benchmarks/results/rationalization.json` is the stored result of seeds 0 1 2.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from pipelines.recipe import load_recipe
from pipelines.report.summary import summarize
from pipelines.run import run_recipe

ARMS = ("base", "no_rationalization", "star")


def measure(seed: int, folder: Path) -> dict[str, float]:
    """Accuracy by arm on the targets and on the hardest difficulty, last round, one seed."""
    options = load_recipe("quickstart").problems.options | {"seed": 1000 + seed}
    changes = [f"seed={seed}", f"problems.options={json.dumps(options)}", f"evaluation.options.seed={2000 + seed}",
               "prm.enabled=false", "ppo.enabled=false"]  # fmt: skip
    recipe = load_recipe("quickstart", changes)
    run = run_recipe(recipe, folder)
    summary = summarize(run)
    hardest = summary.targets[-1]
    found: dict[str, float] = {"seed": seed, "seconds": sum(cost["seconds"] for cost in summary.costs.values())}
    for arm in ARMS:
        round_ = 0 if arm == "base" else recipe.rounds
        found[f"{arm} targets"] = summary.accuracy[arm, round_, "all"].mean
        found[f"{arm} difficulty {hardest}"] = summary.accuracy[arm, round_, hardest].mean
    return found


def main() -> None:
    """Run all seeds, print and store."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    rows = []
    for seed in [int(word) for word in sys.argv[2:]] or [0, 1, 2]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(seed, Path(folder) / "run"))
        print(json.dumps(rows[-1]), flush=True)
    names = [name for name in rows[0] if name not in ("seed", "seconds")]
    print(f"{'':34}" + "".join(f"{'seed ' + str(row['seed']):>10}" for row in rows))
    for name in names:
        print(f"{name:34}" + "".join(f"{100 * row[name]:>9.1f}%" for row in rows))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
