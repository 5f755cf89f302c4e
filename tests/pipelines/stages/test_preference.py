"""The preference baseline as a stage of a run: its samples, its pairs, its measurement, and nothing done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.model_folder import weights_revision
from data.prompts import PromptTemplate
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.policy import base_policy
from pipelines.stages.preference import PreferenceStage, judged_samples
from pipelines.stages.problems import load_problems
from pipelines.stages.sampling import Context

CHANGES = [
    "problems.options={n: 8, difficulty: [3, 4], seed: 1}",
    "evaluation.options={n: 4, difficulty: [3, 4], seed: 2}",
    "target_difficulties=[]",
    "threads=1",
    "preference={enabled: true, loss: step_dpo, samples: 4, steps: 2, learning_rate: 1e-4}",
]


def stage(folder: Path) -> PreferenceStage:
    recipe = load_recipe("quickstart", CHANGES)
    run = RunFolder.open(folder, recipe)
    train, test = load_problems(run, recipe)
    base = base_policy("embedded", hub_revision=None, engine="transformers", batch_size=64)
    return PreferenceStage(Context(run, recipe, PromptTemplate("arithmetic")), base, train, test)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preference") / "run"
    trained = stage(folder)
    trained.run()
    trained.context.run.close()
    return folder


def test_the_policy_has_the_promoted_one_as_its_parent_and_is_measured(finished: Path) -> None:
    run = RunFolder.read(finished)
    entry = run.manifest["checkpoints"]["policy-step_dpo"]
    assert entry["revision"] == weights_revision(finished / "checkpoints/policy-step_dpo") != entry["parent"]
    assert entry["losses"][0] == pytest.approx(0.6931, abs=1e-4)
    assert len(list(run.table("evaluations", "preference-"))) == 8
    assert not list((finished / "checkpoints").glob("*.training*"))
    note = run.manifest["notes"]["preference"]
    assert note["policy"] == "policy-step_dpo"
    assert 0 < note["pairs"] == entry["pairs"]


def test_its_samples_are_stored_and_selected_by_nobody(finished: Path) -> None:
    run = RunFolder.read(finished)
    rows = list(run.table("rationales", "preference-"))
    assert len(rows) == 16 * 4
    assert {row.made_by.revision for row in rows} == {run.manifest["checkpoints"]["policy-step_dpo"]["parent"]}
    assert len(list(run.table("verdicts", "preference-"))) == len(rows)
    assert not list(run.table("selections"))


def test_what_is_there_is_not_made_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("star.preference.training.train_preferences", train)
    again = stage(finished)
    drawn = judged_samples(again.context, again.start, "preference", 4, again.train)
    policy = again.run()
    again.context.run.close()
    assert [len(group) for _, group in drawn] == [4] * 16
    assert any(right for _, group in drawn for _, right in group)
    assert policy.revision == weights_revision(finished / "checkpoints/policy-step_dpo")
