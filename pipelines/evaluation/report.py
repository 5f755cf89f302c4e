"""The result of an evaluation for people and programs: a table on the terminal, `result.json`, and `eval.html`.

The page is one file without scripts; names of models and files are escaped, and it may load nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.store import write_atomic
from pipelines.evaluation.folder import EvalFolder
from pipelines.evaluation.metrics import Figure
from pipelines.evaluation.result import BenchmarkResult, EvalResult, read_result
from pipelines.report.page import duration, percent
from pipelines.run_guard import as_json

TEMPLATE = Path(__file__).parent / "eval.html.jinja"
_NAMES = {
    "greedy": "greedy answer right",
    "twin_original": "problems that have a twin",
    "twin": "their twins, other numbers",
    "twin_gap": "gap, original less twin",
    "premise_original": "problems that have a premise to turn round",
    "premise": "with a premise turned round",
    "premise_gap": "gap, original less turned round",
    "hint_flipped": "right answers lost to a wrong hint",
    "hint_adopted": "of them, to the hinted answer",
}


def figure_name(name: str) -> str:
    """A figure's name as people say it."""
    return _NAMES.get(name, name)


def spread(found: Figure) -> str:
    """A share with its interval, in percent."""
    return f"{100 * found.mean:5.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def result_lines(result: EvalResult) -> Iterator[str]:
    """The table."""
    yield f"{result.model} {result.revision} ({result.engine})"
    for row in result.benchmarks:
        yield ""
        yield f"{row.name}: {row.problems} problems, prompt {row.prompt} {row.prompt_hash}"
        width = max(len(figure_name(name)) for name in row.figures)
        for name, found in row.figures.items():
            fewer = f"  over {found.n} problems" if found.n != row.problems else ""
            yield f"  {figure_name(name):{width}}  {spread(found)}{fewer}"
        for part, counts in row.outcomes.items():
            yield f"  {part}: {_shares(counts)}; {_cost(row, part)}"
        if row.published:
            yield f"  published figures are mostly measured with: {row.published}"
    for name in result.missing:
        yield f"{name}: not answered to the end yet"


def _shares(counts: dict[str, int]) -> str:
    total = max(1, sum(counts.values()))
    return ", ".join(f"{name.replace('_', ' ')} {percent(count / total)}" for name, count in counts.items())


def _cost(row: BenchmarkResult, part: str) -> str:
    return f"{row.tokens[part]:.0f} tokens and {row.seconds[part]:.2f} s a problem"


def result_json(result: EvalResult) -> dict[str, Any]:
    """The result as plain JSON; measured times stand apart under `cost`."""
    content = asdict(result)
    content["cost"] = {}
    for row in content["benchmarks"]:
        content["cost"][row["name"]] = {part: _number(value) for part, value in row.pop("seconds").items()}
        row["figures"] = {name: {key: _number(value) for key, value in found.items()}
                          for name, found in row["figures"].items()}  # fmt: skip
    return content


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def render_page(result: EvalResult) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "duration": duration, "figure_name": figure_name, "spread": spread}
    return str(environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(result=result))


def write_result(folder: EvalFolder) -> EvalResult:
    """Write `result.json` and `eval.html` of a folder."""
    result = read_result(folder)
    write_atomic(folder.root / "result.json", as_json(result_json(result)))
    write_atomic(folder.root / "eval.html", render_page(result).encode("utf-8", "replace"))
    return result
