"""The plots of the report, as plotly figures from a summary; those of the PRM are in `pipelines.report.prm_figures`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipelines.report.summary import BASE, LATER, PPO, PREFERENCE, Summary, last_promoted

ARMS = {
    "star": "with rationalization",
    "no_rationalization": "without rationalization",
    PREFERENCE: "after preference training",
    PPO: "after PPO",
}
"""Arm to its name in the legend."""
_COLOURS = {"star": "#2f6fdb", "no_rationalization": "#d9822b", PREFERENCE: "#8a63d2", PPO: "#2e9e5b"}
_GRID = "rgba(127, 127, 127, 0.25)"
_OUTCOMES = {
    "correct": "#2e9e5b",
    "incorrect": "#d64545",
    "no_answer": "#8d99a6",
    "truncated": "#d9a62b",
    "undecided": "#8a63d2",
    "solved": "#2e9e5b",
    "rationalized": "#2f6fdb",
    "unsolved": "#d64545",
    "rejected": "#d9822b",
}


def layout(figure: Any, title: str, **axes: Any) -> Any:
    """Give a figure the look of the page, on a light or a dark ground."""
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        template="none",
        height=340,
        margin={"l": 50, "r": 15, "t": 45, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7d8590"},
        legend={"orientation": "h", "y": -0.24, "yanchor": "top"},
        hovermode="closest",
        **axes,
    )
    figure.update_traces(marker_line_width=0, selector={"type": "bar"})
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "automargin": True, "title_standoff": 6}
    return figure.update_xaxes(**axis).update_yaxes(**axis)


def _arms(summary: Summary) -> list[str]:
    return [arm for arm in ARMS if any(place[0] == arm for place in summary.accuracy)]


def _start(summary: Summary, arm: str) -> tuple[str, int]:
    """What an arm's line begins with: the base, or of PPO and its like the policy that they improved."""
    return (last_promoted(summary, {place[:2] for place in summary.accuracy}) if arm in LATER else None) or (BASE, 0)


def accuracy_by_round(summary: Summary, level: str) -> Any:
    """Accuracy over rounds for one difficulty (or `all` targets), one line an arm, 95 % intervals."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for arm in _arms(summary):
        places = [_start(summary, arm), *sorted({place[:2] for place in summary.accuracy if place[0] == arm})]
        rounds, points = [place[1] for place in places], [summary.accuracy[*place, level] for place in places]
        figure.add_scatter(
            x=rounds,
            y=[100 * point.mean for point in points],
            name=ARMS[arm],
            mode="lines+markers",
            line={"color": _COLOURS[arm]},
            error_y={
                "type": "data",
                "symmetric": False,
                "thickness": 1,
                "array": [100 * (point.high - point.mean) for point in points],
                "arrayminus": [100 * (point.mean - point.low) for point in points],
            },
        )
    title = "Held-out accuracy, target difficulties" if level == "all" else f"Difficulty {level}"
    return layout(
        figure,
        title,
        xaxis={"title": "round (0 = base)", "dtick": 1},
        yaxis={"title": "% right, greedy", "range": [0, 100]},
    )


def accuracy_by_difficulty(summary: Summary) -> Any:
    """Accuracy by difficulty: the base and the last round of each arm."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    # A run that is still at the base's answers has no accuracy yet.
    places = [
        *([(BASE, 0)] if (BASE, 0, "all") in summary.accuracy else []),
        *((arm, max(place[1] for place in summary.accuracy if place[0] == arm)) for arm in _arms(summary)),
    ]
    for arm, round_ in places:
        points = [summary.accuracy[arm, round_, level] for level in summary.difficulties]
        figure.add_bar(
            x=[_level(level) for level in summary.difficulties],
            y=[100 * point.mean for point in points],
            name="base" if arm == BASE else ARMS[arm],
            marker_color=_COLOURS.get(arm, "#8d99a6"),
            error_y={
                "type": "data",
                "color": "#7d8590",
                "symmetric": False,
                "thickness": 1,
                "array": [100 * (point.high - point.mean) for point in points],
                "arrayminus": [100 * (point.mean - point.low) for point in points],
            },
        )
    return layout(
        figure,
        "Held-out accuracy by difficulty, base and last round",
        barmode="group",
        xaxis={"title": "difficulty", "type": "category"},
        yaxis={"title": "% right", "range": [0, 100]},
    )


