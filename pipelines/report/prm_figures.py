"""The plots of the report about the PRM: ROC, reliability, and choosing among samples."""

from __future__ import annotations

from typing import Any

from pipelines.report.figures import layout
from pipelines.report.judged import HELD_OUT, TEST, JudgedSet
from pipelines.report.summary import Summary

_COLOURS = {TEST: "#2f6fdb", HELD_OUT: "#d9822b"}
_SHORT = {TEST: "test samples", HELD_OUT: "held-out, with near-misses"}
_FEWEST = 5
"""Steps that a point of the reliability diagram stands for; the share of fewer says nothing."""
_NOWHERE = {"color": "#8d99a6", "dash": "dot", "width": 1}
_BOUND, _VOTED, _BEST = "dot", "solid", "dash"
_CHOICES = {
    "pass_n": ("any is right", "#8d99a6", _BOUND),
    "weighted": ("vote weighted by PRM", "#2f6fdb", _VOTED),
    "greedy": ("best by PRM", "#2f6fdb", _BEST),
    "majority": ("majority", "#d9822b", _VOTED),
    "pass_1": ("one at random", "#8d99a6", _BOUND),
}
"""Column of a best-of-N row to its name, a colour for who judges, and a dash for how it is chosen."""
_RIVAL = {
    "weighted": ("vote weighted by outcome model", "#b04fc4", _VOTED),
    "greedy": ("best by outcome model", "#b04fc4", _BEST),
}
"""The same of an outcome model's rows: what differs from the PRM's."""


def prm_figures(summary: Summary) -> list[Any]:
    """What the run knows of its PRM; without one, nothing."""
    found = [roc(summary.judged), reliability(summary.judged)] if summary.judged else []
    return [*found, *([best_of_n(summary)] if summary.notes.get("best_of_n") else [])]


def roc(judged: dict[str, JudgedSet]) -> Any:
    """Wrong steps found against right steps accused, as the threshold rises; the diagonal is chance."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", line=_NOWHERE, hoverinfo="skip", showlegend=False)
    for name, found in judged.items():
        # In tenths of a percent a large set has no more points than a small one.
        points = list(dict.fromkeys((round(100 * right, 1), round(100 * wrong, 1)) for right, wrong in found.roc()))
        figure.add_scatter(
            x=[right for right, _ in points],
            y=[wrong for _, wrong in points],
            name=f"{_SHORT[name]}, AUC {found.auc.mean:.2f}",
            mode="lines",
            line={"color": _COLOURS[name]},
        )
    return layout(
        figure,
        "Steps that the PRM calls wrong (ROC)",
        xaxis={"title": "% of the right steps", "range": [0, 100]},
        yaxis={"title": "% of the wrong steps", "range": [0, 102]},
    )


def reliability(judged: dict[str, JudgedSet]) -> Any:
    """Share of right steps by score; on the diagonal, 80 % of the steps scored 0.8 are right."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 100], mode="lines", line=_NOWHERE, hoverinfo="skip", showlegend=False)
    for name, found in judged.items():
        bins = [one for one in found.reliability() if one[2] >= _FEWEST]
        figure.add_scatter(
            x=[score for score, _, _ in bins],
            y=[100 * right for _, right, _ in bins],
            text=[f"{n} steps" for _, _, n in bins],
            name=f"{_SHORT[name]}, error {found.calibration_error:.3f}",
            mode="lines+markers",
            line={"color": _COLOURS[name]},
            # A point that stands for few steps is small.
            marker={"size": [4 + 14 * (n / len(found.steps)) ** 0.5 for _, _, n in bins]},
        )
    return layout(
        figure,
        "Is a score a probability? (reliability)",
        xaxis={"title": "score", "range": [0, 1.02]},
        yaxis={"title": "% of these steps right", "range": [0, 105]},
    )


def best_of_n(summary: Summary) -> Any:
    """Accuracy of ways to choose among growing numbers of samples of the test problems."""
    from plotly import graph_objects

    figure, found = graph_objects.Figure(), summary.notes["best_of_n"]
    sizes, rival = [row["n"] for row in found["curve"]], found.get("outcome")
    lines = [(style, found["curve"], column) for column, style in _CHOICES.items()]
    if rival:
        lines += [(style, rival["curve"], column) for column, style in _RIVAL.items()]
    for (name, colour, dash), rows, column in lines:
        figure.add_scatter(
            x=sizes,
            y=[row[column] for row in rows],
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
        )
    layout(
        figure,
        "Choosing among N samples of a test problem",
        xaxis={"title": "samples", "type": "log", "tickvals": sizes},
        yaxis={"title": "% right"},
    )
    # On a phone the legend takes a line for each.
    return figure.update_layout(height=420)
