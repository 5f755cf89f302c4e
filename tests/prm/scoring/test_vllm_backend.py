"""The vllm backend gives the scores of the transformers backend; what vLLM cannot load is refused before it starts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from data.errors import EngineError, UserError
from prm import load_scorer
from prm.model_config import ModelForm
from prm.scoring.base import ScoreItem
from tests.prm.scoring.checkpoints import (
    PROBLEM,
    STEPS,
    own_checkpoint,
    qwen_checkpoint,
    rlhflow_checkpoint,
    shepherd_checkpoint,
    skywork_checkpoint,
)

pytest.importorskip("vllm")
# vLLM's own imports and processes warn.
pytestmark = pytest.mark.filterwarnings("default")

SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 16}


CHECKPOINTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "own head": ("stepstar", own_checkpoint(ModelForm())),
    "own tokens": ("stepstar", own_checkpoint(ModelForm(form="tokens"))),
    "qwen": ("qwen_prm", qwen_checkpoint),
    "shepherd": ("math_shepherd", shepherd_checkpoint),
    "rlhflow": ("rlhflow_prm", rlhflow_checkpoint),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_scores_are_those_of_the_transformers_backend(tmp_path: Path, name: str) -> None:
    layout, make = CHECKPOINTS[name]
    folder = tmp_path / "prm"
    make(folder)
    items = [ScoreItem(problem, STEPS[:n], f"{problem} {n}") for problem in (PROBLEM, "1+2=?") for n in (1, 2, 3)]
    items.insert(2, ScoreItem(PROBLEM, ()))
    counts: Counter[str] = Counter()
    with closing(load_scorer(str(folder), "vllm", layout=layout, options=SMALL)) as scorer:  # type: ignore[arg-type]
        found = scorer.score_batch(items, counts)
        assert scorer.score_batch([]) == []
    expected = load_scorer(str(folder), layout=layout, dtype="float32").score_batch(items)  # type: ignore[arg-type]
    assert counts == {"encoded": 6, "zero_steps": 1}
    for one, other in zip(found, expected, strict=True):
        assert (one.rationale_id, one.revision) == (other.rationale_id, other.revision)
        assert one.scores == pytest.approx(other.scores, abs=1e-3)
    assert len({score for one in found for score in one.scores}) > 3


def test_a_killed_engine_is_an_error_and_no_wait(tmp_path: Path) -> None:
    own_checkpoint(ModelForm())(tmp_path / "prm")
    scorer = load_scorer(str(tmp_path / "prm"), "vllm", options=SMALL)
    with closing(scorer):
        for process in scorer._processes:  # type: ignore[attr-defined]
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineError):
            scorer.score("1+2=?", ["1+2=3"])


def test_what_vllm_cannot_do_is_refused_before_it_starts(tmp_path: Path) -> None:
    skywork_checkpoint(tmp_path)
    for layout in ("skywork_prm", "implicit_prm"):
        with pytest.raises(UserError, match="transformers"):
            load_scorer(str(tmp_path), "vllm", layout=layout)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="backend option 'surprise'"):
        load_scorer(str(tmp_path), "vllm", layout="math_shepherd", options={"surprise": 1})


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """vLLM's own server on a model; its address."""
    import httpx

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += f"--served-model-name prm --host 127.0.0.1 --port {port} --dtype float32 --enforce-eager".split()
    command += ["--kv-cache-memory-bytes", "268435456", *arguments]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


POOLER = ("--runner", "pooling", "--convert", "embed", "--pooler-config", '{"task": "token_embed"}')


@pytest.mark.parametrize(("form", "arguments"), [("tokens", ()), ("head", POOLER)])
def test_the_http_backend_gives_the_same_scores_from_vllms_own_server(
    tmp_path: Path, form: str, arguments: tuple[str, ...]
) -> None:
    own_checkpoint(ModelForm(form=form))(tmp_path / "prm")  # type: ignore[arg-type]
    shutil.copytree(tmp_path / "prm", tmp_path / "served", ignore=shutil.ignore_patterns("step_head*", "prm.json"))
    items = [ScoreItem(problem, STEPS[:n]) for problem in (PROBLEM, "1+2=?") for n in (1, 2, 3)]
    with served(tmp_path / "served", *arguments) as url:
        options = {"base_url": url, "model": "prm", "concurrency": 3}
        with closing(load_scorer(str(tmp_path / "prm"), "http", options=options)) as scorer:
            found = scorer.score_batch(items)
    for one, other in zip(found, load_scorer(str(tmp_path / "prm")).score_batch(items), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-3)
