"""The outcome model beside a run's PRM: what it learns, what it is compared by, and a run that is killed around it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.model_folder import weights_revision
from data.prompts import PromptTemplate
from pipelines.explain import explain_run
from pipelines.recipe import load_recipe
from pipelines.report.summary import summarize
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.policy import base_policy
from pipelines.stages.prm import choice_facts
from pipelines.stages.prm_rows import run_labels
from pipelines.stages.prm_training import OUTCOME_MODEL, PRM, PrmTraining, outcome_config
from pipelines.stages.sampling import Context
from prm.aggregate import Reading
from prm.evaluation import Candidate
from prm.model_config import read_config
from prm.training import _Trainer

CHANGES = [
    "problems.options={n: 20, difficulty: [3, 4], seed: 1}",
    "evaluation.options={n: 6, difficulty: [3, 4], seed: 2}",
    "target_difficulties=[]",
    "rounds=1",
    "sft.steps=2",
    "sampling.n=1",
    "rationalization.wrong_hints=0",
    "near_misses.rationales=8",
    "compare_without_rationalization=false",
    "promotion.dev_share=0.3",
    "threads=1",
    "ppo.enabled=false",
    "prm={enabled: true, steps: 6, outcome_model: {steps: 4}, batch_tokens: 1024, evaluate_every: 2, samples: 4, "
    "save_every_s: 0, loss: ranking, model: {form: implicit, beta: 1.0, per_step: true}}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outcome") / "run"
    run_recipe(load_recipe("quickstart", CHANGES), folder)
    return folder


def candidates(answers: str, right: str, scores: list[float]) -> list[Candidate]:
    return [
        Candidate(answer=answer, correct=answer == right, scores=(1.0, score))
        for answer, score in zip(answers, scores, strict=True)
    ]


def test_choosing_by_prm_majority_and_outcome_model_is_as_worked_out_by_hand() -> None:
    # The PRM outvotes the two that are wrong alike, and of the second problem likes the wrong one best.
    prm = [candidates("122", "1", [0.9, 0.1, 0.2]), candidates("556", "5", [0.8, 0.3, 0.9])]
    outcome = [candidates("122", "1", [0.3, 0.4, 0.1]), candidates("556", "5", [0.4, 0.3, 0.9])]
    found = choice_facts(3, (prm, Reading()), (outcome, Reading(aggregation="last")))
    assert found["problems"] == 2
    assert found["curve"] == [
        {"n": 1, "pass_1": 100.0, "majority": 100.0, "greedy": 100.0, "weighted": 100.0, "pass_n": 100.0},
        {"n": 2, "pass_1": 75.0, "majority": 100.0, "greedy": 100.0, "weighted": 100.0, "pass_n": 100.0},
        {"n": 3, "pass_1": 50.0, "majority": 50.0, "greedy": 50.0, "weighted": 100.0, "pass_n": 100.0},
    ]
    assert found["gain"]["mean"] == 50
    rows = [(row["n"], row["greedy"], row["weighted"]) for row in found["outcome"]["curve"]]
    assert rows == [(1, 100, 100), (2, 50, 50), (3, 0, 0)]
    assert found["outcome"]["gain"] == {"mean": 100, "low": 100, "high": 100}
    assert found["outcome"]["reading"]["aggregation"] == "last"
    assert "outcome" not in choice_facts(3, (prm, Reading()))


def test_it_begins_as_the_prm_does_and_learns_the_verdicts_on_the_same_solutions(finished: Path) -> None:
    entries = RunFolder.read(finished).manifest["checkpoints"]
    outcome, prm = entries[OUTCOME_MODEL], entries[PRM]
    assert {name: outcome[name] for name in ("rows", "sources", "parent")} == {
        name: prm[name] for name in ("rows", "sources", "parent")
    }
    assert (outcome["steps"], prm["steps"]) == (4, 6)
    assert "quality" not in outcome
    config = read_config(finished / "checkpoints" / OUTCOME_MODEL)
    assert (config.model.form, read_config(finished / "checkpoints" / PRM).model.form) == ("head", "implicit")
    assert config.training is not None
    assert (config.training.target, config.training.loss, config.training.steps) == ("outcome", "cross_entropy", 4)
    # The PRM is looked at after 2, 4 and 6 steps.
    assert config.training.evaluate_every == 1


def test_labels_of_steps_do_not_reach_it_but_verdicts_do(finished: Path) -> None:
    run = RunFolder.read(finished)
    context = Context(run, run.recipe, PromptTemplate("arithmetic"))
    start = base_policy("embedded", hub_revision=None, engine="transformers", batch_size=8)
    rows = run_labels(context).solutions
    blind = [replace(row, values=(None,) * len(row.steps)) for row in rows]
    flipped = [replace(row, outcome=not row.outcome) for row in rows]

    def taught(solutions: list[Any], config: Any) -> tuple[str, list[Any]]:
        training = PrmTraining(context, start, OUTCOME_MODEL, config, solutions, [])
        from prm.encode import EncoderConfig
        from prm.model import build_prm

        loaded = build_prm(start.path, config.model, EncoderConfig())
        return training._key(), [(row.targets, row.weights, row.chances) for row in training._rows(loaded, solutions)]

    config = outcome_config(run.recipe.prm)
    assert taught(blind, config) == taught(rows, config)
    assert all(one != other for one, other in zip(taught(flipped, config), taught(rows, config), strict=True))
    assert taught(blind, run.recipe.prm)[1] == []


def test_a_run_killed_between_the_two_models_and_amid_the_second_ends_as_if_it_had_not_been(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, recipe = tmp_path / "run", load_recipe("quickstart", CHANGES)
    shutil.copytree(finished, folder)
    for name in (PRM, OUTCOME_MODEL):
        shutil.rmtree(folder / "checkpoints" / name)
    whole, left = _Trainer.step, [0]

    def step(self: _Trainer, *arguments: Any) -> float:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return whole(self, *arguments)

    monkeypatch.setattr(_Trainer, "step", step)
    for steps, has_state in ((6, False), (3, True)):
        left[0] = steps
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, folder)
        assert (folder / "checkpoints" / PRM).is_dir()
        assert not (folder / "checkpoints" / OUTCOME_MODEL).exists()
        assert (folder / "checkpoints" / f"{OUTCOME_MODEL}.training.safetensors").exists() is has_state
    left[0] = 1
    run_recipe(recipe, folder)
    assert left[0] == 0
    for name in (PRM, OUTCOME_MODEL):
        assert weights_revision(folder / "checkpoints" / name) == weights_revision(finished / "checkpoints" / name)
    assert not list((folder / "checkpoints").glob("*.training*"))
    notes = RunFolder.read(finished).manifest["notes"]["best_of_n"]
    assert RunFolder.read(folder).manifest["notes"]["best_of_n"] == notes


def test_explain_names_it_where_it_is_missing_and_no_other_prm_is_made_without_it(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_run(load_recipe("quickstart", [*CHANGES, "prm.outcome_model.steps=0"]), finished)
    assert "first:  nothing" in capsys.readouterr().out
    explain_run(load_recipe("quickstart", [*CHANGES, "prm.outcome_model.steps=5"]), finished)
    told = capsys.readouterr().out
    assert f"first:  checkpoint {OUTCOME_MODEL} (stage '{OUTCOME_MODEL} · train'): it was trained from other" in told


def test_the_report_shows_its_curve_beside_the_prms_and_the_majoritys(finished: Path) -> None:
    summary, page = summarize(RunFolder.read(finished)), (finished / "report.html").read_text()
    last = summary.notes["best_of_n"]["outcome"]["curve"][-1]
    assert last["n"] == 4
    assert f"right in {last['weighted']:.1f} %" in page
    for name in ("majority", "vote weighted by PRM", "vote weighted by outcome model"):
        assert f'"name":"{name}"' in page
    assert "votes weighted by outcome model</th>" in page


def test_a_prm_of_three_classes_trains_in_a_run_too(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    changes = [*CHANGES[:-1], "prm={enabled: true, steps: 2, batch_tokens: 1024, samples: 4, model: {classes: 3}}"]
    run_recipe(load_recipe("quickstart", changes), folder, update=True)
    assert read_config(folder / "checkpoints" / PRM).model.classes == 3
