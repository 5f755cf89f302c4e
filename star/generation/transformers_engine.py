"""The `transformers` engine: the embedded default and the reference that other engines are compared with.

Requests are taken in batches of a fixed size, in order, so that the same requests always form the same batches and the
result does not depend on how fast anything ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from data.batching import batched
from data.records import FinishReason
from star.checkpoints import LoadedModel
from star.encoding import decode_tokens, encode_prompt, eos_id, pad_id
from star.generation.base import Completion, Request, SamplingParams


class TransformersGenerator:
    """Draws completions from a transformers causal LM in this process.

    Args:
        loaded: model and tokenizer.
        batch_size: samples decoded together.
    """

    engine = "transformers"

    def __init__(self, loaded: LoadedModel, *, batch_size: int = 64) -> None:
        self.loaded = loaded
        self.batch_size = batch_size
        self.model = loaded.name
        self.revision = loaded.revision
        eos = loaded.model.generation_config.eos_token_id if loaded.model.generation_config else None
        declared = eos if isinstance(eos, list) else [eos]
        self._eos_ids = frozenset([eos_id(loaded.tokenizer), *(token for token in declared if token is not None)])

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in order."""
        for batch in batched(requests, self.batch_size):
            # One set of sampling parameters a decode; mixed streams are cut where they change.
            for params, group in groupby(batch, key=lambda request: request.sampling):
                yield from self._decode(list(group), params)

    def _decode(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[Completion]:
        from star.generation.decoding import Row, decode

        tokenizer = self.loaded.tokenizer
        encoded = {prompt: encode_prompt(tokenizer, prompt) for prompt in {request.prompt for request in requests}}
        limit = getattr(self.loaded.model.config, "max_position_embeddings", None) or 1 << 30
        rows = {}
        for place, request in enumerate(requests):
            if len(encoded[request.prompt]) + params.max_tokens <= limit:
                rows[place] = Row(encoded[request.prompt], request.seed)
        if rows:
            decode(
                self.loaded.model,
                list(rows.values()),
                params,
                eos_ids=self._eos_ids,
                pad_id=pad_id(tokenizer),
                stopper=self._stopper(params),
            )
        for place, request in enumerate(requests):
            if place in rows:
                yield self._completion(request, rows[place], params)
            else:
                length = len(encoded[request.prompt])
                error = f"prompt of {length} tokens + {params.max_tokens} new ones exceed the context of {limit}"
                yield Completion(request_id=request.id, text="", finish_reason=FinishReason.ERROR, error=error)

    def _stopper(self, params: SamplingParams) -> Any:
        """A test of whether the last tokens hold a stop string, or None where none is wanted."""
        if not params.stop:
            return None
        # A token has at least one byte, so this many tokens cover the longest stop string and one token more.
        window = max(len(stop.encode()) for stop in params.stop) + 1

        def stopped(tokens: Sequence[int]) -> bool:
            tail = decode_tokens(self.loaded.tokenizer, tokens[-window:])
            return any(stop in tail for stop in params.stop)

        return stopped

    def _completion(self, request: Request, row: Any, params: SamplingParams) -> Completion:
        text = decode_tokens(self.loaded.tokenizer, row.tokens)
        cuts = [text.index(stop) for stop in params.stop if stop in text]
        return Completion(
            request_id=request.id,
            text=text[: min(cuts)] if cuts else text,
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            finish_reason=row.finish_reason,
        )

    def close(self) -> None:
        """Nothing to free: the model belongs to the caller."""
