"""`stepstar ppo`: from a file of problems to a policy, resumed, not done twice, and bad input in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.errors import UserError
from data.model_folder import weights_revision
from data.sources.arithmetic import read_arithmetic
from pipelines.cli import app
from pipelines.ppo.training import PpoJob, PpoSettings, train_ppo_folder
from pipelines.recipe import EngineConfig, SourceConfig
from star import load_generator
from star.generation.base import Request, SamplingParams
from star.ppo.trainer import PpoTrainer
from star.ranks import Ranks

without_vllm = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
SETTINGS = [
    "prompt=arithmetic",
    "iterations=2",
    "problems_per_iteration=4",
    "samples_per_problem=2",
    "epochs=1",
    "lora_rank=2",
    "learning_rate=1e-3",
    "critic_warmup=0",
    "sampling.max_tokens=40",
    "threads=1",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"question": row.prompt, "gold": row.answer} for row in read_arithmetic({"n": 10, "difficulty": [2]})]
    path = tmp_path_factory.mktemp("problems") / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(file: Path, out: Path, *more: str) -> list[str]:
    columns = ["--column", "prompt=question", "--column", "answer=gold"]
    return ["ppo", "embedded", "--problems", str(file), *columns, "--out", str(out), *SETTINGS, *more]


@pytest.fixture(scope="module")
def finished(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("out") / "policy"
    result = CliRunner().invoke(app, words(file, out), catch_exceptions=False)
    assert result.exit_code == 0
    return out, result.stdout


def test_the_policy_is_a_checkpoint_with_what_was_done_beside_it(finished: tuple[Path, str]) -> None:
    out, said = finished
    record = json.loads((out / "ppo.json").read_text())
    assert record["iterations"] == len(record["history"]) == 2
    assert record["settings"]["lora_rank"] == 2
    assert f"{record['first_accuracy']:.1%} -> {record['best_accuracy']:.1%}" in said
    assert record["best_accuracy"] >= record["first_accuracy"]
    generator = load_generator(str(out))
    request = Request(id="one", prompt="12+3=?\n", seed=0, sampling=SamplingParams(temperature=0.0, max_tokens=20))
    assert [answer.text for answer in generator.generate([request])] != [""]
    assert not out.with_name("policy.training").exists()


def test_two_processes_of_torchrun_train_the_same_and_print_once(
    file: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "pipelines.cli",
    ]
    done = subprocess.run(
        [*launch, *words(file, tmp_path / "policy")],
        capture_output=True, text=True, check=False, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace(str(tmp_path / "policy"), "OUT") == finished[1].replace(str(finished[0]), "OUT")
    one, two = (json.loads((folder / "ppo.json").read_text()) for folder in (finished[0], tmp_path / "policy"))
    assert two["history"] == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in one["history"]]
    assert (two["best_accuracy"], two["left_out"]) == (one["best_accuracy"], one["left_out"])


def test_a_server_of_its_own_for_each_process_is_refused(tmp_path: Path) -> None:
    settings = PpoSettings(engine=EngineConfig(type="vllm"))
    job = PpoJob(model="embedded", problems=SourceConfig(source="arithmetic"), scorer="symbolic",
                 out=tmp_path / "policy", settings=settings)  # fmt: skip
    with pytest.raises(UserError, match="its own copy of the policy"):
        train_ppo_folder(job, Ranks(0, 2))


def test_what_is_there_is_not_trained_again_and_another_training_does_not_replace_it(
    file: Path, finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(PpoTrainer, "run", train)
    again = CliRunner().invoke(app, words(file, finished[0]), catch_exceptions=False)
    assert "trained already" in again.stdout
    with pytest.raises(UserError, match="another training"):
        CliRunner().invoke(app, words(file, finished[0], "epochs=2"), catch_exceptions=False)


def test_a_folder_of_something_else_is_refused_before_the_training_not_after_it(file: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no checkpoint of stepstar"):
        CliRunner().invoke(app, words(file, tmp_path, "--fresh"), catch_exceptions=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    assert not tmp_path.with_name(f"{tmp_path.name}.training").exists()


def test_a_command_that_was_stopped_goes_on_to_the_same_weights(
    file: Path, finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    whole = PpoTrainer._iterate

    def stop(self: PpoTrainer, iteration: int) -> object:
        if iteration == 1:
            raise Stopped
        return whole(self, iteration)

    out = tmp_path / "policy"
    with monkeypatch.context() as patch:
        patch.setattr(PpoTrainer, "_iterate", stop)
        with pytest.raises(Stopped):
            CliRunner().invoke(app, words(file, out), catch_exceptions=False)
    assert not out.exists()
    CliRunner().invoke(app, words(file, out), catch_exceptions=False)
    assert weights_revision(out) == weights_revision(finished[0])
    shutil.rmtree(out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["sampling.top_p=0.9"], "truncated distribution"),
        (["sampling.top_k=5"], "truncated distribution"),
        (["outcome_weight=0"], "learns to please the PRM"),
        (["learning_rat=1"], "Did you mean 'learning_rate'"),
        (["--scorer", "no/such/folder"], "no/such/folder"),
        (["--limit", "3", "heldout_share=0.99"], "PPO needs problems to train on"),
        (["engine.type=http"], "cannot be given the policy's weights"),
        pytest.param(["engine.type=vllm"], "stepstar[vllm", marks=without_vllm),
    ],
)
def test_bad_input_is_one_line_before_anything_is_spent(file: Path, tmp_path: Path, more: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        CliRunner().invoke(app, words(file, tmp_path / "policy", *more), catch_exceptions=False)
    assert said in f"{error.value.problem} {error.value.cure}"
    assert not (tmp_path / "policy").exists()
