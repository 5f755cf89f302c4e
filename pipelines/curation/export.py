"""`stepstar export`: a run's data as a folder that another trainer loads, with a card and perhaps a reward function.

The folder appears when it is whole. `export.json` says what it was made from: the run's pins and what was left out.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.exports.card import Contents, export_card
from data.exports.layouts import LAYOUTS, Layout
from data.exports.writing import MARK, ExportFolder
from pipelines.curation.export_rows import ExportRows, Objection, Values
from pipelines.run_dir import RunFolder

_REWARD = '''"""The reward function of this export; needs stepstar {version} in the trainer's environment."""

from pipelines.curation.export_rewards import compute_score, reward_func, step_rewards

__all__ = ["compute_score", "reward_func", "step_rewards"]
'''
_NOTES = {
    "labels": "A step is worth 1 if the arithmetic that it states holds or 0 if not, in `corrupted` solutions 1 before "
    "the planted slip and 0 at it.",
    "scores": "A step is worth what the run's process reward model gives it.",
}
_DENSE = """
`load_dataset(..., "step_rewards")` has the run's own solutions with a value a step: `step_ends` are the characters of
`response` at which the steps end, `step_values` what each is worth, null where nobody knows. `reward.py` scores new
responses by stepstar's verifiers; it needs stepstar beside the trainer (`pip install --no-deps stepstar` and `sympy`,
`mpmath`, `pydantic`: neither its torch nor its transformers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """What to export, how, and where to."""

    layout: str
    """Name of a layout."""
    out: Path
    validation_share: float = 0.05
    values: Values = "labels"
    fresh: bool = False
    """Replace an export that is there."""


def find_layout(name: str) -> Layout:
    """A layout by its name.

    Raises:
        InputError: there is none.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1)
        cure = f"Did you mean '{near[0]}'?" if near else f"Use one of {', '.join(LAYOUTS)}."
        raise InputError(f"there is no export format '{name}'.", cure)
    return LAYOUTS[name]


def export_run(run: RunFolder, job: ExportJob, objection: Objection | None = None) -> Contents:
    """Write an export.

    Args:
        run: a run with a dataset.
        job: what and where to.
        objection: leaves rows out, e.g. those that are in a benchmark.

    Returns:
        What went in and what was left out.

    Raises:
        InputError: no such layout, the folder cannot be used, or nothing can be exported.
    """
    layout = find_layout(job.layout)
    rows = ExportRows(run, job.values)
    if objection:
        rows.objection = objection
    with ExportFolder(job.out, layout, job.validation_share, fresh=job.fresh) as folder:
        contents = rows.contents
        contents.parts["default"] = folder.write(rows.main(job.layout))
        if not contents.n_rows:
            why = ", ".join(f"{reason} {n}" for reason, n in contents.dropped.items()) or "the run has no such rows"
            raise InputError(
                f"nothing of '{run.root}' can be exported as {job.layout} ({why}).", _cure(job, contents.dropped)
            )
        if layout.dense:
            _add_rewards(folder, rows, contents)
        pins = {"version": version("stepstar"), "verifier": run.manifest["pins"].get("stepstar", "?")}
        folder.add("README.md", export_card(run.recipe.name, job.layout, layout, contents, pins, _notes(job, layout)))
        folder.add(MARK, json.dumps(_facts(run, job, contents), indent=1, sort_keys=True) + "\n")
    return contents


def _add_rewards(folder: ExportFolder, rows: ExportRows, contents: Contents) -> None:
    dense = ExportRows(rows.run, rows.values, rows.objection)
    counts = folder.write(dense.step_rewards(), "step_rewards")
    if counts:
        contents.parts["step_rewards"] = counts
    contents.models += dense.contents.models
    contents.dropped.update({f"step_rewards: {reason}": n for reason, n in dense.contents.dropped.items()})
    folder.add("reward.py", _REWARD.format(version=version("stepstar")))


def _notes(job: ExportJob, layout: Layout) -> str:
    values = _NOTES[job.values] if layout.dense or job.layout == "stepwise" else ""
    return "\n".join(part for part in (values, layout.dense * _DENSE) if part)


def _cure(job: ExportJob, dropped: Counter[str]) -> str:
    if dropped["soft_label"]:
        return "This format knows hard labels alone: use stepwise, or --values labels."
    if job.values == "scores":
        return "Scores come from the run's PRM: run it with prm.enabled=true."
    if job.layout == "preference":
        return "Pairs need problems with a right and a wrong sample: raise sampling.n, or near_misses.rationales."
    return "Try another format, or see in the run's report what it kept."


def _facts(run: RunFolder, job: ExportJob, contents: Contents) -> dict[str, Any]:
    return {
        "format": job.layout,
        "run": run.recipe.name,
        "pins": dict(run.manifest["pins"]),
        "validation_share": job.validation_share,
        "values": job.values,
        "rows": {config: dict(splits) for config, splits in contents.parts.items()},
        "left_out": dict(contents.dropped),
    }
