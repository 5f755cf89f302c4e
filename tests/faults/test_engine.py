"""A server that freezes or dies under an evaluation: found out, named, and nothing that was finished is drawn again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.errors import EngineError
from data.store import sha256_of
from pipelines.evaluation.settings import BenchmarkConfig, EvalConfig, config_from
from pipelines.evaluation.stage import evaluate_model
from pipelines.recipe import parse_recipe
from pipelines.run import run_recipe
from tests.ports import held_port

pytest.importorskip("httpx")

Start = Callable[[int, str], subprocess.Popen[str]]
N = 12
SHARD = 4


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as port:
        yield port


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(at: int, name: str) -> subprocess.Popen[str]:
        script = str(Path(__file__).with_name("dying_server.py"))
        line = [sys.executable, script, str(port), str(at), name, str(tmp_path / "asked.log")]
        running.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout
        assert running[-1].stdout.readline() == "ready\n"
        return running[-1]

    yield begin
    for server in running:
        server.kill()
        server.communicate()


def settings(port: int) -> EvalConfig:
    benchmark = BenchmarkConfig(name="arithmetic", source="arithmetic", options={"n": N, "difficulty": [3]})
    server = f"engine.options={{base_url: 'http://127.0.0.1:{port}/v1', stall_s: 3.0, tries: 2, server: vllm}}"
    return config_from("m", "http", [benchmark], {}, [server, f"shard_size={SHARD}", "engine.batch_size=1"])


def shards(folder: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in (folder / "records/rationales").glob("*.parquet")}


@pytest.mark.parametrize(("name", "said"), [("SIGSTOP", "answered nothing for"), ("SIGKILL", "after 2 tries")])
def test_a_server_that_freezes_or_dies_midway_is_named_and_costs_no_finished_shard(
    tmp_path: Path, port: int, start: Start, name: str, said: str
) -> None:
    server = start(SHARD + 2, name)
    with pytest.raises(EngineError, match=said) as caught:
        evaluate_model(settings(port), tmp_path / "eval")
    assert caught.value.retryable
    before = shards(tmp_path / "eval")
    assert len(before) == 1
    if name == "SIGSTOP":
        server.send_signal(signal.SIGCONT)
    else:
        start(0, "SIGKILL")
    (tmp_path / "asked.log").unlink()
    evaluate_model(settings(port), tmp_path / "eval")
    after = shards(tmp_path / "eval")
    assert len(after) == N // SHARD
    assert before.items() <= after.items()
    # A frozen one may answer what the first attempt still had in flight.
    asked = len((tmp_path / "asked.log").read_text().splitlines())
    assert N - SHARD <= asked < N
    evaluate_model(settings(port), tmp_path / "again")
    assert shards(tmp_path / "again") == after


def test_a_run_on_a_server_goes_on_and_asks_for_nothing_twice(start: Start, port: int, tmp_path: Path) -> None:
    start(0, "SIGKILL")
    (tmp_path / "problems.jsonl").write_text('{"prompt": "2+3=?", "answer": "5"}\n{"prompt": "0+7=?", "answer": "7"}\n')
    content = {
        "name": "served",
        "model": {"name": "m"},
        "problems": {"source": "local", "path": str(tmp_path / "problems.jsonl")},
        "evaluation": {"source": "arithmetic", "split": "test", "options": {"n": 2, "difficulty": [1]}},
        "prompt": "arithmetic",
        "engine": {"type": "http", "options": {"base_url": f"http://127.0.0.1:{port}/v1", "server": "vllm"}},
        "rationalization": {"enabled": False},
        "sft": {"enabled": False},
        "rounds": 1,
    }
    recipe = parse_recipe(content, where="recipe")
    run_recipe(recipe, tmp_path / "run")
    asked = (tmp_path / "asked.log").read_text()
    run = run_recipe(recipe, tmp_path / "run")
    assert (tmp_path / "asked.log").read_text() == asked
    assert run.manifest["notes"]["dataset_rows"] == 1
