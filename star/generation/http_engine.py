"""The `http` engine: any OpenAI-compatible server, with bounded concurrency and order kept.

Requests are drawn from their stream only as fast as answers are consumed. 429, 5xx and broken connections are tried
again with growing, jittered waits; what fails for good is an error completion. A server is dead when it makes no
progress, whatever its health endpoint says: then `EngineError`. Every text that leaves here has the key struck out.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from pydantic import SecretStr

from data.errors import DependencyError, EngineError, UserError
from data.ids import content_id
from data.remote import KEY_VARIABLES, api_key, check_url, error_text, retry_after
from star.generation.base import Completion, Request, SamplingParams, failed
from star.generation.openai_api import PATHS, HttpConfig, is_vllm, read_answer, request_body
from star.generation.ordered import ended, in_order

if TYPE_CHECKING:
    import httpx

_LONGEST_WAIT = 600.0
"""A server that asks for a longer wait than this is not waited for, seconds."""
_FIRST_WAIT, _GROWN_WAIT = 0.5, 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Setback:
    """A try that failed and may be made again."""

    reason: str
    wait_s: float = 0.0


class HttpGenerator:
    """Draws completions from an OpenAI-compatible server.

    Args:
        model: the model's name at the server.
        config: where the server is and how patient to be.
        concurrency: most requests in flight.
        revision: what provenance records of the weights, which the server does not tell.

    Raises:
        DependencyError: httpx is not installed.
        UserError: the base URL or the key cannot be used.
    """

    engine = "http"

    def __init__(self, model: str, config: HttpConfig, *, concurrency: int = 64, revision: str | None = None) -> None:
        if find_spec("httpx") is None:
            raise DependencyError("httpx", "http")
        import httpx

        check_url(config.base_url)
        self.model, self.config, self.concurrency = model, config, concurrency
        self.revision = revision or content_id("http", model)
        key = api_key()
        self._key = SecretStr(key)
        self._vllm: bool | None = None if config.server == "auto" else config.server == "vllm"
        self._progress = time.monotonic()
        self._slots = asyncio.Semaphore(concurrency)
        self._asked = asyncio.Lock()
        self._started: WeakSet[Future[Any]] = WeakSet()
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            base_url=config.base_url,
            headers={"Content-Type": "application/json"} | authorization,
            timeout=httpx.Timeout(None, connect=10.0),
            limits=httpx.Limits(max_connections=concurrency + 1, max_keepalive_connections=concurrency + 1),
        )
        # Joined once: httpx takes longer over it than over the rest of a request.
        self._urls = {path: self._client.base_url.join(path.lstrip("/")) for path in (*PATHS.values(), "/models")}
        # A thread of its own keeps requests in flight while the caller works on what was yielded.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stepstar-http", daemon=True)
        self._thread.start()

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in order.

        Raises:
            EngineError: the server is dead.
            UserError: the server does not know the model or refuses the key.
        """
        return in_order(requests, lambda row: self._start(self._complete(row)), self._wait, at_once=self.concurrency)

    def close(self) -> None:
        """Drop all connections and end the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        # Only what was started here: a child task of the HTTP library that is cancelled before its first step leaves
        # a coroutine behind that was never awaited. Its parent cancels it as it should be.
        for future in list(self._started):
            future.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._started.add(future)
        return future

    def _wait(self, request: Request, future: Future[Completion]) -> Completion:
        """The completion of a request, unless the server stops making progress while it is waited for."""
        # Counted from here: nobody watched while the caller was busy.
        began, probe = time.monotonic(), None
        stall = self.config.stall_s
        try:
            while not ended(future, within_s=min(1.0, stall / 8)):
                idle = time.monotonic() - max(began, self._progress)
                if idle >= stall:
                    raise EngineError(f"{self._where()} answered nothing for {idle:.0f} s.", retryable=True)
                # Long samples look like a dead server; a single token tells the two apart.
                if idle >= stall / 4 and (probe is None or probe.done()):
                    probe = self._start(self._answers())
            return future.result()
        finally:
            future.cancel()
            if probe is not None:
                probe.cancel()

    async def _complete(self, request: Request) -> Completion:
        async with self._slots:
            vllm = await self._speaks_vllm() if self._vllm is None else self._vllm
            body = request_body(self.model, request, self.config, vllm=vllm)
            found = await self._persist("POST", PATHS[self.config.endpoint], body)
        if isinstance(found, str):
            return failed(request, found)
        return read_answer(request, found)

    async def _speaks_vllm(self) -> bool:
        async with self._asked:
            if self._vllm is None:
                models = await self._persist("GET", "/models")
                if isinstance(models, str) and not models.startswith("HTTP 4"):
                    raise EngineError(f"{self._where()}: {models}.", retryable=True)
                self._vllm = is_vllm(models)
            return self._vllm

    async def _persist(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of the answer, or as a string why there is none.

        Raises:
            EngineError: every try failed and nothing else was answered meanwhile.
        """
        began, reason = time.monotonic(), ""
        for attempt in range(self.config.tries):
            found = await self._try(method, path, body)
            if not isinstance(found, _Setback):
                return found
            reason = f"{found.reason} (after {attempt + 1} tries)"
            if found.wait_s > _LONGEST_WAIT:
                return f"{reason}; the server asks to wait {found.wait_s:.0f} s"
            if attempt + 1 < self.config.tries:
                grown = min(_GROWN_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
                await asyncio.sleep(max(found.wait_s, grown))
        # A request that the server chokes on is one sample's failure; a server that chokes on anything is dead.
        if self._progress < began and not await self._answers():
            raise EngineError(f"{self._where()}: {reason}.", retryable=True)
        return reason

    async def _try(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """One exchange: the JSON, a string that says why there will never be one, or a setback."""
        import httpx

        # Escaped to ASCII, so that a lone surrogate in a problem is the server's to refuse, not ours to crash on.
        content = json.dumps(body) if body else None
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await self._client.request(method, self._urls[path], content=content)
        except TimeoutError:
            return _Setback(f"no answer in {self.config.timeout_s:g} s")
        except httpx.RequestError as error:
            return _Setback(self._clean(f"{type(error).__name__} {error}".strip()))
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code == 200:
            if answer is None:
                return _Setback("the answer is no JSON")
            self._progress = time.monotonic()
            return answer
        return self._refusal(response, self._clean(error_text(answer, response.text)), path)

    def _refusal(self, response: httpx.Response, said: str, path: str) -> str | _Setback:
        """What an error status means.

        Raises:
            UserError: no request can succeed until the user mends something.
        """
        status = response.status_code
        reason = f"HTTP {status}: {said}"
        if status == 429 or status >= 500:
            wait_s = retry_after(response.headers.get("Retry-After"))
            if status == 429 or wait_s:
                # A server that counts requests, or says when to come back, is alive.
                self._progress = time.monotonic()
            return _Setback(reason, wait_s)
        if status in (401, 403):
            raise UserError(f"{self._where()} refuses the key ({reason}).", f"Set {KEY_VARIABLES[0]}.")
        if path in PATHS.values():
            if status < 400 or status == 404:
                raise UserError(
                    f"{self._where()} has no {path} for the model '{self.model}' ({reason}).",
                    "Check base_url, which usually ends in /v1, and the model's name at the server.",
                )
            if "chat template" in said.lower():
                raise UserError(
                    f"the model '{self.model}' has no chat template at the server ({reason}).",
                    "Set `endpoint: completions`, or start the server with a template.",
                )
        return reason

    async def _answers(self) -> bool:
        """Whether the engine behind the server still gives a token."""
        probe = Request(id="probe", prompt="1", seed=0, sampling=SamplingParams(max_tokens=1))
        body = request_body(self.model, probe, self.config, vllm=bool(self._vllm))
        # As long as a stall may last: past that the watch has given up anyway.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.stall_s):
                found = await self._try("POST", PATHS[self.config.endpoint], body)
                return isinstance(found, dict) and bool(found.get("choices"))
        return False

    def _where(self) -> str:
        return f"the server at {self._client.base_url}"

    def _clean(self, text: str) -> str:
        key = self._key.get_secret_value()
        return text.replace(key, "***") if key else text
