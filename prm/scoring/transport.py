"""JSON over HTTP for scoring: a bounded number of requests in flight, patience where it helps, one answer a request.

429, 5xx, time-outs and broken connections are tried again with growing, jittered waits; any other 4xx never is, since
it would be refused again. A request that fails for good is one solution's failure; a server that never answered is the
engine's. Every text that leaves here has the key struck out.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr

from data.config import Config
from data.errors import DependencyError, EngineError, UserError
from data.remote import KEY_VARIABLES, api_key, check_url, error_text, retry_after
from data.sources.base import RowError

if TYPE_CHECKING:
    import httpx

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds; the server may ask for less or more, up to the longest."""


class TransportConfig(Config):
    """Where a server is and how patient to be."""

    base_url: str
    """Root of the API, e.g. `http://localhost:8000/v1`. Keys come from the environment, never from here."""
    concurrency: int = Field(default=16, ge=1)
    """Most requests in flight."""
    tries: int = Field(default=7, ge=1)
    """Most tries of one request."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for one answer, which arrives whole."""


class Server:
    """A server that is asked in JSON.

    Args:
        config: where it is.

    Raises:
        DependencyError: httpx is not installed.
        UserError: the base URL or the key cannot be used.
    """

    def __init__(self, config: TransportConfig) -> None:
        if find_spec("httpx") is None:
            raise DependencyError("httpx", "http")
        import httpx

        check_url(config.base_url)
        self.config, self.url = config, config.base_url.rstrip("/")
        key = api_key()
        self._key = SecretStr(key)
        self._client = httpx.Client(
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(config.timeout_s, connect=10.0),
            limits=httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency),
        )

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()

    def post_all(self, url: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any | RowError]:
        """The JSON answer to each body, in order; a RowError where there is none.

        Raises:
            EngineError: the server answers nothing.
            UserError: no request can succeed until the user mends something.
        """
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="stepstar-http")
        try:
            return list(pool.map(lambda body: self.ask("POST", url, body, stop), bodies))
        finally:
            stop.set()  # After an error nobody waits for the other requests.
            pool.shutdown(cancel_futures=True)

    def ask(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, stop: threading.Event | None = None
    ) -> Any | RowError:
        """The JSON answer to one request; see `post_all`. Once `stop` is set it is not tried again."""
        import httpx

        stop = stop or threading.Event()
        reason, answered, attempt = "", False, 0
        # Escaped to ASCII: half of a surrogate pair is the server's to refuse.
        content = json.dumps(body) if body is not None else None
        for attempt in range(self.config.tries):
            asked_wait = 0.0
            try:
                response = self._client.request(method, url, content=content)
            except httpx.RequestError as error:
                reason = self._clean(f"{type(error).__name__} {error}".strip())
            else:
                answered = True
                if response.status_code == 200:
                    return _json(response)
                reason = f"HTTP {response.status_code}: {self._clean(error_text(_json(response), response.text))}"
                if response.status_code != 429 and response.status_code < 500:
                    return self._refused(response.status_code, url, reason)
                asked_wait = retry_after(response.headers.get("Retry-After"))
            grown = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0)
            if attempt + 1 == self.config.tries or stop.wait(min(_LONGEST_WAIT, max(asked_wait, grown))):
                break
        if not answered:
            raise EngineError(f"{self.url}: {reason} (after {attempt + 1} tries).", retryable=True)
        return RowError("server_error", f"{reason} (after {attempt + 1} tries)")

    def _refused(self, status: int, url: str, reason: str) -> RowError:
        """What a status means that will not change; a UserError where it concerns every request."""
        if status in (401, 403):
            raise UserError(f"{self.url} refuses the key ({reason}).", f"Set {KEY_VARIABLES[0]}.")
        if status in (404, 405) or status < 400:
            raise UserError(f"{url} is not to be had ({reason}).", "Check base_url and the model's name there.")
        return RowError("refused", reason)

    def _clean(self, text: str) -> str:
        key = self._key.get_secret_value()
        return text.replace(key, "***") if key else text


def _json(response: httpx.Response) -> Any | RowError:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return RowError("bad_answer", "the answer is no JSON")
