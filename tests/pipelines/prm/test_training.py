"""`stepstar train-prm`: the same PRM however often it was stopped, and nobody's folder overwritten."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.sources.arithmetic import draw_problem
from data.steps import split_steps
from pipelines.overrides import settings_from
from pipelines.prm.report import training_lines
from pipelines.prm.settings import PrmSettings
from pipelines.prm.training import PrmJob, PrmReport, train_prm_folder
from prm import load_scorer
from prm.labels import LabelledSolution, values_up_to, write_labels
from prm.model_config import read_config
from prm.scoring.implicit import scorer_of

KILLED = Path(__file__).parents[1] / "killed_command.py"
QUICK = ["steps=6", "batch_tokens=400", "micro_batch_tokens=400", "evaluate_every=3", "save_every_s=0", "threads=1"]


def corrupted(n: int) -> list[LabelledSolution]:
    """Worked solutions of two operations; in half of them one result is far too large, which is soon learned."""
    rng, found = random.Random(0), []
    while len(found) < n:
        problem = draw_problem(2, rng)
        steps = [step.strip() for step in split_steps(problem.solution)]
        wrong = rng.choice([-1, -1, 0, 1])
        if wrong >= 0:
            left, _, result = steps[wrong].partition("=")
            steps[wrong] = f"{left}={int(result) + rng.randint(200, 800)}"
        values = values_up_to(wrong, len(steps))
        found.append(
            LabelledSolution(
                problem=problem.prompt, steps=tuple(steps), values=values, source="near_miss", outcome=wrong < 0
            )
        )
    return found


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    write_labels(file, corrupted(80), "stepstar")
    return file


def job_of(labels: Path, out: Path, *words: str, **options: Any) -> PrmJob:
    return PrmJob(labels=[labels], base="embedded", out=out, settings=settings_from(PrmSettings, words), **options)


def trained(job: PrmJob) -> PrmReport:
    report = train_prm_folder(job)
    assert report is not None
    return report


def weights(folder: Path) -> list[bytes]:
    found = [file.read_bytes() for file in sorted(folder.glob("*.safetensors"))]
    assert len(found) == 2
    return found


def test_kill_9_and_the_same_command_again_give_the_same_prm(tmp_path: Path, labels: Path) -> None:
    trained(job_of(labels, tmp_path / "whole", *QUICK))
    line = ["train-prm", str(labels), "--base", "embedded", "--out", str(tmp_path / "killed"), *QUICK]
    done = subprocess.run([sys.executable, str(KILLED), "6", *line], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / "killed.training/state.safetensors").is_file()
    trained(job_of(labels, tmp_path / "killed", *QUICK))
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")
    assert read_config(tmp_path / "whole") == read_config(tmp_path / "killed")
    assert not (tmp_path / "killed.training").exists()


def test_a_finished_training_is_not_repeated_and_other_settings_are_refused(tmp_path: Path, labels: Path) -> None:
    out = tmp_path / "prm"
    trained(job_of(labels, out, *QUICK))
    before = weights(out)
    assert train_prm_folder(job_of(labels, out, *QUICK)) is None
    with pytest.raises(UserError, match=r"settings.steps: 6 -> 7.*--fresh"):
        train_prm_folder(job_of(labels, out, *QUICK, "steps=7"))
    assert weights(out) == before
    trained(job_of(labels, out, *QUICK, "steps=7", fresh=True))
    assert weights(out) != before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, labels: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        train_prm_folder(job_of(labels, tmp_path / "mine", *QUICK))
    with pytest.raises(UserError, match="no PRM"):
        train_prm_folder(job_of(labels, tmp_path / "mine", *QUICK, fresh=True))
    assert (tmp_path / "mine/thesis.tex").read_text() == "x"


def test_a_file_in_the_place_of_the_folder_is_refused(labels: Path) -> None:
    with pytest.raises(UserError, match="is a file"):
        train_prm_folder(job_of(labels, labels, *QUICK))


def test_the_prm_says_what_it_was_made_of(tmp_path: Path, labels: Path) -> None:
    report = trained(job_of(labels, tmp_path / "prm", *QUICK, "model.head=mlp", 'encoder.separator="\\n\\n"'))
    config = read_config(tmp_path / "prm")
    assert (config.model.head, config.encoder.separator, config.base_model) == ("mlp", "\n\n", "embedded")
    assert list(config.data) == ["labels.jsonl"]
    assert config.training == settings_from(PrmSettings, QUICK).training()
    assert config.blessed is None
    assert "not measured" in training_lines(report)[-1]


def samples_file(file: Path, *, right_first: bool) -> Path:
    """Two votes for 3, one for 4; the step of the minority's sample is the only one of its kind."""
    few = {"steps": ["1+2=4"], "answer": "4", "correct": not right_first}
    many = {"steps": ["1+2=3"], "answer": "3", "correct": right_first}
    rows = [few, many, many] if right_first else [many, few, many]
    file.write_text(json.dumps({"problem": "1+2=?", "candidates": rows}))
    return file


