"""What is true: final answers checked against gold answers, with four outcomes, and the metrics over them.

`check_answer` and `check_answers` work from any thread and from asyncio (`asyncio.to_thread`). Importing this package
imports neither sympy nor numpy; sympy is only ever imported by worker processes.
"""

from __future__ import annotations

from verifiers.checking import check_answer, check_answers, check_gold
from verifiers.explain import Explanation, explain
from verifiers.metrics import (
    Interval,
    accuracy,
    bootstrap_interval,
    paired_interval,
    pass_at_k,
    wilson_interval,
)
from verifiers.steps import Rule, StepStatus, StepVerdict, check_steps
from verifiers.voting import group_answers, majority

__all__ = [
    "Explanation",
    "Interval",
    "Rule",
    "StepStatus",
    "StepVerdict",
    "accuracy",
    "bootstrap_interval",
    "check_answer",
    "check_answers",
    "check_gold",
    "check_steps",
    "explain",
    "group_answers",
    "majority",
    "paired_interval",
    "pass_at_k",
    "wilson_interval",
]
