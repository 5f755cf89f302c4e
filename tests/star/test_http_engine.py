"""The http engine against a real server on the loopback interface that misbehaves as told."""

from __future__ import annotations

import gc
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from data.errors import EngineError, UserError
from data.records import FinishReason
from star import load_generator
from star.generation import Completion, Request, SamplingParams
from star.generation.http_engine import HttpGenerator

pytest.importorskip("httpx")

KEY = "sk-planted-7f3a"
PATIENCE = 60.0
"""After so many seconds a test that waits for something has failed."""
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]] | bytes | None
"""Status and JSON, maybe with headers; or raw bytes after which the connection is cut; or None: cut at once."""


class Server(ThreadingHTTPServer):
    """Answers each POST by `script(body, n)`, where n counts how often this very prompt was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: Callable[[dict[str, Any], int], Reply], owned_by: str) -> None:
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

    def times_asked(self, prompt: str) -> int:
        return sum(prompt_of(body) == prompt for body in self.bodies)


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
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            asked = server.times_asked(prompt_of(body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            reply = server.script(body, asked)
        finally:
            with server.lock:
                server.at_once -= 1
        if isinstance(reply, bytes | None):
            self.wfile.write(reply or b"")
            self.close_connection = True
            return
        self._send(reply[0], reply[1], reply[2] if len(reply) > 2 else {})

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"] if "messages" in body else body["prompt"])


def good(text: str | None, reason: str = "stop", **extra: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason, **extra}]}


def echo(body: dict[str, Any], asked: int) -> Reply:
    return 200, good(prompt_of(body).upper())


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setattr("star.generation.http_engine._FIRST_WAIT", 0.01)
    monkeypatch.setenv("STEPSTAR_API_KEY", KEY)
    running: list[Server] = []

    def start(script: Callable[[dict[str, Any], int], Reply] = echo, owned_by: str = "vllm") -> Server:
        running.append(Server(script, owned_by))
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def ask(server: Server, prompts: list[str], *, batch_size: int = 4, **options: Any) -> list[Completion]:
    requests = [Request(id=f"r{place}", prompt=text, seed=place) for place, text in enumerate(prompts)]
    generator = load_generator("m", engine="http", batch_size=batch_size, base_url=server.url, **options)
    with closing(generator):
        return list(generator.generate(requests))


def test_answers_come_in_order_although_the_server_shuffles_them(serve: Callable[..., Server]) -> None:
    def slowest_first(body: dict[str, Any], asked: int) -> Reply:
        time.sleep(0.002 * (40 - int(prompt_of(body)[1:])))
        return echo(body, asked)

    server = serve(slowest_first)
    rows = ask(server, [f"p{place}" for place in range(40)], batch_size=8)
    assert [row.text for row in rows] == [f"P{place}" for place in range(40)]
    assert [row.request_id for row in rows] == [f"r{place}" for place in range(40)]
    assert 2 <= server.most_at_once <= 8


def test_requests_are_drawn_only_as_fast_as_answers_are_taken(serve: Callable[..., Server]) -> None:
    drawn = 0

    def stream() -> Iterator[Request]:
        nonlocal drawn
        while True:
            drawn += 1
            yield Request(id=str(drawn), prompt="p", seed=0)

    generator = load_generator("m", engine="http", batch_size=3, base_url=serve().url)
    with closing(generator):
        answers = generator.generate(stream())
        for _ in range(20):
            next(answers)
        assert drawn <= 20 + 4 * 3
        answers.close()  # type: ignore[attr-defined]


def test_every_setting_of_the_sample_is_sent(serve: Callable[..., Server]) -> None:
    server = serve()
    sampling = SamplingParams(temperature=0.7, top_p=0.9, top_k=5, max_tokens=17, stop=("\n\n",))
    request = Request(id="x", prompt="a", seed=(1 << 63) - 1, sampling=sampling)
    with closing(load_generator("m", engine="http", base_url=server.url)) as generator:
        list(generator.generate([request]))
    expected = {"model": "m", "seed": (1 << 63) - 1, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_tokens": 17}
    expected |= {"stop": ["\n\n"], "logprobs": True}
    assert expected.items() <= server.bodies[0].items()
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_vllm_is_told_to_leave_the_distribution_alone_and_others_are_not_confused(serve: Callable[..., Server]) -> None:
    vllm, other = serve(), serve(owned_by="openai")
    ask(vllm, ["a"])
    ask(other, ["a"], logprobs=False, endpoint="completions")
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
    assert neutral.items() <= vllm.bodies[0].items()
    assert set(other.bodies[0]) == {"model", "prompt", "seed", "temperature", "top_p", "max_tokens"}


def test_token_ids_and_logprobs_are_read_from_both_endpoints(serve: Callable[..., Server]) -> None:
    def script(body: dict[str, Any], asked: int) -> Reply:
        if "messages" in body:
            logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
            return 200, good("ab", token_ids=[7, 2], logprobs=logprobs)
        found = {"text": "ab", "finish_reason": "length", "token_ids": [7, 2]}
        return 200, {"choices": [found | {"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-0.5, -1.5]}}]}

    server = serve(script)
    for endpoint, reason in (("chat", FinishReason.STOP), ("completions", FinishReason.LENGTH)):
        (row,) = ask(server, ["a"], endpoint=endpoint)
        assert (row.text, row.token_ids, row.logprobs, row.finish_reason) == ("ab", (7, 2), (-0.5, -1.5), reason)
    assert "messages" not in server.bodies[1]


@pytest.mark.parametrize(
    ("found", "count"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 5}}, 5),
        # A server that tells tokens is believed token by token.
        ({"choices": good("ab", token_ids=[7, 2])["choices"], "usage": {"completion_tokens": 5}}, 2),
        ({"choices": good("ab", logprobs={"content": [{"logprob": -0.5}] * 3})["choices"]}, 3),
        ({}, 0),
        ({"usage": None}, 0),
        ({"usage": {"completion_tokens": "5"}}, 0),
        ({"usage": {"completion_tokens": -5}}, 0),
    ],
)
def test_tokens_are_counted_though_the_server_tells_no_ids(
    serve: Callable[..., Server], found: dict[str, Any], count: int
) -> None:
    server = serve(lambda body, asked: (200, good("ab") | found))
    (row,) = ask(server, ["a"])
    assert (row.text, row.error, row.n_tokens) == ("ab", "", count)


def test_a_log_probability_that_is_no_number_is_an_error(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, asked: (200, good("a", logprobs={"content": [{"logprob": float("nan")}]})))
    (row,) = ask(server, ["a"])
    assert "token 0 is nan" in row.error


def test_an_empty_text_is_a_completion_and_not_an_error(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, asked: (200, good("" if prompt_of(body) == "a" else None, "length")))
    for row in ask(server, ["a", "b"]):
        assert (row.text, row.finish_reason, row.error) == ("", FinishReason.LENGTH, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "no list of choices"),
        ([], "no list of choices"),
        ({"choices": []}, "0 choices"),
        ({"choices": good("a")["choices"] * 2}, "2 choices"),
        (good("a", "content_filter"), "content_filter"),
        (good("a", None), "None"),  # type: ignore[arg-type]
        ({"choices": [{"finish_reason": "stop"}]}, "text"),
        ({"choices": [None]}, "not understood"),
        ({"choices": [{"text": 3, "finish_reason": "stop"}]}, "type int"),
        (good("a", token_ids=[1, 2], logprobs={"content": [{"logprob": -1.0}]}), "2 tokens but 1"),
    ],
)
def test_an_answer_that_is_not_understood_is_an_error_and_not_asked_again(
    serve: Callable[..., Server], answer: Any, said: str
) -> None:
    server = serve(lambda body, asked: (200, answer))
    (row,) = ask(server, ["a"])
    assert row.finish_reason is FinishReason.ERROR
    assert said in row.error
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "setback",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": {"message": "boom"}}),
        (503, b"<html>busy</html>"),
        (200, b'{"choices": [{"text": "cut'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        None,
    ],
)
def test_a_passing_setback_is_tried_again_and_gives_one_completion(
    serve: Callable[..., Server], setback: Reply
) -> None:
    server = serve(lambda body, asked: setback if asked < 3 else echo(body, asked))
    rows = ask(server, ["a", "b"])
    assert [(row.text, row.error) for row in rows] == [("A", ""), ("B", "")]
    assert server.times_asked("a") == server.times_asked("b") == 3


def test_a_retry_waits_as_long_as_the_server_asks_and_longer_than_a_stall(serve: Callable[..., Server]) -> None:
    seen: dict[int, list[float]] = {429: [], 503: []}

    def refusing(status: int) -> Callable[[dict[str, Any], int], Reply]:
        def script(body: dict[str, Any], asked: int) -> Reply:
            if prompt_of(body) != "a":
                return status, {}, {"Retry-After": "4"}
            seen[status].append(time.monotonic())
            return (status, {}, {"Retry-After": "4"}) if asked == 1 else echo(body, asked)

        return script

    with ThreadPoolExecutor(2) as threads:
        for (row,) in threads.map(lambda status: ask(serve(refusing(status)), ["a"], stall_s=3.0), seen):
            assert row.text == "A"
    assert all(second - first >= 4.0 for first, second in seen.values())


def test_a_server_that_asks_for_hours_is_not_waited_for(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, asked: (429, {"error": {"message": "quota"}}, {"Retry-After": "7200"}))
    (row,) = ask(server, ["a"])
    assert "7200 s" in row.error
    assert len(server.bodies) == 1


def test_a_sample_that_the_server_chokes_on_is_an_error_beside_good_ones(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, asked: (500, {"error": "poison"}) if prompt_of(body) == "p" else echo(body, asked))
    first, poisoned, last = ask(server, ["a", "p", "b"], tries=3)
    assert (first.text, last.text) == ("A", "B")
    assert "poison" in poisoned.error
    assert "3 tries" in poisoned.error
    assert server.times_asked("p") == 3


def test_a_refused_sample_is_an_error_and_never_asked_again(serve: Callable[..., Server]) -> None:
    said = {"error": {"message": "maximum context length is 512 tokens"}}
    server = serve(lambda body, asked: (400, said) if prompt_of(body) == "p" else echo(body, asked))
    refused, fine = ask(server, ["p", "b"])
    assert "HTTP 400: maximum context length" in refused.error
    assert fine.text == "B"
    assert server.times_asked("p") == 1


@pytest.mark.parametrize(
    ("status", "said", "cure"),
    [
        (401, f"Incorrect API key provided: {KEY}", "STEPSTAR_API_KEY"),
        (403, "no", "STEPSTAR_API_KEY"),
        (404, "The model `m` does not exist", "base_url"),
        (308, "moved", "base_url"),
        (400, "default chat template is no longer allowed", "endpoint: completions"),
    ],
)
def test_what_only_the_user_can_mend_stops_at_once_with_the_cure(
    serve: Callable[..., Server], status: int, said: str, cure: str
) -> None:
    server = serve(lambda body, asked: (status, {"error": {"message": said}}, {"Location": "/elsewhere"}))
    with pytest.raises(UserError, match=cure) as caught:
        ask(server, ["a"])
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)


def test_a_lone_surrogate_in_a_problem_reaches_the_server_and_does_not_crash(serve: Callable[..., Server]) -> None:
    server = serve(lambda body, asked: (400, {"error": {"message": "bad unicode"}}))
    (row,) = ask(server, ["\ud800"])
    assert "bad unicode" in row.error
    assert server.times_asked("\ud800") == 1


def test_a_server_that_is_gone_is_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("star.generation.http_engine._FIRST_WAIT", 0.01)
    # Bound, so that nobody else gets the port, and nobody listens.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        generator = load_generator("m", engine="http", base_url=url, server="vllm", tries=3)
        with closing(generator), pytest.raises(EngineError, match="after 3 tries") as caught:
            list(generator.generate([Request(id="x", prompt="a", seed=0)]))
    assert caught.value.retryable


def test_a_server_that_dies_midway_is_an_engine_error_after_the_answers_before_it(
    serve: Callable[..., Server],
) -> None:
    alive = {f"p{place}" for place in range(5)}
    server = serve(lambda body, asked: echo(body, asked) if prompt_of(body) in alive else None)
    generator = load_generator("m", engine="http", batch_size=1, base_url=server.url, tries=3)
    with closing(generator):
        answers = generator.generate(Request(id=str(i), prompt=f"p{i}", seed=0) for i in range(9))
        assert {next(answers).text for _ in range(5)} == {text.upper() for text in alive}
        with pytest.raises(EngineError, match="after 3 tries"):
            next(answers)


def test_a_server_that_hangs_with_a_healthy_endpoint_is_found_dead_by_lack_of_progress(
    serve: Callable[..., Server],
) -> None:
    released = threading.Event()

    def hang(body: dict[str, Any], asked: int) -> Reply:
        if prompt_of(body) != "p0":
            released.wait(PATIENCE)
        return echo(body, asked)

    generator = load_generator("m", engine="http", base_url=serve(hang).url)
    assert isinstance(generator, HttpGenerator)
    with closing(generator):
        answers = generator.generate(Request(id=str(i), prompt=f"p{i}", seed=0) for i in range(5))
        assert next(answers).text == "P0"
        generator.config = generator.config.model_copy(update={"stall_s": 0.6})
        with pytest.raises(EngineError, match="answered nothing for"):
            next(answers)
    released.set()


def test_a_long_sample_is_waited_for_while_the_engine_still_gives_single_tokens(serve: Callable[..., Server]) -> None:
    def slow(body: dict[str, Any], asked: int) -> Reply:
        if body["max_tokens"] > 1:
            time.sleep(4.0)
        return echo(body, asked)

    server = serve(slow)
    (row,) = ask(server, ["a"], stall_s=3.0)
    assert row.text == "A"
    assert server.times_asked("a") == 1


def test_a_caller_that_is_busy_is_not_taken_for_a_dead_server(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + busy_s)
    monkeypatch.setattr("star.generation.http_engine.time", clock)

    def slow(body: dict[str, Any], asked: int) -> Reply:
        time.sleep(0.1)
        return echo(body, asked)

    generator = load_generator("m", engine="http", batch_size=1, base_url=serve(slow).url, stall_s=PATIENCE)
    with closing(generator):
        for _ in range(2):
            (row,) = generator.generate([Request(id="x", prompt="a", seed=0)])
            assert row.text == "A"
            busy_s += 2 * PATIENCE


def test_an_answer_that_never_ends_is_cut_off_and_tried_again(serve: Callable[..., Server]) -> None:
    asked_again = threading.Event()

    def drip(body: dict[str, Any], asked: int) -> Reply:
        if asked == 1:
            asked_again.wait(PATIENCE)
        asked_again.set()
        return echo(body, asked)

    server = serve(drip)
    (row,) = ask(server, ["a"], timeout_s=2.0)
    assert row.text == "A"
    assert server.times_asked("a") == 2


def test_the_key_is_in_no_log_error_text_or_repr(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def leak(body: dict[str, Any], asked: int) -> Reply:
        if prompt_of(body) == "boom":
            return 500, {"error": {"message": f"cannot use {KEY}"}}
        return 400, f"you sent Bearer {KEY}".encode()

    caplog.set_level(logging.DEBUG)
    server = serve(leak)
    rows = ask(server, ["a"])
    generator = load_generator("m", engine="http", base_url=server.url, tries=2, server="vllm")
    with closing(generator), pytest.raises(EngineError) as caught:
        list(generator.generate([Request(id="x", prompt="boom", seed=0)]))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "***" in rows[0].error
    assert "***" in str(caught.value)
    shown = [caplog.text, *capfd.readouterr(), repr(rows), repr(caught.value), repr(generator), repr(vars(generator))]
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize("key", ["sk-p\nX-Evil: 1", "sk-pläin"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("STEPSTAR_API_KEY", key)
    with pytest.raises(UserError, match="STEPSTAR_API_KEY") as caught:
        load_generator("m", engine="http", base_url="http://127.0.0.1:1/v1")
    assert "sk-p" not in str(caught.value)


def test_the_own_key_goes_before_openais_and_none_is_needed(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    ask(server, ["a"])
    monkeypatch.delenv("STEPSTAR_API_KEY")
    ask(server, ["a"])
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(server, ["a"])
    assert [head.get("Authorization") for head in server.headers] == [f"Bearer {KEY}", "Bearer sk-other", None]


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://h/v1", "http://", "http://me:sk-p@h/v1", "http://h/v1?x=1"]
)
def test_a_base_url_that_cannot_be_used_is_named_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UserError, match="base_url") as caught:
        load_generator("m", engine="http", base_url=url)
    assert "sk-p" not in str(caught.value)


def test_closing_twice_and_closing_amid_work_end_the_thread(serve: Callable[..., Server]) -> None:
    released = threading.Event()

    def hang(body: dict[str, Any], asked: int) -> Reply:
        released.wait(PATIENCE)
        return echo(body, asked)

    generator = load_generator("m", engine="http", base_url=serve(hang).url)
    assert isinstance(generator, HttpGenerator)
    running = generator._start(generator._complete(Request(id="x", prompt="a", seed=0)))
    generator.close()
    generator.close()
    released.set()
    assert running.cancelled()
    assert not generator._thread.is_alive()


def test_closing_while_connections_are_begun_leaves_no_coroutine_unawaited(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left.append(str(unraisable.exc_value)))
    url = serve(echo).url
    for delay_ms in range(10):
        generator = load_generator("m", engine="http", base_url=url, server="openai")
        assert isinstance(generator, HttpGenerator)
        for n in range(32):
            generator._start(generator._complete(Request(id=str(n), prompt="a", seed=0)))
        time.sleep(delay_ms / 1000)
        generator.close()
    gc.collect()
    assert left == []