def test_a_prm_that_chooses_worse_than_the_vote_is_saved_and_not_blessed(tmp_path: Path, labels: Path) -> None:
    # Without a step of training it scores all alike, and so takes the first sample.
    words = [*QUICK, "steps=1", "learning_rate=1e-12"]
    samples = samples_file(tmp_path / "samples.jsonl", right_first=True)
    report = trained(job_of(labels, tmp_path / "prm", *words, samples=samples))
    assert training_lines(report)[-1] == (
        "NOT BLESSED: best of N is right in 0.0 %, the vote weighted by scores in 100.0 %, majority vote in 100.0 %"
    )
    assert read_config(tmp_path / "prm").blessed is False


def test_problems_of_the_samples_are_not_trained_on(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = corrupted(80)
    rows = [{"problem": one.problem, "steps": ["a"], "answer": "1", "correct": True} for one in known[:40]]
    samples = tmp_path / "samples.jsonl"
    samples.write_text("\n".join(map(json.dumps, rows)))
    trained(job_of(labels, tmp_path / "prm", *QUICK, samples=samples))
    told = capsys.readouterr().err
    left_out = int(told.partition(" solutions are left out")[0].rpartition("\n")[2])
    assert 25 <= left_out <= 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.form=tokens", "model.right_token=good", "model.wrong_token=bad"], "label token"),
        (["encoder.max_tokens=2"], "nothing to train on.*too_long"),
        (["dev_share=0.0001"], "no problem fell to the dev part"),
        (["learning_rate=1e20", "steps=40"], "learning_rate"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_prm(tmp_path: Path, labels: Path, words: list[str], message: str) -> None:
    job = job_of(labels, tmp_path / "prm", *QUICK, "save_every_s=60", *words)
    with pytest.raises(UserError, match=message) as error:
        train_prm_folder(job)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "prm").exists()
    # Corrected settings are taken where nothing was computed yet.
    assert train_prm_folder(replace(job, settings=settings_from(PrmSettings, [*QUICK, "steps=1"]))) is not None


def test_an_implicit_prm_is_trained_and_scored_by_its_folder_alone(tmp_path: Path, labels: Path) -> None:
    words = [*QUICK, "model.form=implicit", "target=outcome"]
    report = trained(job_of(labels, tmp_path / "prm", *words))
    assert report.loaded.config.model.form == "implicit"
    scorer = load_scorer(str(tmp_path / "prm"))
    item = corrupted(1)[0]
    assert scorer.score(item.problem, item.steps).scores == pytest.approx(
        scorer_of(report.loaded).score(item.problem, item.steps).scores, abs=1e-6
    )
    # It has moved away from its reference: neither step is at the even odds of an untrained one.
    assert all(abs(score - 0.5) > 1e-4 for score in scorer.score(item.problem, item.steps).scores)
