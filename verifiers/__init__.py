"""What is true: final answers, single steps, programs; votes over answers, and the metrics over verdicts.

`check_answer`, `check_steps`, `run_program` and their batch forms work from any thread and from asyncio
(`asyncio.to_thread`). Importing this package imports neither sympy nor numpy; sympy is only ever imported by worker
processes, and a model's program runs in the sandbox alone.
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
from verifiers.programs import (
    ProgramCase,
    ProgramLimits,
    ProgramResult,
    ProgramVerdict,
    StdioCase,
    program_case,
    run_problem,
    run_program,
    run_programs,
)
from verifiers.steps import Rule, StepStatus, StepVerdict, check_steps
from verifiers.voting import group_answers, majority

__all__ = [
    "Explanation",
    "Interval",
    "ProgramCase",
    "ProgramLimits",
    "ProgramResult",
    "ProgramVerdict",
    "Rule",
    "StdioCase",
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
    "program_case",
    "run_problem",
    "run_program",
    "run_programs",
    "wilson_interval",
]
