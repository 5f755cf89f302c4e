"""The http backend against a server on the loopback interface that runs the model, or misbehaves as told."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import EngineError, UserError
from prm import load_scorer
from prm.model import LoadedPrm, load_prm
from prm.model_config import ModelForm
from prm.scoring.base import ScoreItem, Scorer
from prm.scoring.published import PUBLISHED, load_published
from tests.prm.scoring.checkpoints import (
    PROBLEM,
    STEPS,
    own_checkpoint,
    qwen_checkpoint,
    rlhflow_checkpoint,
    shepherd_checkpoint,
)

pytest.importorskip("httpx")

KEY = "sk-planted-9c1d"
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]] | None
"""Status and JSON, maybe with headers; None: the connection is cut."""
Script = Callable[[str, dict[str, Any], int], Reply]


class Server(ThreadingHTTPServer):
    """Answers each POST by `script(path, body, n)`, where n counts the requests before it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: Script, owned_by: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.owned_by = script, owned_by
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "m", "owned_by": self.server.owned_by}]}, {})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            asked = len(server.bodies)
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            reply = server.script(self.path, body, asked)
        finally:
            with server.lock:
                server.at_once -= 1
        if reply is None:
            self.close_connection = True
            return
        self._send(reply[0], reply[1], reply[2] if len(reply) > 2 else {})

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


@torch.inference_mode()
def completions(loaded: LoadedPrm, body: dict[str, Any]) -> Any:
    """What vLLM, or another server, answers to `/completions` of one token."""
    choices = []
    for index, ids in enumerate(body["prompt"]):
        logprobs = loaded.model.network(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        if "logprob_token_ids" in body:
            top = {f"token_id:{one}": logprobs[one].item() for one in body["logprob_token_ids"]}
        else:
            best = logprobs.topk(body["logprobs"])
            top = {
                loaded.tokenizer.decode([one]): value
                for one, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            }
        choices.append({"index": index, "text": "?", "logprobs": {"top_logprobs": [top]}})
    return {"choices": choices[::-1]}


@torch.inference_mode()
def pooling(loaded: LoadedPrm, body: dict[str, Any]) -> Any:
    """What vLLM answers to `/pooling`: hidden states, or Qwen2.5-Math-PRM's logits at its step tokens."""
    (ids,) = body["input"]
    states = loaded.model.decoder(torch.tensor([ids])).last_hidden_state[0]
    if body["task"] == "token_classify":
        states = loaded.model.head(states)[torch.tensor(ids) == loaded.tokenizer.get_vocab()["<extra_0>"]]
    assert body["use_activation"] is False
    return {"data": [{"index": 0, "data": states.tolist()}]}


def running(loaded: LoadedPrm) -> Script:
    """A server that runs the model."""

    def script(path: str, body: dict[str, Any], asked: int) -> Reply:
        if path == "/v1/completions":
            return 200, completions(loaded, body)
        return (200, pooling(loaded, body)) if path == "/pooling" else (404, {"message": "no such path"})

    return script


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    torch.set_num_threads(1)
    monkeypatch.setattr("prm.scoring.transport._FIRST_WAIT", 0.01)
    monkeypatch.setenv("STEPSTAR_API_KEY", KEY)
    servers: list[Server] = []

    def start(script: Script, owned_by: str = "vllm") -> Server:
        servers.append(Server(script, owned_by))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def connect(folder: Path, server: Server, layout: str = "auto", **options: Any) -> Any:
    options = {"base_url": server.url, "concurrency": 4} | options
    return closing(load_scorer(str(folder), "http", layout=layout, options=options))  # type: ignore[arg-type]


def shepherd(folder: Path) -> LoadedPrm:
    shepherd_checkpoint(folder)
    return load_published(PUBLISHED["math_shepherd"], str(folder), device="cpu", dtype="float32")


ITEMS = [ScoreItem(problem, STEPS[:n], f"{problem} {n}") for problem in (PROBLEM, "Why?") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        ("stepstar", own_checkpoint(ModelForm())),
        ("stepstar", own_checkpoint(ModelForm(form="tokens"))),
        ("qwen_prm", qwen_checkpoint),
        ("math_shepherd", shepherd_checkpoint),
        ("rlhflow_prm", rlhflow_checkpoint),
    ],
)
def test_scores_are_those_of_the_transformers_backend(
    tmp_path: Path, serve: Callable[..., Server], layout: str, make: Callable[[Path], object]
) -> None:
    folder = tmp_path / "prm"
    make(folder)
    local = load_scorer(str(folder), layout=layout)  # type: ignore[arg-type]
    server = serve(running(local.loaded))  # type: ignore[attr-defined]
    with connect(folder, server, layout) as scorer:
        found = scorer.score_batch(ITEMS)
    for one, other in zip(found, local.score_batch(ITEMS), strict=True):
        assert (one.rationale_id, one.revision) == (other.rationale_id, other.revision)
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert len({score for one in found for score in one.scores}) > 3
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert len(server.bodies) == len(ITEMS)


