"""`report.html`: one self-contained file. Everything a model wrote is escaped, and the page may load nothing remote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.run_records import LeakTest
from data.store import write_atomic
from pipelines.progress import say
from pipelines.report.audit import write_audit
from pipelines.report.figures import ppo_figures, result_figures
from pipelines.report.prm_figures import prm_figures
from pipelines.report.summary import PPO, PREFERENCE, Summary, last_promoted, summarize
from pipelines.run_dir import RunFolder
from star.promotion import sign_test
from verifiers.metrics import Interval

_LOSSES = {"dpo": "DPO", "step_dpo": "Step-DPO", "cpl": "CPL"}

TEMPLATE = Path(__file__).parent / "report.html.jinja"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def verdict_line(summary: Summary) -> str:
    """One sentence: did it work, by how much, how sure."""
    if summary.gain is None and "dataset_rows" in summary.notes and not summary.trainings:
        return f"No model was trained: the run ends with {summary.notes['dataset_rows']:,} verified rationales."
    if summary.gain is None:
        return "The run has not finished a round yet."
    last = last_promoted(summary, {place[:2] for place in summary.accuracy})
    assert last is not None
    gain, base, after = summary.gain, summary.accuracy["base", 0, "all"], summary.accuracy[*last, "all"]
    if last == ("base", 0):
        return "The gate turned every round down: the base is what the run ends with."
    what = "on the target difficulties " if any(summary.targets) else ""
    return f"Held-out accuracy {what}went from {percent(base.mean)} to {percent(after.mean)}: {_points(gain)}"


def policy_line(summary: Summary, arm: str) -> str:
    """One sentence on what PPO or a preference baseline bought; empty without it."""
    if arm not in summary.policy_gains:
        return ""
    name = "PPO" if arm == PPO else _LOSSES[summary.notes[PREFERENCE]["loss"]]
    after = next(interval for place, interval in summary.accuracy.items() if place[0] == arm and place[2] == "all")
    return f"{name} took the last promoted policy to {percent(after.mean)}: {_points(summary.policy_gains[arm])}"


def prm_line(summary: Summary) -> str:
    """One sentence on what choosing by the PRM bought; empty where nobody measured it."""
    found = summary.notes.get("best_of_n", {})
    if "gain" not in found:
        return ""
    row = found["curve"][-1]
    return (
        f"Of {row['n']} samples of a held-out problem, the vote weighted by the PRM is right in "
        f"{percent(row['weighted'] / 100)}, the majority vote in {percent(row['majority'] / 100)}: "
        f"{_points(_stored(found['gain']))}"
    )


def outcome_line(summary: Summary) -> str:
    """One sentence on what the labels of steps bought over the verdicts alone; empty without an outcome model."""
    found = summary.notes.get("best_of_n", {}).get("outcome")
    if found is None:
        return ""
    return (
        "Weighted by an outcome model, which was told the verdicts on the same solutions and of no step, that vote is "
        f"right in {percent(found['curve'][-1]['weighted'] / 100)}; gained by the PRM over it: "
        f"{_points(_stored(found['gain']))}"
    )


def _stored(gain: Mapping[str, float]) -> Interval:
    """A gain in percent, its keys in any order, as the share that it is."""
    return Interval(**{name: value / 100 for name, value in gain.items()})


def leads(summary: Summary) -> list[str]:
    """What the first screen says: what rounds, PRM, its labels of steps, a preference baseline and PPO bought."""
    policies = [policy_line(summary, arm) for arm in (PREFERENCE, PPO)]
    return [line for line in (verdict_line(summary), prm_line(summary), outcome_line(summary), *policies) if line]


def _points(gain: Interval) -> str:
    excludes = gain.low > 0 or gain.high < 0
    sure = "The interval excludes zero." if excludes else "The interval includes zero: no effect is shown."
    return (
        f"{100 * gain.mean:+.1f} points (95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, paired over "
        f"the same problems). {sure}"
    )


def _totals(summary: Summary) -> dict[str, float]:
    costs = summary.costs.values()
    return {"seconds": sum(cost["seconds"] for cost in costs), "tokens": sum(cost["tokens"] for cost in costs)}


def _figure_html(figure: Any) -> str:
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})
    )


def render_report(summary: Summary) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "duration": duration}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    # Markup: these come from plotly and from our own numbers, never from a model's text.
    results, prm, ppo = (
        [Markup(_figure_html(figure)) for figure in figures]
        for figures in (result_figures(summary), prm_figures(summary), ppo_figures(summary))
    )
    return template.render(
        summary=summary,
        leads=leads(summary),
        p_flips=min(1.0, 2 * sign_test(max(summary.flips), sum(summary.flips))),
        totals=_totals(summary),
        leak_tests=list(LeakTest),
        near_miss_modes=sorted({mode for mode, _ in summary.near_misses}),
        near_miss_kinds=sorted({kind for _, kind in summary.near_misses}),
        results=results,
        prm_figures=prm,
        ppo_figures=ppo,
        plotly=Markup(get_plotlyjs()),
    )


def write_report(run: RunFolder) -> Path:
    """Write `report.html` of a run and the `audit.html` that it links to, say its headline, and return its path."""
    file, summary = run.root / "report.html", summarize(run)
    write_atomic(file, render_report(summary).encode("utf-8", "replace"))
    if run.units("rationales"):
        write_audit([run.root])
    for line in leads(summary):
        say(line)
    return file
