"""The `vllm` engine: vLLM in a process of its own, fed as a stream, with a seed for each sample.

Prompts are tokenized and answers decoded here, as for every engine; vLLM only sees token ids. It is watched by its own
steps: `LLM.generate` waits for ever once its engine process was killed or stopped, this raises `EngineError`.
Samples keep their seed whatever the batch; as batches form by timing, floating point may still part two runs.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from data.errors import EngineError
from data.model_folder import check_folder, is_local, weights_revision
from data.records import FinishReason
from star.checkpoints import hub_commit, resolve
from star.encoding import cut_at_stop, decode_tokens, fit_prompts
from star.generation.base import Completion, Request, drawn, failed
from star.generation.ordered import ended, in_order
from star.generation.vllm_setup import VllmConfig, require_vllm, start_vllm, vllm_params

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@dataclass(slots=True)
class _Job:
    """A request on its way to vLLM; it is sent again to be dropped when its future was cancelled."""

    id: str
    prompt_ids: list[int] | str
    """Or why the prompt cannot be completed, which vLLM never sees."""
    params: Any
    future: Future[Any] = field(default_factory=Future)
    """vLLM's output, or as a string why there is none."""


@dataclass(slots=True)
class _Refresh:
    """A checkpoint on its way to vLLM."""

    folder: str
    future: Future[None] = field(default_factory=Future)


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
        require_vllm()
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
        self._llm = start_vllm(path, commit, config, batch_size)
        self._processes = [child for child in multiprocessing.active_children() if child not in others]
        self._limit = int(self._llm.model_config.max_model_len)
        self._ids = map(str, count())
        self._answering = 0
        """Calls of `generate` whose answers are not all taken."""
        self._fit = lru_cache(maxsize=1)(self._fit_one)
        self._inbox: SimpleQueue[_Job | _Refresh | None] = SimpleQueue()
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
        self._answering += 1
        try:
            yield from in_order(requests, self._begin, self._finish, at_once=self.batch_size)
        finally:
            self._answering -= 1

    def refresh(self, folder: Path) -> None:
        """Take other weights of the same architecture; what was read with the old ones is forgotten.

        Args:
            folder: a checkpoint.

        Raises:
            EngineError: vLLM died.
            RuntimeError: requests are being answered: their samples would be of two models.
        """
        if self._answering:
            # Though none may be at work this moment: those still to come would be drawn by the new ones.
            raise RuntimeError("weights cannot change while samples are being drawn")
        job = _Refresh(str(folder))
        self._inbox.put(job)
        while not ended(job.future, within_s=1.0):
            self._check_alive()
        job.future.result()
        self.revision = weights_revision(folder)

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
        job = _Job(next(self._ids), self._fit(request.prompt, params.max_tokens), vllm_params(params, request.seed))
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
            self._check_alive()
            idle = time.monotonic() - max(began, self._progress)
            if idle >= self.config.stall_s:
                raise EngineError(f"vLLM ended no step for {idle:.0f} s.", retryable=True)
        return future.result()

    def _check_alive(self) -> None:
        if not self._thread.is_alive() or any(not process.is_alive() for process in self._processes):
            raise EngineError("vLLM's engine process died; its own messages above say why.", retryable=True)

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
                    if isinstance(job, _Refresh):
                        _reload(self._llm, job, going)
                    else:
                        _admit(engine, job, going)
                for output in engine.step():
                    if output.finished and (job := going.pop(output.request_id, None)):
                        _settle(job, output)
                self._progress = time.monotonic()


def _reload(llm: Any, job: _Refresh, going: dict[str, _Job]) -> None:
    if going:
        job.future.set_exception(RuntimeError("weights cannot change while samples are being drawn"))
        return
    llm.collective_rpc("reload_weights", kwargs={"weights_path": job.folder})
    # Keys and values of prompts that the old weights read.
    llm.reset_prefix_cache()
    job.future.set_result(None)


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