def kept_by_difficulty(summary: Summary) -> Any:
    """Share of training problems with a kept rationale, by difficulty and round of the main arm."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    places = sorted({place[:2] for place in summary.kept_share})
    levels = sorted({place[2] for place in summary.kept_share}, key=lambda level: (len(level), level))
    for arm, round_ in places:
        shares = [summary.kept_share[arm, round_, level] for level in levels]
        figure.add_bar(
            x=[_level(level) for level in levels],
            y=[100 * kept / size for kept, size in shares],
            name=f"round {round_}, {ARMS[arm]}",
            marker_color=_COLOURS[arm],
            opacity=1 - 0.6 * (round_ - 1) / max(1, len(places)),
        )
    return layout(
        figure,
        "Training problems with a kept rationale",
        barmode="group",
        xaxis={"title": "difficulty", "type": "category"},
        yaxis={"title": "% of problems", "range": [0, 100]},
    )


def _level(level: str) -> str:
    return level or "(none)"


def _stacked(counts: dict[tuple[str, int], Counter[str]], names: Sequence[str], title: str, unit: str) -> Any:
    from plotly import graph_objects

    figure = graph_objects.Figure()
    places = sorted(counts, key=lambda place: (place[0] != BASE, place[0] != "star", place))
    labels = [
        "base" if arm == BASE else f"{ARMS[arm].replace(' rationalization', '')}, {round_}" for arm, round_ in places
    ]
    for name in names:
        values = [counts[place][name] for place in places]
        if any(values):
            figure.add_bar(x=labels, y=values, name=name.replace("_", " "), marker_color=_OUTCOMES[name])
    layout(
        figure,
        title,
        barmode="stack",
        yaxis={"title": unit},
        xaxis={"title": "arm, round", "type": "category"},
    )
    # Long labels are turned and push the axis title down: the legend stands at the bottom, whatever they need.
    return figure.update_layout(height=370, margin_b=115, legend={"y": 0.01, "yref": "container", "yanchor": "bottom"})


def evaluation_outcomes(summary: Summary) -> Any:
    """Outcomes of the held-out answers by arm and round."""
    return _stacked(
        summary.outcomes,
        ("correct", "incorrect", "no_answer", "truncated", "undecided"),
        "Verdicts on held-out answers",
        "answers",
    )


def problem_accounting(summary: Summary) -> Any:
    """What became of every training problem, by arm and round."""
    return _stacked(
        summary.accounting,
        ("solved", "rationalized", "rejected", "undecided", "unsolved"),
        "Every training problem, once a round",
        "problems",
    )


def ppo_figures(summary: Summary) -> list[Any]:
    """PPO over its iterations: gold reward above proxy (proxy up and gold down is reward hacking), KL above length."""
    rows = summary.ppo
    if not rows:
        return []
    return [
        _over_iterations(
            summary,
            "PPO: right answers and step rewards",
            ("% right, gold", [100 * row.gold for row in rows], "#2e9e5b"),
            ("step rewards", [row.proxy for row in rows], "#2f6fdb"),
        ),
        _over_iterations(
            summary,
            "PPO: distance from where it began, and length",
            ("KL, nats", [row.kl for row in rows], "#d9822b"),
            ("tokens", [row.tokens for row in rows], "#8a63d2"),
        ),
    ]


def _over_iterations(summary: Summary, title: str, *panels: tuple[str, list[float], str]) -> Any:
    """Panels one above the other: each has a scale of its own."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(panels), shared_xaxes=True, vertical_spacing=0.1)
    steps = [row.iteration for row in summary.ppo]
    mode = "lines" if len(steps) > 30 else "lines+markers"
    for place, (name, values, colour) in enumerate(panels, start=1):
        figure.add_scatter(x=steps, y=values, name=name, mode=mode, line={"color": colour}, row=place, col=1)
        figure.update_yaxes(title=name, row=place, col=1)
    figure.update_xaxes(title="iteration", dtick=max(1, len(steps) // 8), row=len(panels), col=1)
    return layout(figure, title, showlegend=False)


def result_figures(summary: Summary) -> list[Any]:
    """What the rounds bought: the first figures of the page."""
    levels = summary.targets if len(summary.targets) > 1 else []
    return [
        accuracy_by_round(summary, "all"),
        accuracy_by_difficulty(summary),
        problem_accounting(summary),
        kept_by_difficulty(summary),
        evaluation_outcomes(summary),
        *(accuracy_by_round(summary, level) for level in levels),
    ]
