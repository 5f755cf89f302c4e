"""The generation contract: requests in, completions out, in order, one for one.

Every engine (`transformers`, `vllm`, `http`, `scripted`) yields the same `Completion`. A sample that failed is a
completion with an `error`, never an exception; an engine that failed as a whole raises `EngineError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Protocol

from data.errors import UserError
from data.records import FinishReason

MAX_SEED = 2**63 - 1
"""Largest seed that every engine takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn. The defaults sample from the model's own distribution.

    Raises:
        UserError: a value out of range, which engines would draw noise or nothing from.
    """

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

    def __post_init__(self) -> None:
        checks = {
            "temperature": (isfinite(self.temperature) and self.temperature >= 0, "0 (greedy) or above"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1; 1 keeps all"),
            "top_k": (self.top_k >= 0, "0 or above; 0 keeps all"),
            "max_tokens": (self.max_tokens >= 1, "1 or above"),
            "stop": ("" not in self.stop, "strings that are not empty"),
        }
        for name, (good, wanted) in checks.items():
            if not good:
                raise UserError(f"sampling cannot have {name}={getattr(self, name)!r}.", f"It must be {wanted}.")

    def to_json(self) -> str:
        """Canonical JSON, as stored in `Provenance.sampling`."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample to draw.

    Raises:
        UserError: the seed is out of range.
    """

    id: str
    prompt: str
    """The rendered prompt; the engine wraps it in the chat template if the model has one."""
    seed: int
    """Seed of this very sample, 0 to `MAX_SEED`; draws do not depend on the batch or on the order."""
    sampling: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError(f"request '{self.id}' has the seed {self.seed}.", f"Give one from 0 to {MAX_SEED}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine answered to one request."""

    request_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    """Generated tokens, without the prompt; the end-of-sequence token is included when it was drawn.

    Empty from servers that tell none.
    """
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token under the untempered model (temperature 1, no truncation), as vLLM's `raw`."""
    n_reported: int = 0
    """Generated tokens as a server counts them; for those that give no token ids."""
    finish_reason: FinishReason = FinishReason.STOP
    error: str = ""
    """Why this sample failed; empty when it did not."""

    @property
    def n_tokens(self) -> int:
        """Tokens that were generated; 0 for a failed sample, or where a server tells nothing."""
        return len(self.token_ids) or self.n_reported


def failed(request: Request, error: str) -> Completion:
    """The completion of a sample that could not be drawn."""
    return Completion(request_id=request.id, text="", finish_reason=FinishReason.ERROR, error=error)


def drawn(
    request: Request,
    *,
    text: str,
    token_ids: tuple[int, ...],
    logprobs: tuple[float, ...],
    finish_reason: FinishReason,
    n_reported: int = 0,
) -> Completion:
    """The completion of a sample; a failed one if a log-probability is no number, for then it was drawn from noise."""
    for place, logprob in enumerate(logprobs):
        if not isfinite(logprob):
            return failed(request, f"the model's log-probability of token {place} is {logprob}")
    return Completion(
        request_id=request.id,
        text=text,
        token_ids=token_ids,
        logprobs=logprobs,
        n_reported=n_reported,
        finish_reason=finish_reason,
    )


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
