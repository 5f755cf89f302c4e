"""What an OpenAI-compatible server is asked and what it answers, as pure functions; the transport is in `http_engine`.

Nothing is guessed: an answer without exactly one choice, with a finish reason that is neither `stop` nor `length`, or
with a different number of tokens and of log-probabilities is an error completion. An empty text is a completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from data.config import Config
from data.records import FinishReason
from star.generation.base import Completion, Request, drawn, failed

PATHS = {"chat": "/chat/completions", "completions": "/completions"}

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class HttpConfig(Config):
    """Settings of the `http` engine."""

    base_url: str
    """Root of the API, e.g. `http://localhost:8000/v1`. Keys come from the environment, never from here."""
    endpoint: Literal["chat", "completions"] = "chat"
    """`chat`: the server wraps the prompt in its chat template; `completions`: the prompt goes in as it is.

    Either way it is the server that tokenizes: text such as `<|im_end|>` in a problem is whatever it takes it for.
    """
    server: Literal["auto", "vllm", "openai"] = "auto"
    """`vllm` sends and reads vLLM's extensions, `openai` only what the standard has; `auto` asks `/models`."""
    logprobs: bool = True
    """Ask for the log-probability of each token; turn it off for a model that refuses."""
    tries: int = Field(default=7, ge=1)
    """Most tries of one request. The waits between seven add up to at most 32 s, or what the server asks for."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for one answer, which arrives whole."""
    stall_s: float = Field(default=50.0, gt=0)
    """The engine is dead if for so long nothing was answered, not even a request for a single token."""


def request_body(model: str, request: Request, config: HttpConfig, *, vllm: bool) -> dict[str, Any]:
    """The JSON of one sample."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "seed": request.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if config.endpoint == "chat":
        body["messages"] = [{"role": "user", "content": request.prompt}]
    else:
        body["prompt"] = request.prompt
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if config.logprobs:
        # Completions: the number of alternatives beside the drawn token; chat: whether to send any.
        body["logprobs"] = True if config.endpoint == "chat" else 0
    if vllm:
        # vLLM fills in whatever the model's generation_config.json says unless each is sent; OpenAI refuses them.
        body |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
    elif sampling.top_k:
        body["top_k"] = sampling.top_k
    return body


def is_vllm(models: Any) -> bool:
    """Whether the answer to `/models` is vLLM's."""
    rows = models.get("data") if isinstance(models, Mapping) else None
    return any(isinstance(row, Mapping) and row.get("owned_by") == "vllm" for row in rows or [])


def read_answer(request: Request, answer: Any) -> Completion:
    """A completion from the JSON of an answer; one that is not understood is an error completion."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1:
        count = f"{len(choices)} choices" if isinstance(choices, list) else "no list of choices"
        return failed(request, f"the server answered with {count} instead of one")
    try:
        return _read_choice(request, choices[0], answer.get("usage"))
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        return failed(request, f"the server's choice is not understood: {type(error).__name__} {error}")


def _read_choice(request: Request, choice: Mapping[str, Any], usage: Any) -> Completion:
    reason = _FINISH.get(choice["finish_reason"])
    if reason is None:
        return failed(request, f"the server ended the sample for '{choice['finish_reason']}'")
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    if not isinstance(text, str | None):
        return failed(request, f"the server's text is of type {type(text).__name__}")
    token_ids = tuple(map(int, choice.get("token_ids") or ()))
    logprobs = _read_logprobs(choice.get("logprobs"))
    if token_ids and logprobs and len(token_ids) != len(logprobs):
        return failed(request, f"the server sent {len(token_ids)} tokens but {len(logprobs)} log-probabilities")
    return drawn(
        request,
        text=text or "",
        token_ids=token_ids,
        logprobs=logprobs,
        n_reported=_read_count(usage) or len(logprobs),
        finish_reason=reason,
    )


def _read_count(usage: Any) -> int:
    """Generated tokens by the server's bill; 0 where it has none, which is no reason to refuse the text."""
    count = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def _read_logprobs(found: Mapping[str, Any] | None) -> tuple[float, ...]:
    if not found:
        return ()
    if "token_logprobs" in found:
        return tuple(map(float, found["token_logprobs"]))
    return tuple(float(token["logprob"]) for token in found.get("content") or ())
