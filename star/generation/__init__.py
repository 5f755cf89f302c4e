"""Engines by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from data.config import Config
from data.errors import UserError
from star.generation.base import Completion, Generator, Request, SamplingParams

__all__ = ["ENGINES", "Completion", "Generator", "Request", "SamplingParams", "build_generator"]

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an engine is built from."""

    model: str
    revision: str | None
    batch_size: int
    options: Mapping[str, Any]

    def config(self, kind: type[C]) -> C:
        """The options as the engine's own config.

        Raises:
            UserError: an option is missing, unknown or out of range.
        """
        try:
            return kind(**self.options)
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(map(str, first["loc"]))
            known = ", ".join(kind.model_fields) or "none"
            raise UserError(f"engine option '{option}': {first['msg']}.", f"The options are: {known}.") from error


class _NoOptions(Config):
    """For engines that need no more than a model and a batch size."""


def _transformers(wanted: _Wanted) -> Generator:
    from star.checkpoints import load_checkpoint
    from star.generation.transformers_engine import TransformersGenerator

    wanted.config(_NoOptions)
    loaded = load_checkpoint(wanted.model, revision=wanted.revision)
    return TransformersGenerator(loaded, batch_size=wanted.batch_size)


def _vllm(wanted: _Wanted) -> Generator:
    from star.generation.vllm_engine import VllmGenerator
    from star.generation.vllm_setup import VllmConfig

    config = wanted.config(VllmConfig)
    return VllmGenerator(wanted.model, config, revision=wanted.revision, batch_size=wanted.batch_size)


def _http(wanted: _Wanted) -> Generator:
    from star.generation.http_engine import HttpGenerator
    from star.generation.openai_api import HttpConfig

    config = wanted.config(HttpConfig)
    return HttpGenerator(wanted.model, config, revision=wanted.revision, concurrency=wanted.batch_size)


def _scripted(wanted: _Wanted) -> Generator:
    from star.generation.scripted import ScriptedGenerator

    wanted.config(_NoOptions)
    return ScriptedGenerator.from_file(wanted.model)


ENGINES: dict[str, Callable[[_Wanted], Generator]] = {
    "transformers": _transformers,
    "scripted": _scripted,
    "vllm": _vllm,
    "http": _http,
}


def build_generator(
    model: str,
    *,
    engine: str,
    revision: str | None,
    batch_size: int,
    options: Mapping[str, Any] | None = None,
) -> Generator:
    """Build an engine by name.

    Args:
        model: what the engine calls a model.
        engine: one of `ENGINES`.
        revision: hub commit, tag or branch.
        batch_size: samples decoded together; for `http`, requests in flight.
        options: fields of the engine's config, `HttpConfig` or `VllmConfig`.

    Raises:
        UserError: there is no engine of that name, or an option is wrong.
        DependencyError: the engine's package is not installed.
    """
    if engine not in ENGINES:
        raise UserError(f"no engine '{engine}'.", f"Use one of {', '.join(ENGINES)}.")
    return ENGINES[engine](_Wanted(model, revision, batch_size, options or {}))
