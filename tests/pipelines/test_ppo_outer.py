"""Outer rounds of STaR, PRM and PPO: what begins where, who judges whom, what is kept, resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.model_folder import weights_revision
from data.records import Status
from pipelines.outer import run_outer
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from prm import load_scorer
from star.ppo.trainer import PpoTrainer

CHANGES = [
    "problems.options={n: 14, difficulty: [2, 3], seed: 1}",
    "evaluation.options={n: 2, difficulty: [2, 3], seed: 2}",
    "target_difficulties=[]",
    "rounds=1",
    "sft.steps=3",
    "sampling.n=1",
    "sampling.max_tokens=48",
    "rationalization.wrong_hints=0",
    "near_misses.rationales=0",
    "prm.enabled=false",
    "compare_without_rationalization=false",
    "promotion.dev_share=0.3",
    "threads=1",
    "outer_rounds=2",
    "reward_model={steps: 3, samples: 4, learning_rate: 1e-4}",
    "ppo={enabled: true, rewards: pairwise, credit: {form: implicit, beta: 1.0}, outcome_weight: 0.0, prm_only: true, "
    "iterations: 2, problems_per_iteration: 4, samples_per_problem: 2, epochs: 1, lora_rank: 4, critic_warmup: 0}",
]

WITH_PRM = [
    *CHANGES,
    "prm={enabled: true, steps: 6, batch_tokens: 1024, samples: 2}",
    "near_misses.rationales=4",
    "ppo={enabled: true, rewards: prm, iterations: 1, problems_per_iteration: 6, samples_per_problem: 2, epochs: 1, "
    "lora_rank: 4, critic_warmup: 0}",
]


@pytest.fixture(scope="module")
def with_prm(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    folder = tmp_path_factory.mktemp("outer") / "prm"
    run_outer(load_recipe("quickstart", WITH_PRM), folder)
    return RunFolder.read(folder), RunFolder.read(folder / "outer-2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outer") / "run"
    run_outer(load_recipe("quickstart", CHANGES), folder)
    return folder


def test_a_round_samples_from_the_last_policy_and_trains_from_the_base(finished: Path) -> None:
    first, second = RunFolder.read(finished), RunFolder.read(finished / "outer-2")
    policy = weights_revision(finished / "checkpoints/policy-ppo")
    assert second.manifest["pins"]["start"] == policy
    assert {row.made_by.revision for row in second.table("rationales", "star-r1-sample")} == {policy}
    base = first.manifest["pins"]["base"]
    assert second.manifest["pins"]["base"] == base
    assert first.manifest["checkpoints"]["generator-star-r1"]["parent"] == base
    assert second.manifest["checkpoints"]["generator-star-r1"]["parent"] == base


def test_no_round_trains_on_a_problem_that_judges_another(finished: Path) -> None:
    first, second = RunFolder.read(finished), RunFolder.read(finished / "outer-2")
    judging = {row.problem_id for row in first.table("dev_evaluations", "ppo-")}
    assert judging == {row.problem_id for row in second.table("dev_evaluations", "ppo-")}
    assert judging
    assert not judging & {row.problem_id for row in second.table("rationales")}


def test_each_round_trains_its_prm_on_its_own_samples_and_ppo_against_it(
    with_prm: tuple[RunFolder, RunFolder],
) -> None:
    first, second = with_prm
    policy = first.manifest["checkpoints"]["policy-ppo"]["revision"]
    prms = [run.manifest["checkpoints"]["prm"] for run in with_prm]
    assert prms[0]["revision"] != prms[1]["revision"]
    for run, prm in zip(with_prm, prms, strict=True):
        ppo = run.manifest["checkpoints"]["policy-ppo"]
        assert ppo["scorer"] == load_scorer(str(run.root / "checkpoints/prm")).revision
        # Both begin from what STaR left.
        assert prm["parent"] == ppo["parent"]
        assert prm["parent_name"] == ppo["parent_name"] == run.manifest["notes"]["promoted"]
    # What the second PRM learned from was drawn by the policy that the first one had judged.
    assert {row.made_by.revision for row in second.table("rationales", "star-r1-sample")} == {policy}


def test_a_round_is_promoted_by_dev_answers_whatever_its_prm_says(with_prm: tuple[RunFolder, RunFolder]) -> None:
    solved = [
        {row.problem_id: row.status is Status.CORRECT for row in run.table("dev_evaluations", "ppo-")}
        for run in with_prm
    ]
    assert solved[0].keys() == solved[1].keys()
    changes = [solved[1][key] - solved[0][key] for key in solved[0]]
    one, two = with_prm[0].manifest["notes"]["outer_rounds"]["rounds"]
    assert (two["gained"], two["lost"]) == (changes.count(1), changes.count(-1))
    assert two["promoted"] == (sum(changes) > 0)
    assert one["dev_accuracy"] == sum(solved[0].values()) / len(changes)


def test_a_round_is_kept_for_what_it_solves_more_and_only_then(finished: Path) -> None:
    note: dict[str, Any] = RunFolder.read(finished).manifest["notes"]["outer_rounds"]
    one, two = note["rounds"]
    assert one["promoted"]
    assert two["promoted"] == (two["gained"] > two["lost"])
    assert (two["dev_accuracy"] > one["dev_accuracy"]) == two["promoted"]
    assert note["kept"] == ("outer-2/checkpoints/policy-ppo" if two["promoted"] else "checkpoints/policy-ppo")
    assert (finished / note["kept"] / "model.safetensors").is_file()


def test_finished_rounds_are_not_trained_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object) -> None:
        raise AssertionError("trained again")

    before = json.loads((finished / "manifest.json").read_text())
    monkeypatch.setattr(PpoTrainer, "run", train)
    monkeypatch.setattr("star.preference.reward_model.train_reward_model", train)
    run_outer(load_recipe("quickstart", CHANGES), finished)
    after = json.loads((finished / "manifest.json").read_text())
    assert {name: after[name] for name in ("shards", "checkpoints", "pins")} == {
        name: before[name] for name in ("shards", "checkpoints", "pins")
    }
    assert after["notes"]["outer_rounds"] == before["notes"]["outer_rounds"]


def test_the_reward_model_is_of_the_policy_that_ppo_began_with(finished: Path) -> None:
    entries = RunFolder.read(finished).manifest["checkpoints"]
    assert entries["reward-model"]["parent"] == entries["policy-ppo"]["parent"]
    assert entries["reward-model"]["pairs"] > 0
    assert entries["policy-ppo"]["rewards"] == "pairwise"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["outer_rounds=2", "ppo.enabled=false"], "ppo.enabled is false"),
        (["ppo.enabled=true", "ppo.rewards=pairwise"], "set ppo.credit.form to implicit"),
        (["ppo.enabled=true", "sampling.top_p=0.9"], "whole distribution"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_spent(change: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_recipe("quickstart", change)
