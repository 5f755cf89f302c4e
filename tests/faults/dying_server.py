"""An OpenAI-compatible server that sends itself a signal when it is asked for the n-th time (n = 0: never).

    python dying_server.py PORT N SIGNAL LOG

It answers every prompt by its last number, and writes a line for each to LOG.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "m", "owned_by": "vllm"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.asked += 1
        if Handler.asked == int(sys.argv[2]):
            os.kill(os.getpid(), signal.Signals[sys.argv[3]])
        with Path(sys.argv[4]).open("a") as log:
            print(Handler.asked, file=log)
        prompt = body.get("prompt") or body["messages"][0]["content"]
        text = f"#### {re.findall(r'[0-9]+', prompt)[-1]}"
        self.reply({"choices": [{"text": text, "message": {"content": text}, "finish_reason": "stop"}]})

    def reply(self, answer: Any) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
        # One connection at a time: the next one may be of the attempt after this.
        self.close_connection = True


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
