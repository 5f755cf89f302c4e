"""Engines by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data.errors import UserError
from star.generation.base import Completion, Generator, Request, SamplingParams

__all__ = ["ENGINES", "Completion", "Generator", "Request", "SamplingParams", "build_generator"]


def _transformers(model: str, revision: str | None, batch_size: int) -> Generator:
    from star.checkpoints import load_checkpoint
    from star.generation.transformers_engine import TransformersGenerator

    return TransformersGenerator(load_checkpoint(model, revision=revision), batch_size=batch_size)


def _scripted(model: str, revision: str | None, batch_size: int) -> Generator:
    from star.generation.scripted import ScriptedGenerator

    return ScriptedGenerator.from_file(model)


ENGINES: dict[str, Callable[[str, str | None, int], Any]] = {"transformers": _transformers, "scripted": _scripted}


def build_generator(model: str, *, engine: str, revision: str | None, batch_size: int) -> Generator:
    """Build an engine by name.

    Raises:
        UserError: there is no engine of that name.
    """
    if engine not in ENGINES:
        raise UserError(f"no engine '{engine}'.", f"Use one of {', '.join(ENGINES)}.")
    generator: Generator = ENGINES[engine](model, revision, batch_size)
    return generator
