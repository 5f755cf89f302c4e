"""The `transformers` engine: the embedded default and the reference that other engines are compared with.

Requests are taken in batches of a fixed size, in order, so that the same requests always form the same batches and the
result does not depend on how fast anything ran.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.errors import EngineError
from data.records import FinishReason
from star.checkpoints import LoadedModel
from star.encoding import cut_at_stop, decode_tokens, eos_id, fit_prompts, pad_id
from star.generation.base import Completion, Request, SamplingParams, drawn, failed

if TYPE_CHECKING:
    from star.generation.decoding import Row

_log = logging.getLogger(__name__)

_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What errors of torch's CPU, CUDA and MPS allocators and of cuBLAS say."""


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
        self._room = batch_size
        self.model = loaded.name
        self.revision = loaded.revision
        eos = loaded.model.generation_config.eos_token_id if loaded.model.generation_config else None
        declared = eos if isinstance(eos, list) else [eos]
        self._eos_ids = frozenset([eos_id(loaded.tokenizer), *(token for token in declared if token is not None)])

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in order.

        Raises:
            EngineError: the memory does not suffice for a single sample.
        """
        for batch in batched(requests, self.batch_size):
            # One set of sampling parameters a decode; mixed streams are cut where they change.
            for params, group in groupby(batch, key=lambda request: request.sampling):
                yield from self._decode(list(group), params)

    def _decode(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[Completion]:
        from star.generation.decoding import Row

        limit = getattr(self.loaded.model.config, "max_position_embeddings", None) or 1 << 30
        prompts = [request.prompt for request in requests]
        fitted = fit_prompts(self.loaded.tokenizer, prompts, params.max_tokens, limit=limit)
        # What cannot be completed stays the string that says why.
        found = [(request, fitted[request.prompt]) for request in requests]
        rows = [ids if isinstance(ids, str) else Row(ids, request.seed) for request, ids in found]
        self._fill([row for row in rows if isinstance(row, Row)], params)
        for request, row in zip(requests, rows, strict=True):
            yield failed(request, row) if isinstance(row, str) else self._completion(request, row, params)

    def _fill(self, rows: Sequence[Row], params: SamplingParams) -> None:
        """Decode all rows, in halves of halves where the memory asks for it.

        Raises:
            EngineError: there is not even room for one.
        """
        while rows:
            part = rows[: self._room]
            if self._fits(part, params):
                rows = rows[len(part) :]
                continue
            if len(part) == 1:
                size = len(part[0].prompt_ids) + params.max_tokens
                raise EngineError(f"out of memory: no room for one sample of up to {size} tokens.")
            if self._room >= self.batch_size:
                _log.warning(
                    "out of memory with %d samples at once: going on with half, or less. A batch_size that fits is "
                    "faster and keeps results the same to the bit.",
                    len(part),
                )
            self._room = len(part) // 2

    def _fits(self, rows: Sequence[Row], params: SamplingParams) -> bool:
        """Decode some rows; if the memory does not suffice, put them back as they were."""
        import torch

        from star.generation.decoding import decode

        try:
            decode(
                self.loaded.model,
                rows,
                params,
                eos_ids=self._eos_ids,
                pad_id=pad_id(self.loaded.tokenizer),
                stopper=self._stopper(params),
            )
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        else:
            return True
        for row in rows:
            row.tokens.clear()
            row.logprobs.clear()
            row.finish_reason = FinishReason.LENGTH
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False

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

    def _completion(self, request: Request, row: Row, params: SamplingParams) -> Completion:
        return drawn(
            request,
            text=cut_at_stop(decode_tokens(self.loaded.tokenizer, row.tokens), params.stop),
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            finish_reason=row.finish_reason,
        )

    def close(self) -> None:
        """Nothing to free: the model belongs to the caller."""


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    import torch

    # Off the GPU, and from CUDA's libraries, torch raises a plain RuntimeError that only its text tells apart.
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in said for sign in _MEMORY_SIGNS)
