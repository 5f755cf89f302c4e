"""`export --push` against a hub on the loopback interface: every file arrives, old ones go, refusals are one line."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data.errors import UserError
from pipelines.cli import app
from pipelines.curation.push import check_push, push_export
from tests.pipelines.stored_run import stored_run


class Hub(ThreadingHTTPServer):
    """The few endpoints that an upload asks, of one data set that holds a file of an earlier export."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"data/old.parquet": b"old"}
        self.made: dict[str, Any] = {}
        self.refusal = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, body: bytes) -> Any:
        if path == "/api/repos/create":
            self.made = json.loads(body)
            return {"url": f"{self.url}/datasets/me/sums", "name": "me/sums"}
        if path.startswith("/api/validate-yaml"):
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            wanted = json.loads(body)["files"]
            return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in wanted]}
        if "/commit/" in path:
            for line in body.splitlines():
                self.commit(json.loads(line))
            return {"commitUrl": f"{self.url}/datasets/me/sums/commit/{'a' * 40}", "commitOid": "a" * 40}
        return {"id": "me/sums", "sha": "a" * 40, "siblings": [{"rfilename": name} for name in self.files]}

    def commit(self, entry: dict[str, Any]) -> None:
        value = entry["value"]
        if entry["key"] == "file":
            self.files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "deletedFile":
            del self.files[value["path"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            tree = [{"type": "file", "path": name, "size": 1, "oid": "b" * 40} for name in self.server.files]
            return self.reply(200, tree)
        return self.reply(200, self.server.answer(self.path, b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusal:
            return self.reply(self.server.refusal, {"error": "Invalid username or password."})
        return self.reply(200, self.server.answer(self.path, body))

    def reply(self, status: int, answer: Any) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


def test_an_export_is_on_the_hub_byte_for_byte_and_private_and_nothing_else_is(hub: Hub, tmp_path: Path) -> None:
    run, out = stored_run(tmp_path / "run"), tmp_path / "out"
    line = ["export", str(run.root), "--format", "verl", "--out", str(out), "--push", "me/sums"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert f"{hub.url}/datasets/me/sums/commit/" in done.output
    local = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert hub.files == local
    assert hub.made["visibility"] == "private"
    assert (hub.made["type"], hub.made["organization"], hub.made["name"]) == ("dataset", "me", "sums")


def test_a_refusal_and_a_hub_out_of_reach_are_one_line_with_the_way_out(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    hub.refusal = 401
    with pytest.raises(UserError, match="cannot push to 'me/sums'") as caught:
        push_export(tmp_path, "me/sums")
    assert "\n" not in str(caught.value)
    assert "hf_planted" not in str(caught.value)
    assert f"hf upload me/sums {tmp_path}" in caught.value.cure
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match="cannot push to 'me/sums'") as caught:
        push_export(tmp_path, "me/sums")
    assert "\n" not in str(caught.value)


def test_a_bad_name_and_a_missing_token_are_told_before_anything_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token for the hub"):
        check_push("me/sums")
    line = ["export", str(tmp_path), "--format", "messages", "--out", str(tmp_path / "out"), "--push", "datasets/a/b"]
    done = CliRunner().invoke(app, line)
    assert isinstance(done.exception, UserError)
    assert "no name of a repository" in done.exception.problem
    assert not (tmp_path / "out").exists()
