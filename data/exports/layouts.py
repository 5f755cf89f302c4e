"""The layouts of exports: for whom each is, its columns as an explicit schema, and how its consumer loads it.

A schema is never inferred: a split whose labels are all null would change its type. A layout without a schema is
written as JSON lines in the exact schema of another tool.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

_TEXT, _TEXTS, _INTS = pa.string(), pa.list_(pa.string()), pa.list_(pa.int64())
_NUMBER, _NUMBERS = pa.float64(), pa.list_(pa.float64())
_MESSAGES = pa.list_(pa.struct({"role": _TEXT, "content": _TEXT}))
_ORIGIN = {"id": _TEXT, "problem_id": _TEXT, "source": _TEXT, "origin": _TEXT}
"""Where a row is from: its rationale and problem in the run (`stepstar lineage RUN ID` tells the rest)."""

STEP_REWARDS = pa.schema(
    {
        **_ORIGIN,
        "prompt": _TEXT,
        "response": _TEXT,
        "outcome": _NUMBER,
        "step_ends": _INTS,
        "step_values": _NUMBERS,
    }
)
"""Dense rewards: a value a step, and the character of `response` behind the step's last one; null where none is known.

`outcome` is 1 for a right final answer and 0 for a wrong one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout."""

    consumer: str
    """Who reads it, and with what settings."""
    schema: pa.Schema | None = None
    """Columns of a Parquet file; None for JSON lines."""
    dense: bool = False
    """Whether a second table, `STEP_REWARDS`, goes with it."""

    @property
    def suffix(self) -> str:
        """Of its files."""
        return ".jsonl" if self.schema is None else ".parquet"


LAYOUTS: dict[str, Layout] = {
    "messages": Layout(
        schema=pa.schema({"messages": _MESSAGES, **_ORIGIN}),
        consumer="chat fine-tuning: TRL's SFTTrainer, axolotl (`type: chat_template`), open-r1.",
    ),
    "prompt_completion": Layout(
        schema=pa.schema({"prompt": _TEXT, "completion": _TEXT, **_ORIGIN}),
        consumer="fine-tuning on the completion alone: TRL's SFTTrainer.",
    ),
    "stepwise": Layout(
        schema=pa.schema({"prompt": _TEXT, "completions": _TEXTS, "labels": _NUMBERS, **_ORIGIN}),
        consumer="process reward models: TRL up to 1.13 (PRMTrainer), axolotl (`type: stepwise_supervised`), "
        "`stepstar train-prm`. TRL and axolotl cut a label with int(): there, soft labels below 1 count as wrong.",
    ),
    "preference": Layout(
        schema=pa.schema(
            {
                "prompt": _TEXT,
                "chosen": _TEXT,
                "rejected": _TEXT,
                **_ORIGIN,
                "rejected_id": _TEXT,
                "rejected_origin": _TEXT,
            }
        ),
        consumer="preference training: TRL's DPOTrainer and RewardTrainer, axolotl. `rejected` is a wrong sample of "
        "the same problem, or the chosen text made wrong by one slip (`corrupted`).",
    ),
    "prm800k": Layout(consumer="whatever reads PRM800K's JSON lines; `stepstar train-prm`."),
    "math_shepherd": Layout(consumer="whatever reads Math-Shepherd's `input` and `label`; `stepstar train-prm`."),
    "verl": Layout(
        schema=pa.schema(
            {
                "data_source": _TEXT,
                "prompt": _MESSAGES,
                "ability": _TEXT,
                "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
                "extra_info": pa.struct({"index": pa.int64(), "problem_id": _TEXT, "kind": _TEXT, "problem": _TEXT}),
            }
        ),
        dense=True,
        consumer="verl: `data.train_files=train.parquet`, `reward.custom_reward_function.path=reward.py`, "
        "`reward.custom_reward_function.name=compute_score`.",
    ),
    "openrlhf": Layout(
        schema=pa.schema({"input": _TEXT, "label": _TEXT, "datasource": _TEXT}),
        dense=True,
        consumer="OpenRLHF: `--data.input_key input --data.label_key label --data.apply_chat_template`, "
        "`--reward.remote_url reward.py`.",
    ),
}
"""Every layout."""