def test_another_server_must_name_the_labels_among_its_candidates(tmp_path: Path, serve: Callable[..., Server]) -> None:
    loaded = shepherd(tmp_path)
    local = load_scorer(str(tmp_path), layout="math_shepherd")
    counts: Counter[str] = Counter()
    with connect(tmp_path, serve(running(loaded), "someone"), "math_shepherd", top_logprobs=1) as scorer:
        assert scorer.score_batch(ITEMS[:1], counts)[0].scores == ()
    assert counts == {"encoded": 0, "label_not_named": 1}
    vocabulary = len(loaded.tokenizer)
    with connect(tmp_path, serve(running(loaded), "someone"), "math_shepherd", top_logprobs=vocabulary) as scorer:
        expected = local.score(PROBLEM, STEPS).scores
        assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("top", "score"),
    [
        ({"+": -1.0, "-": -1.0}, 0.5),
        ({"+": -0.001, "x": -9.0}, 1.0),  # What is not named is at most as likely as the last that is.
        ({"-": -0.001, "x": -9.0}, 0.0),
        ({"-": -9999.0, "+": -0.1}, 1.0),
        ({"+": -9999.0, "-": -0.1}, 0.0),
        ({"+": -0.5, "x": -1.0}, "label_not_named"),
        ({"x": -0.1}, "label_not_named"),
        ({}, "label_not_named"),
        ({"+": float("nan"), "-": -1.0}, "nan_score"),
        ({"+": "high", "-": -1.0}, "bad_answer"),
    ],
)
def test_candidates_are_read_strictly(
    tmp_path: Path, serve: Callable[..., Server], top: dict[str, Any], score: float | str
) -> None:
    rlhflow_checkpoint(tmp_path)
    answer = {"choices": [{"index": 0, "logprobs": {"top_logprobs": [top]}}]}
    with connect(tmp_path, serve(lambda *_: (200, answer), "x"), "rlhflow_prm") as scorer:
        if isinstance(score, float):
            assert scorer.score(PROBLEM, STEPS[:1]).scores == pytest.approx([score], abs=1e-3)
        else:
            with pytest.raises(UserError, match=score):
                scorer.score(PROBLEM, STEPS[:1])


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"choices": None},
        {"choices": []},
        {"choices": [{"index": 1, "logprobs": {"top_logprobs": [{"+": -1.0}]}}]},
        {"choices": [{"index": 0, "logprobs": None}]},
        {"choices": [{"index": 0, "logprobs": {"top_logprobs": []}}]},
        {"choices": [{"index": 0, "logprobs": {"top_logprobs": [None]}}]},
    ],
)
def test_an_answer_that_is_not_understood_gives_no_score(
    tmp_path: Path, serve: Callable[..., Server], answer: Any
) -> None:
    shepherd_checkpoint(tmp_path)
    counts: Counter[str] = Counter()
    with connect(tmp_path, serve(lambda *_: (200, answer)), "math_shepherd") as scorer:
        assert scorer.score_batch([ScoreItem(PROBLEM, STEPS[:1])], counts)[0].scores == ()
    assert +counts == {"bad_answer": 1}


@pytest.mark.parametrize("data", [None, [[1.0]], [[1.0] * 128], [["x"] * 128], [[float("nan")] * 128] * 60])
def test_a_pooling_that_does_not_fit_gives_no_score(tmp_path: Path, serve: Callable[..., Server], data: Any) -> None:
    own_checkpoint(ModelForm())(tmp_path / "prm")
    n_tokens = len(load_prm(str(tmp_path / "prm")).encoder.encode("1+2=?", ["1+2=3", "3"]).ids)
    rows = data[:n_tokens] if data else data
    counts: Counter[str] = Counter()
    with connect(tmp_path / "prm", serve(lambda *_: (200, {"data": [{"data": rows}]}))) as scorer:
        assert scorer.score_batch([ScoreItem("1+2=?", ("1+2=3", "3"))], counts)[0].scores == ()
    assert +counts in ({"bad_answer": 1}, {"nan_score": 1})


