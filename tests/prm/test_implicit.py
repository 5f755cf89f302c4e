"""An implicit PRM of our own: two language models, trained on labels, saved as one folder, scored like any other."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from data.sources.arithmetic import draw_problem
from data.steps import split_steps
from prm import load_scorer
from prm.labels import LabelledSolution, values_up_to
from prm.model import LoadedPrm, build_prm, load_prm, save_prm
from prm.model_config import REFERENCE, ModelForm
from prm.scoring.implicit import scorer_of
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_rows import prepare_rows
from star.checkpoints import EMBEDDED

FORM = ModelForm(form="implicit", beta=0.1)
CONFIG = PrmTrainingConfig(steps=6, batch_tokens=512, micro_batch_tokens=512, learning_rate=1e-3, evaluate_every=6)


def solutions(n: int, seed: int) -> list[LabelledSolution]:
    """Worked solutions; every second one ends in a result that is far too large."""
    rng, found = random.Random(seed), []
    for number in range(n):
        problem = draw_problem(2, rng)
        steps = [step.strip() for step in split_steps(problem.solution)]
        if wrong := number % 2:
            left, _, result = steps[1].partition("=")
            steps[1] = f"{left}={int(result) + 500}"
        found.append(
            LabelledSolution(
                problem=problem.prompt,
                steps=tuple(steps),
                values=values_up_to(1 if wrong else -1, len(steps)),
                source="near_miss",
                outcome=not wrong,
            )
        )
    return found


def trained(form: ModelForm = FORM, **changes: object) -> LoadedPrm:
    torch.set_num_threads(1)
    loaded = build_prm(str(EMBEDDED), form)
    config = CONFIG.model_copy(update=changes)
    train_prm(loaded, prepare_rows(loaded.encoder, solutions(60, 0), config, Counter()), config, seed=0)
    return loaded


def test_an_untrained_one_is_its_own_reference_and_knows_nothing() -> None:
    scorer = scorer_of(build_prm(str(EMBEDDED), FORM))
    assert scorer.score("2+3-1=?", ["2+3=5", "5-1=4"]).scores == (0.5, 0.5)


@pytest.mark.parametrize(
    "changes", [{}, {"target": "outcome"}, {"mode": "lora"}, {"form": FORM.model_copy(update={"per_step": True})}]
)
def test_training_tells_wrong_steps_from_right_ones_and_the_folder_scores_alike(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    loaded = trained(**changes)  # type: ignore[arg-type]
    test = solutions(20, 1)
    # The steps before the slip are alike; only what the second one says differs.
    seconds = [one.scores[1] for one in scorer_of(loaded).score_batch(test)]
    assert sum(seconds[0::2]) > sum(seconds[1::2])
    config = save_prm(loaded, tmp_path / "prm")
    scorer = load_scorer(str(tmp_path / "prm"))
    assert (scorer.revision, (tmp_path / "prm" / REFERENCE / "config.json").is_file()) == (config.revision, True)
    found = [one.scores for one in scorer.score_batch(test)]
    assert found == [one.scores for one in scorer_of(loaded).score_batch(test)]
    # Training and scoring compute the same number: the sigmoid of the logits' difference.
    again = load_prm(str(tmp_path / "prm"))
    rows = [again.encoder.encode(one.problem, one.steps) for one in test]
    logits = again.model(rows)
    assert torch.sigmoid(logits[:, 1] - logits[:, 0]).tolist() == pytest.approx(
        [score for one in found for score in one], abs=1e-5
    )


def test_values_of_single_steps_add_up_to_those_of_all_steps_so_far(tmp_path: Path) -> None:
    loaded, test = trained(), solutions(5, 2)
    whole = [one.scores for one in scorer_of(loaded).score_batch(test)]
    revision = save_prm(loaded, tmp_path / "whole").revision
    alone = FORM.model_copy(update={"per_step": True})
    loaded.model.head.form, loaded.config = alone, loaded.config.model_copy(update={"model": alone})
    for said, so_far in zip(scorer_of(loaded).score_batch(test), whole, strict=True):
        sums = torch.logit(torch.tensor(said.scores, dtype=torch.float64)).cumsum(0)
        assert sums.sigmoid().tolist() == pytest.approx(so_far, abs=1e-6)
    assert save_prm(loaded, tmp_path / "alone").revision != revision


def test_the_reference_stays_what_it_was(tmp_path: Path) -> None:
    save_prm(trained(), tmp_path / "prm")
    base, kept = (build_prm(str(folder), ModelForm(form="tokens", right_token="1", wrong_token="2"))
                  for folder in (EMBEDDED, tmp_path / "prm" / REFERENCE))  # fmt: skip
    pairs = zip(base.model.network.state_dict().values(), kept.model.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_frozen_one_has_nothing_to_learn_and_a_third_class_no_place() -> None:
    with pytest.raises(UserError, match="nothing would learn"):
        trained(mode="frozen")
    with pytest.raises(UserError, match="right and wrong alone"):
        build_prm(str(EMBEDDED), ModelForm(form="implicit", classes=3))


def test_another_backend_says_that_it_needs_two_models(tmp_path: Path) -> None:
    save_prm(build_prm(str(EMBEDDED), FORM), tmp_path / "prm")
    with pytest.raises(UserError, match="two models"):
        load_scorer(str(tmp_path / "prm"), "http", options={"base_url": "http://localhost:1"})
