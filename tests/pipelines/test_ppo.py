"""PPO as a stage of a run: it begins with the promoted policy, is measured like a round, and is not done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.model_folder import weights_revision
from pipelines.ppo import symbolic_scores
from pipelines.recipe import load_recipe
from pipelines.report import ppo_line
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder
from pipelines.summary import summarize

CHANGES = [
    "problems.options={n: 20, difficulty: [3, 4], seed: 1}",
    "evaluation.options={n: 8, difficulty: [3, 4], seed: 2}",
    "target_difficulties=[]",
    "rounds=1",
    "sft.steps=4",
    "sampling.n=1",
    "rationalization.wrong_hints=0",
    "near_misses.rationales=0",
    "compare_without_rationalization=false",
    "promotion.dev_share=0.3",
    "threads=1",
    "ppo={enabled: true, iterations: 3, problems_per_iteration: 6, samples_per_problem: 2, epochs: 1, lora_rank: 4, "
    "learning_rate: 1e-3, critic_warmup: 0}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ppo") / "run"
    run_recipe(load_recipe("quickstart", CHANGES), folder)
    return folder


def test_the_policy_of_ppo_has_the_promoted_one_as_its_parent_and_is_measured(finished: Path) -> None:
    run = RunFolder.read(finished)
    entry = run.manifest["checkpoints"]["policy-ppo"]
    assert entry["parent_name"] == run.manifest["notes"]["promoted"]
    assert entry["parent"] == run.manifest["checkpoints"][entry["parent_name"]]["revision"]
    assert entry["revision"] == weights_revision(finished / "checkpoints/policy-ppo")
    assert [row.iteration for row in run.table("ppo_iterations")] == [1, 2, 3]
    assert len(list(run.table("evaluations", "ppo-"))) == 16
    assert not list((finished / "checkpoints").glob("*.training*"))


def test_the_report_says_what_ppo_bought(finished: Path) -> None:
    summary = summarize(RunFolder.read(finished))
    assert summary.ppo_gain is not None
    assert ppo_line(summary)[:40] in (finished / "report.html").read_text()


def test_a_finished_ppo_is_not_trained_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from star.ppo.trainer import PpoTrainer

    trained: list[int] = []
    whole = PpoTrainer.run
    monkeypatch.setattr(PpoTrainer, "run", lambda self, *rest: (trained.append(1), whole(self, *rest))[1])
    run_recipe(load_recipe("quickstart", CHANGES), finished)
    assert not trained


def test_the_step_checker_scores_steps() -> None:
    assert symbolic_scores("", ["3+4=7\n", "7+5=13\n", "so it is\n"]) == [1.0, 0.0, 0.5]