def test_setbacks_are_tried_again_and_refusals_are_not(tmp_path: Path, serve: Callable[..., Server]) -> None:
    loaded = shepherd(tmp_path)
    setbacks: list[Reply] = [(429, {}, {"Retry-After": "0"}), (500, {}), (503, {"error": {"message": "busy"}}), None]

    def rough(path: str, body: dict[str, Any], asked: int) -> Reply:
        return setbacks[asked] if asked < len(setbacks) else (200, completions(loaded, body))

    server = serve(rough)
    with connect(tmp_path, server, "math_shepherd") as scorer:
        expected = load_scorer(str(tmp_path), layout="math_shepherd").score(PROBLEM, STEPS).scores
        assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    assert len(server.bodies) == len(setbacks) + 1
    for status in (400, 413, 422):
        server = serve(lambda *_, status=status: (status, {"error": {"message": f"too long for {KEY}"}}))
        with connect(tmp_path, server, "math_shepherd") as scorer, pytest.raises(UserError, match="refused") as error:
            scorer.score(PROBLEM, STEPS)
        assert len(server.bodies) == 1
        assert KEY not in str(error.value)


def test_one_solution_that_the_server_chokes_on_costs_only_itself(tmp_path: Path, serve: Callable[..., Server]) -> None:
    loaded = shepherd(tmp_path)

    def choking(path: str, body: dict[str, Any], asked: int) -> Reply:
        return (500, {}) if len(body["prompt"]) == 2 else (200, completions(loaded, body))

    counts: Counter[str] = Counter()
    with connect(tmp_path, serve(choking), "math_shepherd", tries=2) as scorer:
        found = scorer.score_batch(ITEMS, counts)
    assert [len(one.scores) for one in found] == [1, 0, 3, 1, 0, 3]
    assert counts == {"encoded": 4, "server_error": 2}


def test_what_concerns_every_request_is_an_error(tmp_path: Path, serve: Callable[..., Server]) -> None:
    shepherd_checkpoint(tmp_path)
    for status, message in ((401, "refuses the key"), (403, "refuses the key"), (404, "not to be had")):
        server = serve(lambda *_, status=status: (status, {}))
        with connect(tmp_path, server, "math_shepherd") as scorer, pytest.raises(UserError, match=message):
            scorer.score_batch(ITEMS)
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        options = {"base_url": f"http://127.0.0.1:{unused.getsockname()[1]}/v1", "tries": 2, "server": "vllm"}
        scorer = load_scorer(str(tmp_path), "http", layout="math_shepherd", options=options)
        with closing(scorer), pytest.raises(EngineError):
            scorer.score_batch(ITEMS)


def test_requests_in_flight_are_bounded(tmp_path: Path, serve: Callable[..., Server]) -> None:
    loaded = shepherd(tmp_path)
    gate = threading.Barrier(3)

    def together(path: str, body: dict[str, Any], asked: int) -> Reply:
        gate.wait(timeout=60)  # Breaks, and fails the test, unless three requests are in flight.
        return 200, completions(loaded, body)

    server = serve(together)
    with connect(tmp_path, server, "math_shepherd", concurrency=3) as scorer:
        assert all(one.scores for one in scorer.score_batch(ITEMS))
    assert server.most_at_once == 3


def test_the_key_is_nowhere_but_in_the_header(
    tmp_path: Path, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = shepherd(tmp_path)
    caplog.set_level(logging.DEBUG)
    server = serve(running(loaded))
    with connect(tmp_path, server, "math_shepherd") as scorer:
        scorer.score(PROBLEM, STEPS)
        assert KEY not in caplog.text + repr(vars(scorer.server)) + json.dumps(server.bodies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "backend option 'base_url'"),
        ({"base_url": "localhost:8000"}, "no http"),
        ({"base_url": "http://me:secret@localhost/v1"}, "user or a password"),
        ({"base_url": "http://localhost/v1", "retries": 2}, "backend option 'retries'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    shepherd_checkpoint(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        load_scorer(str(tmp_path), "http", layout="math_shepherd", options=options)
    assert "secret" not in str(error.value)


def test_a_scorer_is_a_scorer(tmp_path: Path, serve: Callable[..., Server]) -> None:
    loaded = shepherd(tmp_path)
    with connect(tmp_path, serve(running(loaded)), "math_shepherd") as scorer:
        one: Scorer = scorer
        assert one.reading == PUBLISHED["math_shepherd"].config.reading
