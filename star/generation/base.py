"""The generation contract: requests in, completions out, in order, one for one.

Every engine (`transformers`, `vllm`, `http`, `ray`, `scripted`) yields the same `Completion`. A sample that failed is a
completion with an `error`, never an exception; an engine that failed as a whole raises `EngineError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

from data.records import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn. The defaults sample from the model's own distribution."""

    temperature: float = 1.0
    """0 means greedy; logits are divided by it otherwise."""
    top_p: float = 1.0
    """Nucleus mass; below 1 it biases importance ratios, so PPO refuses it."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all. Biases importance ratios like `top_p`."""
    max_tokens: int = 256
    """Most tokens generated; a completion that reaches it has finish reason `length`."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are cut off its text."""

    def to_json(self) -> str:
        """Canonical JSON, as stored in `Provenance.sampling`."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample to draw."""

    id: str
    prompt: str
    """The rendered prompt; the engine wraps it in the chat template if the model has one."""
    seed: int
    """Seed of this very sample; draws do not depend on the batch or on the order."""
    sampling: SamplingParams = SamplingParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine answered to one request."""

    request_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    """Generated tokens, without the prompt; the end-of-sequence token is included when it was drawn."""
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the untempered model (temperature 1, no truncation), as vLLM's `raw`."""
    finish_reason: FinishReason = FinishReason.STOP
    error: str = ""
    """Why this sample failed; empty when it did not."""


class Generator(Protocol):
    """An engine that draws completions."""

    engine: str
    """Name of the engine, e.g. `transformers`."""
    model: str
    """Name of the model, as given."""
    revision: str
    """Hash of the weights or hub commit."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in the order of the requests."""
        ...

    def close(self) -> None:
        """Free memory and processes."""
        ...
