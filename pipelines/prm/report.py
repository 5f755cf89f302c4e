"""What training and evaluation of a PRM print."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.prm.evaluation import PrmEvaluation
    from pipelines.prm.figures import Figure
    from pipelines.prm.training import PrmReport


def training_lines(report: PrmReport) -> list[str]:
    """What a training came to: the best weights, how the model is read, and whether it is blessed."""
    training, config = report.training, report.loaded.config
    reading = config.reading
    lines = [f"{training.steps} steps on {training.rows} solutions, last loss {training.losses[-1]:.3f}"]
    found = next((one for one in training.evaluations if one[0] == training.best_step), None)
    if found:
        f1 = "no F1 (all right, or all wrong)" if math.isnan(found[1]) else f"first-error F1 {found[1]:.1f}"
        lines.append(f"best after step {found[0]}: {f1}, loss {found[2]:.3f} on the dev problems")
    lines.append(
        f"temperature {config.calibration.temperature:.2f}, shift {config.calibration.shift:+.2f}, "
        f"read-out {reading.readout}, threshold "
        f"{reading.threshold:.3f}, aggregation {reading.aggregation}"
    )
    if report.best_of_n is None:
        return [*lines, "not measured whether it chooses better than a majority vote: give --samples"]
    chosen = report.best_of_n
    verdict = "blessed" if config.blessed else "NOT BLESSED"
    return [
        *lines,
        f"{verdict}: best of N is right in {chosen.greedy:.1f} %, the vote weighted by scores in "
        f"{chosen.weighted:.1f} %, majority vote in {chosen.majority:.1f} %",
    ]


def evaluation_lines(found: PrmEvaluation) -> list[str]:
    """The table of an evaluation: each figure with its interval, and beside it what one gets without the model."""
    reading = found.reading
    lines = [
        f"{found.model} {found.revision}".strip(),
        f"read-out {reading.readout}, threshold {reading.threshold:.3f}, aggregation {reading.aggregation} "
        f"({_READ_BY[found.read_by]})",
    ]
    for section in found.sections:
        lines += ["", f"{section.name}: {section.solutions} solutions of {section.problems} problems"]
        lines += [f"  {number} without scores: {reason}" for reason, number in section.unscored.items()]
        width = max(len(figure.name) for figure in section.figures)
        before: dict[str, float] = {}
        for figure in section.figures:
            floors = '"' if figure.floors and figure.floors == before else _floor_text(figure)
            lines.append(f"  {figure.name:{width}}  {_value_text(figure):24} {floors}".rstrip())
            before = figure.floors
    return lines


_READ_BY = {"dev": "fitted on --dev", "model": "the model's own", "default": "the default: nothing was fitted"}


def _digits(figure: Figure) -> int:
    return 3 if any(word in figure.name for word in ("AUC", "calibration", "Brier")) else 1


def _value_text(figure: Figure) -> str:
    digits = _digits(figure)
    spread = "" if math.isnan(figure.low) else f"[{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return f"{figure.value:>6.{digits}f} {spread}"


def _floor_text(figure: Figure) -> str:
    return " · ".join(f"{name} {value:.{_digits(figure)}f}" for name, value in figure.floors.items())
