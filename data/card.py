"""The dataset card: README.md with front matter that the Hugging Face hub and `datasets` read.

Everything in it follows from the rows, so that equal datasets have equal cards: no dates, no paths, no timings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
{near_miss_config}license: {licence}
size_categories:
- {size}
tags:
- reasoning
- process-supervision
- stepstar
---
# {name}

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
"""


_NEAR_MISS_CONFIG = """- config_name: near_misses
  data_files:
  - split: train
    path: near_misses/train-*.parquet
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


def dataset_card(
    name: str, rows: Sequence[dict[str, Any]], near_misses: Sequence[dict[str, Any]] = (), *, version: str
) -> str:
    """Markdown card of a dataset.

    Args:
        name: title.
        rows: the dataset's rows, as written.
        near_misses: the rows of its second part, as written; may be empty.
        version: of stepstar.
    """
    lines = []
    for column in ("origin", "source", "licence", "difficulty", "round"):
        counts = Counter(str(row[column]) or "(none)" for row in rows)
        lines += [f"| {column} = {value} | {count} |" for value, count in sorted(counts.items())]
    models = Counter((row["model"], row["model_revision"], row["sampling"]) for row in rows)
    table = [
        f"| {model} | {revision} | `{sampling}` | {count} |"
        for (model, revision, sampling), count in sorted(models.items())
    ]
    return _CARD.format(
        size=size_category(len(rows)),
        licence=licence_id({str(row["licence"]) for row in rows}),
        name=name,
        n_rows=len(rows),
        near_miss_config=_NEAR_MISS_CONFIG if near_misses else "",
        near_miss_text=_NEAR_MISS_TEXT.format(
            n=len(near_misses), n_right=sum(row["final_answer"] == row["answer"] for row in near_misses)
        )
        if near_misses
        else "",
        version=version,
        n_problems=len({row["problem_id"] for row in rows}),
        counts="\n".join(lines),
        models="\n".join(table),
    )
