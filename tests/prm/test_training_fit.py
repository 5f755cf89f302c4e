"""From labels to a blessed model: a short training on corrupted arithmetic, and the gate that refuses a bad one."""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.sources.arithmetic import draw_problem
from data.steps import split_steps
from prm import load_scorer
from prm.evaluation import BestOfN, auc
from prm.labels import LabelledSolution, values_up_to
from prm.model import build_prm, save_prm
from prm.model_config import read_config
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_fit import Sample, fit_prm
from prm.training_rows import prepare_rows
from star.checkpoints import EMBEDDED

CONFIG = PrmTrainingConfig(steps=40, batch_tokens=1024, micro_batch_tokens=1024, learning_rate=2e-3, evaluate_every=20)


def corrupted(n: int, seed: int) -> list[LabelledSolution]:
    """Worked solutions of two operations; in half of them one result is far too large, which is soon learned."""
    rng, found = random.Random(seed), []
    while len(found) < n:
        problem = draw_problem(2, rng)
        steps = [step.strip() for step in split_steps(problem.solution)]
        wrong = rng.choice([-1, -1, 0, 1])
        if wrong >= 0:
            left, _, result = steps[wrong].partition("=")
            steps[wrong] = f"{left}={int(result) + rng.randint(200, 800)}"
        found.append(
            LabelledSolution(
                problem=problem.prompt, steps=tuple(steps), values=values_up_to(wrong, len(steps)), source="near_miss"
            )
        )
    return found


def test_a_short_training_finds_wrong_steps_and_is_saved_with_its_reading(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED))
    train, dev, test = (corrupted(n, seed) for n, seed in ((400, 0), (60, 1), (100, 2)))
    rows, held = (prepare_rows(loaded.encoder, part, CONFIG, Counter()) for part in (train, dev))
    train_prm(loaded, rows, CONFIG, seed=0, dev=held)
    assert fit_prm(loaded, dev) is None
    save_prm(loaded, tmp_path / "prm")
    scorer = load_scorer(str(tmp_path / "prm"))
    scores = [one.scores for one in scorer.score_batch(test)]
    labelled = [
        (value > 0.5, score)
        for one, found in zip(test, scores, strict=True)
        for value, score in zip(one.values, found, strict=True)
        if value is not None
    ]
    assert auc(*zip(*labelled, strict=True)) > 0.95
    hits = [scorer.reading.first_error(found) == one.first_error for one, found in zip(test, scores, strict=True)]
    assert sum(hits) > 85
    config = read_config(tmp_path / "prm")
    assert config.training == CONFIG
    assert config.calibration.temperature != 1.0
    assert config.blessed is None


def test_steps_that_the_training_masked_have_no_say_in_the_calibration() -> None:
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED))
    torch.manual_seed(0)
    for weight in loaded.model.head.parameters():
        weight.normal_()
    dev = corrupted(30, seed=4)
    told = [replace(one, values=tuple(1.0 if value is None else value for value in one.values)) for one in dev]
    found = {}
    for rule in ("mask", "keep"):
        loaded.config = loaded.config.model_copy(update={"training": CONFIG.model_copy(update={"after_error": rule})})
        fit_prm(loaded, told)
        found[rule] = loaded.config.calibration
    fit_prm(loaded, dev)
    assert found["mask"] == loaded.config.calibration != found["keep"]


def sample(answer: str, *, correct: bool) -> Sample:
    return Sample(problem="1+1=?", steps=(f"1+1={answer}",), answer=answer, correct=correct)


def test_a_model_that_chooses_worse_than_the_vote_is_saved_but_not_blessed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.set_num_threads(1)
    untrained = build_prm(str(EMBEDDED))
    group = [sample("3", correct=False), sample("2", correct=True), sample("2", correct=True)]
    with caplog.at_level(logging.WARNING, logger="prm.training_fit"):
        found = fit_prm(untrained, [], [group])
    assert found is not None
    assert (found.greedy, found.majority) == (0.0, 100.0)
    save_prm(untrained, tmp_path / "prm")
    assert read_config(tmp_path / "prm").blessed is False
    assert "not blessed" in caplog.text
    caplog.clear()
    fit_prm(untrained, [], [list(reversed(group))])
    assert untrained.config.blessed is True
    assert not caplog.text


@pytest.mark.parametrize(
    ("greedy", "weighted", "blessed"), [(80.0, 80.0, True), (79.0, 95.0, False), (95.0, 79.0, False)]
)
def test_a_model_that_chooses_worse_in_either_way_is_not_blessed(greedy: float, weighted: float, blessed: bool) -> None:
    found = BestOfN(pass_1=50.0, majority=80.0, greedy=greedy, weighted=weighted, pass_n=100.0)
    assert found.never_below_vote is blessed
