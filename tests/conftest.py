"""Shared fixtures: the embedded model, loaded once a process, and small records."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from data.records import Kind, Origin, Problem, Provenance, Rationale
from star.checkpoints import LoadedModel

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when torch is loaded: workers that each take all cores wait for one another.
    os.environ["OMP_NUM_THREADS"] = "1"


# Absent where only vLLM's tests run.
if find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples in every run, and no deadline; `--hypothesis-profile default` looks for new ones.
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    import torch

    from star.checkpoints import load_checkpoint

    torch.set_num_threads(1)
    return load_checkpoint("embedded")


@pytest.fixture
def problem() -> Problem:
    return Problem.create(prompt="12+3-4=?", answer="11", kind=Kind.MATH, source="arithmetic", difficulty="2")


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(
        model="embedded",
        revision="r",
        engine="scripted",
        prompt_hash="p",
        sampling="{}",
        seed=1,
        round=0,
        code_version="0",
    )


def make_rationale(problem: Problem, text: str, made_by: Provenance, **changes: object) -> Rationale:
    from data.records import FinishReason
    from data.steps import split_steps

    fields = {"origin": Origin.SAMPLED, "finish_reason": FinishReason.STOP, "n_tokens": 5, "answer": "11"} | changes
    return Rationale.create(problem_id=problem.id, steps=split_steps(text), made_by=made_by, **fields)  # type: ignore[arg-type]
