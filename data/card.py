"""The dataset card: README.md with front matter that the Hugging Face hub and `datasets` read.

Everything in it follows from the rows, so that equal datasets have equal cards: no dates, no paths, no timings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_HEAD = """---
configs:
{configs}
license: {licence}
size_categories:
- {size}
tags:
- reasoning
- process-supervision
- stepstar
---
"""
_CARD = """# {name}

{n_rows} verified rationales of {n_problems} problems, made by stepstar {version}.

```python
from datasets import load_dataset
dataset = load_dataset("path/to/this/folder", split="train")
```

Each row is one rationale whose final answer a verifier found equal to the gold answer. That does not prove each
step. `steps` joined gives the text exactly. `origin` is `sampled`, or `rationalized` where the gold
answer was shown as a hint while the rationale was written (the hint is in no row). `step_labels` has one label a step
by the arithmetic that the step states: 1 right, 0 wrong, null where it states none. `step_scores` are those of the
run's own process reward model, null if it had none.
{near_miss_text}
| what | rows |
|---|---|
{counts}

| model | revision | sampling | rows |
|---|---|---|---|
{models}

| judged by | |
|---|---|
{judges}
"""


_NEAR_MISS_TEXT = """
`load_dataset(..., "near_misses")`: {n} solutions made wrong by one slip (`made_by` says which), for training process
reward models, never generators. `step_labels` is 1 before the slip, 0 at it and null after it; {n_right} of them end in
the right answer all the same.
"""


def size_category(rows: int) -> str:
    """The hub's bucket for a number of rows."""
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if rows < limit:
            return name
    return "n>1M"


def licence_id(found: set[str]) -> str:
    """The hub's identifier if all rows share one SPDX licence, else `other`."""
    only = found.pop().lower() if len(found) == 1 else ""
    return only if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", only) else "other"


def card_head(files: Mapping[str, Mapping[str, str]], licences: set[str], n_rows: int) -> str:
    """The front matter of a card.

    Args:
        files: config to the path of each of its splits.
        licences: of the rows.
        n_rows: how many there are.
    """
    configs = [
        f"- config_name: {config}\n  data_files:"
        + "".join(f"\n  - split: {split}\n    path: {path}" for split, path in splits.items())
        for config, splits in files.items()
    ]
    return _HEAD.format(configs="\n".join(configs), licence=licence_id(licences), size=size_category(n_rows))


def count_lines(counts: Iterable[tuple[tuple[str, str], int]]) -> str:
    """Table rows of (column, value) and how many rows of the data have it."""
    return "\n".join(f"| {column} = {value or '(none)'} | {n} |" for (column, value), n in counts)


def model_lines(models: Mapping[tuple[str, str, str], int]) -> str:
    """Table rows of models: name, revision, sampling, and how many rows of the data they wrote."""
    rows = sorted(models.items())
    return "\n".join(f"| {model} | {revision} | `{sampling}` | {n} |" for (model, revision, sampling), n in rows)


class CardCounts:
    """What a card says of the rows of a dataset, counted while they are written."""

    def __init__(self) -> None:
        self.n = self.n_right = 0
        self.values: Counter[tuple[str, str]] = Counter()
        """(column, value) to rows."""
        self.models: Counter[tuple[str, str, str]] = Counter()
        self.licences: set[str] = set()
        self.n_problems = 0
        self._problem = ""

    def counted(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same rows; those of one problem must follow each other."""
        for row in rows:
            self.n += 1
            self.n_right += row["final_answer"] == row["answer"]
            self.n_problems += row["problem_id"] != self._problem
            self._problem = row["problem_id"]
            self.licences.add(str(row["licence"]))
            if "origin" in row:
                for column in _COUNTED:
                    self.values[column, str(row[column]) or "(none)"] += 1
                self.models[row["model"], row["model_revision"], row["sampling"]] += 1
            yield row


_COUNTED = ("origin", "source", "licence", "difficulty", "round")
"""Columns whose values the card counts."""


def dataset_card(
    name: str, rows: CardCounts, near_misses: CardCounts, *, version: str, judges: Sequence[tuple[str, str]] = ()
) -> str:
    """Markdown card of a dataset.

    Args:
        name: title.
        rows: of the dataset, counted.
        near_misses: of its second part, counted; there may be none.
        version: of stepstar.
        judges: besides the verifier, what else was said of the rows and how far it can be trusted, by name.
    """
    files = {"default": {"train": "data/train-*.parquet"}}
    if near_misses.n:
        files["near_misses"] = {"train": "near_misses/train-*.parquet"}
    counts = sorted(rows.values.items(), key=lambda entry: (_COUNTED.index(entry[0][0]), entry[0][1]))
    return card_head(files, rows.licences, rows.n) + _CARD.format(
        name=name,
        n_rows=rows.n,
        near_miss_text=_NEAR_MISS_TEXT.format(n=near_misses.n, n_right=near_misses.n_right) if near_misses.n else "",
        version=version,
        n_problems=rows.n_problems,
        counts=count_lines(counts),
        models=model_lines(rows.models),
        judges="\n".join(f"| {what} | {said} |" for what, said in (("answers", f"stepstar {version}"), *judges)),
    )
