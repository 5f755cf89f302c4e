"""The goals on real solutions; skipped where the data is not at hand. tests/benchmarks/step_checking.py has it all."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared/data"

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="shared data is absent")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    name = "step_checking_benchmark"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests/benchmarks/step_checking.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def test_gsm8k_solutions_are_checked_and_hardly_ever_called_wrong(bench: ModuleType) -> None:
    solutions = random.Random(0).sample(bench.gsm8k(DATA, "train"), 500) + bench.gsm8k(DATA, "test")[:200]
    shares = bench.gold("gsm8k", solutions, only="<<")
    assert shares["checked"] >= 0.95
    assert shares["incorrect"] <= 0.002


def test_math_solutions_are_hardly_ever_called_wrong(bench: ModuleType) -> None:
    shares = bench.gold("math", bench.math(DATA)[:1000])
    assert shares["checked"] >= 0.25
    assert shares["incorrect"] <= 0.002


@pytest.mark.parametrize("kind", ["result", "operand", "operator"])
def test_slips_planted_in_calculator_marks_are_found_at_their_step(bench: ModuleType, kind: str) -> None:
    solutions = random.Random(0).sample(bench.gsm8k(DATA, "train"), 250)
    assert bench.found(kind, bench.marked_slips(solutions, kind, random.Random(0))) >= 0.97


def test_slips_planted_in_running_text_are_found_at_their_step(bench: ModuleType) -> None:
    solutions = random.Random(0).sample(bench.gsm8k(DATA, "train", marks=False), 250)
    assert bench.found("text", bench.plain_slips(solutions, random.Random(0))) >= 0.97


@pytest.mark.parametrize("kind", ["unit_slips", "algebra_slips", "carried_slips", "identity_slips"])
def test_slips_in_drawn_problems_are_found_at_their_step(bench: ModuleType, kind: str) -> None:
    draw: Callable[..., object] = getattr(bench, kind)
    assert bench.found(kind, draw(200, random.Random(0))) >= 0.97


@pytest.mark.parametrize(("name", "precision"), [("prm800k_subset", 0.9), ("mr_gsm8k_partial", 0.95)])
def test_what_is_flagged_bears_out_against_human_labels(bench: ModuleType, name: str, precision: float) -> None:
    assert bench.against_labels(name, bench.labelled(DATA, name))["precision"] >= precision
