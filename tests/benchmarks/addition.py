"""STaR's figure 4: do the lengths of sums rise together with rationalization, and one after the other without it?

    python tests/benchmarks/addition.py [--out FOLDER] [--runs FOLDER] [SEED ...]

Each seed is the recipe `addition` with problems, evaluation problems, samples and training orders drawn anew; 12 to 18
minutes of a busy core. The measure, over the lengths (numbers of digits) of which the base gets less than half right:

- a length *rises* in the first round whose model gets at least half of its held-out sums right, greedily; one that
  never does counts as rising in the round after the last, and is reported as such;
- *spread* = round of the last rise minus round of the first: 0 if all rise at once, no number if none ever does;
- *together* = the largest number of lengths that rise in one round.

Writes addition.json, addition.md and addition.svg to the folder of --out, by default `tests/benchmarks/results`. With
--runs the runs are kept there, and a benchmark that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.recipe import load_recipe
from pipelines.report.summary import summarize
from pipelines.run import run_recipe

RESULTS = Path(__file__).parent / "results"
ARMS = {"star": "with rationalization", "no_rationalization": "without rationalization"}
COLOURS = ("#7d8590", "#2f6fdb", "#2e9e5b", "#d9822b", "#d64545")
RISEN = 0.5

Curves = dict[str, list[float]]
"""Digits to held-out accuracy of the base and of each round's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What one seed gave."""

    seed: int
    seconds: float
    accuracy: dict[str, Curves]
    """By arm."""


def measure(seed: int, folder: Path) -> Seed:
    """Run both arms of one seed."""
    options = load_recipe("addition").problems.options | {"seed": 1000 + seed}
    held_out = load_recipe("addition").evaluation.options | {"seed": 2000 + seed}
    changes = [f"problems.options={json.dumps(options)}", f"evaluation.options={json.dumps(held_out)}"]
    recipe = load_recipe("addition", [f"seed={seed}", *changes])
    summary = summarize(run_recipe(recipe, folder))
    rounds = range(1, recipe.rounds + 1)
    accuracy = {
        arm: {
            digits: [
                summary.accuracy[place, round_, digits].mean
                for place, round_ in [("base", 0), *((arm, round_) for round_ in rounds)]
            ]
            for digits in summary.difficulties
        }
        for arm in ARMS
    }
    return Seed(seed=seed, seconds=round(sum(cost["seconds"] for cost in summary.costs.values())), accuracy=accuracy)


def rises(curves: Curves) -> dict[str, int]:
    """Digits to the round of their rise; lengths that the base knows are left out."""
    return {
        digits: next((round_ for round_, share in enumerate(shares) if share >= RISEN), len(shares))
        for digits, shares in curves.items()
        if shares[0] < RISEN
    }


def spread(curves: Curves) -> int | None:
    """Rounds between the first rise and the last; None if nothing rises."""
    found = rises(curves).values()
    return max(found) - min(found) if together(curves) else None


def together(curves: Curves) -> int:
    """The largest number of lengths that rise in one round; none rises after the last."""
    last = len(next(iter(curves.values())))
    return max(Counter(round_ for round_ in rises(curves).values() if round_ < last).values(), default=0)


def table(seeds: Sequence[Seed]) -> Iterator[str]:
    """The measures and the accuracies, as Markdown."""
    yield "| seed | arm | base knows | round in which 50 % is passed, by digits | spread | together |"
    yield "|---|---|---|---|---|---|"
    for row in seeds:
        for arm, name in ARMS.items():
            curves, width = row.accuracy[arm], spread(row.accuracy[arm])
            last, known = len(curves["1"]) - 1, [digits for digits, shares in curves.items() if shares[0] >= RISEN]
            found = ", ".join(
                f"{key}: {round_ if round_ <= last else 'never'}" for key, round_ in rises(curves).items()
            )
            shown = "none rises" if width is None else width
            yield f"| {row.seed} | {name} | {', '.join(known)} | {found} | {shown} | {together(curves)} |"
    for arm, name in ARMS.items():
        curves = mean_curves(seeds, arm)
        yield f"\nAccuracy {name}, %, mean of {len(seeds)} seeds:\n"
        yield f"| round | {' | '.join(f'{digits} digits' for digits in curves)} |"
        yield "|---" * (len(curves) + 1) + "|"
        for round_, shares in enumerate(zip(*curves.values(), strict=True)):
            yield f"| {round_ or 'base'} | {' | '.join(f'{100 * share:.0f}' for share in shares)} |"


def mean_curves(seeds: Sequence[Seed], arm: str) -> Curves:
    """Mean over the seeds."""
    return {
        digits: [sum(shares) / len(seeds) for shares in zip(*(row.accuracy[arm][digits] for row in seeds), strict=True)]
        for digits in seeds[0].accuracy[arm]
    }


def plot(seeds: Sequence[Seed]) -> str:
    """Both arms side by side as SVG: the mean of the seeds as a thick line, each seed as a thin one."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 350" font-family="sans-serif" font-size="12">']
    parts.append('<rect width="820" height="350" fill="white"/>')
    for left, (arm, name) in zip((50, 440), ARMS.items(), strict=True):
        parts += _axes(left, name, n_rounds=len(seeds[0].accuracy[arm]["1"]) - 1)
        for digits, colour in zip(seeds[0].accuracy[arm], COLOURS, strict=True):
            for row in seeds:
                parts.append(
                    _line(left, row.accuracy[arm][digits], f'stroke="{colour}" stroke-width="1" opacity="0.35"')
                )
            parts.append(_line(left, mean_curves(seeds, arm)[digits], f'stroke="{colour}" stroke-width="2.5"'))
    for place, (digits, colour) in enumerate(zip(seeds[0].accuracy["star"], COLOURS, strict=True)):
        x = 250 + 75 * place
        parts.append(f'<path d="M{x - 24} 336h20" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x}" y="340">{digits} digit{"s" if digits != "1" else ""}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _line(left: int, shares: Sequence[float], style: str) -> str:
    step = 340 / (len(shares) - 1)
    points = " ".join(f"{left + step * round_:.1f},{290 - 240 * share:.1f}" for round_, share in enumerate(shares))
    return f'<polyline points="{points}" fill="none" {style}/>'


def _axes(left: int, name: str, n_rounds: int) -> Iterator[str]:
    """Title, grid and labels of one panel."""
    yield f'<text x="{left + 170}" y="30" text-anchor="middle" font-size="15">{name}</text>'
    for percent in range(0, 101, 25):
        y = 290 - 2.4 * percent
        yield f'<path d="M{left} {y}h340" stroke="#d8dee4"/>'
        yield f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{percent}</text>'
    for round_ in range(n_rounds + 1):
        yield f'<text x="{left + 340 * round_ / n_rounds:.1f}" y="306" text-anchor="middle">{round_}</text>'
    yield f'<text x="{left + 170}" y="322" text-anchor="middle">round (0 = base); % right, greedy, held-out sums</text>'


def main() -> None:
    """Run all seeds, print and store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(seed, (options.runs or Path(folder)) / f"addition-{seed}") for seed in options.seeds]
    lines = "\n".join(table(found)) + "\n"
    print(lines)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "addition.json").write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    (options.out / "addition.md").write_text(lines)
    (options.out / "addition.svg").write_text(plot(found))


if __name__ == "__main__":
    main()
