"""The `http` backend: a server runs the network; solutions are encoded here, and it sees token ids only.

A PRM of form `tokens` needs an OpenAI-compatible server's `/completions`: for each step one token is asked for, with
the log-probabilities of its candidates. vLLM is asked for those of the two labels, which is exact; of another server
they must be among the likeliest. Any other PRM needs vLLM's `/pooling`: Qwen2.5-Math-PRM as it is, a head of ours with

    vllm serve FOLDER --runner pooling --convert embed --pooler-config '{"task": "token_embed"}'

from a folder without `step_head.safetensors`: vLLM gives the hidden states, and the head is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field

from data.sources.base import RowError
from prm.encode import EncodedSteps
from prm.scoring.base import RowScorer
from prm.scoring.readout import Readout
from prm.scoring.transport import Server, TransportConfig

_SLACK = 1e-3
"""How far a score may be off because a server does not name a label that it finds unlikely."""


class HttpConfig(TransportConfig):
    """Settings of the `http` backend."""

    model: str = ""
    """The model's name at the server; empty: what `load_scorer` was given."""
    server: Literal["auto", "vllm", "openai"] = "auto"
    """`vllm` uses vLLM's extensions, `openai` only what the standard has; `auto` asks `/models`."""
    top_logprobs: int = Field(default=5, ge=1)
    """Candidates asked for where the labels cannot be named; OpenAI allows 5."""


class HttpScorer(RowScorer):
    """Scores with a server.

    Args:
        readout: the model but for its network.
        name: of the model.
        config: where the server is.

    Raises:
        DependencyError: httpx is not installed.
        UserError: the base URL or the key cannot be used.
    """

    def __init__(self, readout: Readout, name: str, config: HttpConfig) -> None:
        super().__init__(readout.encoder, readout.config, name, readout.context)
        self.readout, self.settings = readout, config
        self.server = Server(config)
        self._vllm: bool | None = None if config.server == "auto" else config.server == "vllm"

    def close(self) -> None:
        """Drop all connections."""
        self.server.close()

    def _probabilities(self, rows: Sequence[EncodedSteps]) -> list[Sequence[float] | RowError]:
        if not rows:
            return []
        labels = self.readout.labels
        url = self.server.url
        if labels is None:
            # Beside the OpenAI-compatible API, not in it.
            url, bodies = f"{url.removesuffix('/v1')}/pooling", [self._pooling_body(row) for row in rows]
        else:
            names = self._names(labels)
            url, bodies = f"{url}/completions", [self._completions_body(row, labels) for row in rows]
        answers = self.server.post_all(url, bodies)
        found: list[Sequence[float] | RowError] = []
        for row, answer in zip(rows, answers, strict=True):
            try:
                found.append(self._read_pooled(answer, row) if labels is None else _read_choices(answer, row, names))
            except RowError as error:
                found.append(error)
        return found

    def _body(self) -> dict[str, Any]:
        return {"model": self.settings.model or self.name}

    def _pooling_body(self, row: EncodedSteps) -> dict[str, Any]:
        # Neither normalized nor through a softmax.
        return self._body() | {"input": [row.ids], "task": self.readout.task, "use_activation": False}

    def _completions_body(self, row: EncodedSteps, labels: tuple[int, int]) -> dict[str, Any]:
        body = self._body() | {
            "prompt": [row.ids[: end + 1] for end in row.step_ends],
            "max_tokens": 1,
            # Whether log-probabilities are taken before or after these is the server's choice: they change nothing.
            "temperature": 1.0,
            "top_p": 1.0,
            "logprobs": len(labels) if self._speaks_vllm() else self.settings.top_logprobs,
        }
        if self._speaks_vllm():
            body |= {"logprob_token_ids": list(labels), "return_tokens_as_token_ids": True, "top_k": 0, "min_p": 0.0}
        return body

    def _names(self, labels: tuple[int, int]) -> list[set[str]]:
        """What a server may call the wrong and the right label."""
        if self._speaks_vllm():
            return [{f"token_id:{label}"} for label in labels]
        tokenizer = self.readout.tokenizer
        return [{tokenizer.decode([label]), tokenizer.convert_ids_to_tokens(label)} for label in labels]

    def _speaks_vllm(self) -> bool:
        if self._vllm is None:
            models = self.server.ask("GET", f"{self.server.url}/models")
            listed = models.get("data") if isinstance(models, Mapping) else None
            self._vllm = any(isinstance(row, Mapping) and row.get("owned_by") == "vllm" for row in listed or [])
        return self._vllm

    def _read_pooled(self, answer: Any, row: EncodedSteps) -> list[float]:
        if isinstance(answer, RowError):
            raise answer
        try:
            (found,) = answer["data"]
            pooled = torch.tensor(found["data"], dtype=torch.float32)
        except (TypeError, KeyError, ValueError, OverflowError, RuntimeError) as error:
            raise RowError("bad_answer", f"the server's pooling is not understood: {error}"[:300]) from error
        return self.readout.probabilities(pooled, row)


def _read_choices(answer: Any, row: EncodedSteps, names: Sequence[set[str]]) -> list[float]:
    """The probability of the right label against the wrong one at each step."""
    if isinstance(answer, RowError):
        raise answer
    try:
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        if [int(choice["index"]) for choice in choices] != list(range(len(row.step_ends))):
            raise RowError("bad_answer", f"{len(choices)} choices for {len(row.step_ends)} steps")
        tops = [{str(key): float(value) for key, value in _top(choice).items()} for choice in choices]
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise RowError("bad_answer", f"the server's choices are not understood: {error!r}"[:300]) from error
    return [_odds(top, names) for top in tops]


def _top(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The candidates for the one token that was drawn, and their log-probabilities."""
    (top,) = choice["logprobs"]["top_logprobs"]
    found: Mapping[str, Any] = top
    return found


def _odds(top: Mapping[str, float], names: Sequence[set[str]]) -> float:
    """P(right) / (P(right) + P(wrong)); a label that is not among the candidates is at most as likely as the last.

    Raises:
        RowError: `label_not_named`, too little is known.
    """
    wrong, right = ([top[name] for name in group if name in top] for group in names)
    if not wrong and not right:
        raise RowError("label_not_named", "neither label is among the server's candidates")
    if not wrong or not right:
        if math.exp(min(top.values()) - max(wrong or right)) > _SLACK:
            raise RowError("label_not_named", "a label that may matter is not among the server's candidates")
        return float(bool(right))
    return 1 / (1 + math.exp(min(max(wrong) - max(right), 700.0)))  # Beyond 700 the exponential overflows.
