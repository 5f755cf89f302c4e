"""The card of an export: what is in it, where it is from, who may use it how, and the lines that load it.

Everything follows from the rows and the run's pins: no dates, no paths, so that equal exports have equal cards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from data.card import card_head, count_lines, model_lines
from data.exports.layouts import Layout

_CARD = """# {name}: {format}

{n_rows} rows of {n_problems} problems from the run `{name}`, exported by stepstar {version}. Read by {consumer}

```python
from datasets import load_dataset
dataset = load_dataset("path/to/this/folder"{config})
```

The rows are split by problem: no problem is in both `train` and `validation`. Final answers were checked by stepstar
{verifier}; that a final answer is right does not prove each step.
{notes}
| part | rows |
|---|---|
{parts}

| what | rows |
|---|---|
{counts}

| model | revision | sampling | rows |
|---|---|---|---|
{models}

| left out | rows |
|---|---|
{dropped}
"""


@dataclass(slots=True)
class Contents:
    """What went into an export, counted as it is written."""

    parts: dict[str, Counter[str]] = field(default_factory=dict)
    """Config (`default` or `step_rewards`) to rows of each split."""
    problems: set[str] = field(default_factory=set)
    origins: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Column and value: `origin`, `source`, `licence`, `round`."""
    models: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Name, revision and sampling parameters."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that were left out, by reason."""

    @property
    def n_rows(self) -> int:
        """Rows of the main part."""
        return self.parts.get("default", Counter()).total()


def export_card(
    name: str, format_: str, layout: Layout, contents: Contents, pins: Mapping[str, str], notes: str
) -> str:
    """Markdown card.

    Args:
        name: of the run.
        format_: name of the layout.
        layout: its description.
        contents: what was written.
        pins: `version` of stepstar that exports, `verifier`: the version whose verdicts are used.
        notes: what else a reader must know, one paragraph or none.
    """
    files = {
        config: {split: file_of(config, split, layout) for split in sorted(splits)}
        for config, splits in contents.parts.items()
    }
    licences = {value for column, value in contents.origins if column == "licence"}
    parts = [f"| {config}, {split} | {n} |" for config, splits in contents.parts.items() for split, n in
             sorted(splits.items())]  # fmt: skip
    return card_head(files, licences, contents.n_rows) + _CARD.format(
        name=name,
        format=format_,
        n_rows=contents.n_rows,
        n_problems=len(contents.problems),
        version=pins["version"],
        verifier=pins["verifier"],
        consumer=layout.consumer,
        config=', "default"' if len(files) > 1 else "",
        notes=f"{notes}\n" if notes else "",
        parts="\n".join(parts),
        counts=count_lines(sorted(contents.origins.items())),
        models=model_lines(contents.models) or "| (no model's text is in it) | | | |",
        dropped="\n".join(f"| {reason} | {n} |" for reason, n in sorted(contents.dropped.items())) or "| nothing | 0 |",
    )


def file_of(config: str, split: str, layout: Layout) -> str:
    """Path of a split within the export."""
    return f"{split}{layout.suffix}" if config == "default" else f"{config}/{split}.parquet"
