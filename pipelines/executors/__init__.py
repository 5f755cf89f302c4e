"""Executors: who draws the batches of a run, this process, some processes of this machine, or a Ray cluster.

An executor takes batches of requests and gives back their completions in the same order. It knows nothing of runs: what
is stored already never reaches it. A batch is drawn whole by one worker, by an engine that was built from the same
`EngineSpec`, so the number of workers changes no completion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import Field

from data.config import Config
from star.generation import Completion, Generator, Request, build_generator


class ExecutorConfig(Config):
    """Settings of the executor. They change no result, so a run may be resumed with others."""

    type: Literal["local", "ray"] = "local"
    workers: int = Field(default=1, ge=1)
    """Engines that draw at the same time; with `local` and 1 the engine lives in this process."""
    retries: int = Field(default=3, ge=0)
    """How often in a row a batch is given to another worker when its worker dies, say for want of memory."""
    address: str = ""
    """For `ray`: of the cluster, `auto` for the one that this machine belongs to; empty starts one here."""
    gpus: float = Field(default=0.0, ge=0)
    """For `ray`: GPUs that each worker is placed on. `local` workers take turns at the visible GPUs."""
    cpus: float = Field(default=1.0, gt=0)
    """For `ray`: cores that each worker is placed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What an engine is built from, wherever that is."""

    model: str
    engine: str
    revision: str | None
    batch_size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 0
    """CPU threads of torch; 0 leaves them as they are."""

    @property
    def computes(self) -> bool:
        """Whether the engine computes in its own process, on a GPU if there is one."""
        return self.engine not in ("http", "scripted")

    def build(self) -> Generator:
        """Load the engine; see `star.generation.build_generator` for what it raises."""
        if self.threads and self.computes:
            from pipelines.machine import use_threads

            use_threads(self.threads)
        return build_generator(
            self.model, engine=self.engine, revision=self.revision, batch_size=self.batch_size, options=self.options
        )


class Executor(Protocol):
    """Workers that hold an engine each."""

    def map(self, batches: Iterable[Sequence[Request]]) -> Iterator[list[Completion]]:
        """Completions of each batch, in the order of the batches, which are asked for as workers get free.

        Raises:
            UserError: the engine cannot be built.
            EngineError: the engine failed, or workers died more often in a row than `retries`.
        """
        ...

    def close(self) -> None:
        """End the workers."""
        ...


def open_executor(spec: EngineSpec, config: ExecutorConfig) -> Executor:
    """Start workers.

    Args:
        spec: of the engine that each of them holds.
        config: how many, and where.

    Raises:
        DependencyError: Ray is asked for and not installed.
    """
    if config.type == "ray":
        from pipelines.executors.ray_pool import RayExecutor

        return RayExecutor(spec, config)
    from pipelines.executors.local import LocalExecutor, ProcessExecutor

    return LocalExecutor(spec) if config.workers == 1 else ProcessExecutor(spec, config)
