"""A policy of the run: the base model or a checkpoint, loaded only when something is really generated or trained.

A resumed run whose shards are all there never loads a model; and no two models are in memory at once.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.ids import content_id
from data.model_folder import is_local, weights_revision
from pipelines.executors import EngineSpec, Executor, ExecutorConfig, open_executor
from pipelines.executors.local import LocalExecutor
from star.checkpoints import check_generator, hub_commit, resolve
from star.generation import Completion, Generator, Request
from star.generation.scripted import ScriptedGenerator


@dataclass(slots=True)
class Policy:
    """A model of the run by name and revision, with its workers on demand."""

    name: str
    """Name that provenance carries: the recipe's model name, or `generator-<arm>-r<round>`."""
    path: str
    """Folder or hub id."""
    revision: str
    """Hash of the weights, or the hub revision that the recipe asks for."""
    round: int
    engine: str
    batch_size: int
    hub_revision: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the engine."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """Who draws."""
    threads: int = 0
    """CPU threads of torch in workers of their own; 0 leaves them as they are."""
    _local: LocalExecutor | None = None
    _workers: Executor | None = None

    @property
    def generator(self) -> Generator:
        """The engine over this policy in this process, loaded at first use."""
        return self._in_process().generator

    def use(self, generator: Generator) -> None:
        """Take an engine that is there already, in this process."""
        self._local = LocalExecutor(self._spec, generator)

    def draw(self, batches: Iterable[Sequence[Request]]) -> Iterator[list[Completion]]:
        """Completions of each batch in order, by the policy's executor; see `pipelines.executors.Executor.map`."""
        if self.executor.type == "local" and self.executor.workers == 1:
            return self._in_process().map(batches)
        if self._workers is None:
            self._workers = open_executor(self._spec, self.executor)
        return self._workers.map(batches)

    @property
    def facts(self) -> str:
        """What its completions depend on besides the requests: weights, engine, and how many are decoded together."""
        return content_id(self.revision, self.engine, str(self.batch_size), json.dumps(self.options, sort_keys=True))

    def release(self) -> None:
        """Drop the model from memory, here and in the workers."""
        for executor in (self._local, self._workers):
            if executor is not None:
                executor.close()
        self._local = self._workers = None
        # A run has Python look for cycles rarely; none may keep a model.
        gc.collect()

    def heir(self, name: str, path: Path, revision: str, round_: int) -> Policy:
        """A checkpoint under this policy's engine and executor."""
        return Policy(name, str(path), revision, round_, self.engine, self.batch_size, options=self.options,
                      executor=self.executor, threads=self.threads)  # fmt: skip

    @property
    def _spec(self) -> EngineSpec:
        return EngineSpec(model=self.path, engine=self.engine, revision=self.hub_revision, batch_size=self.batch_size,
                          options=self.options, threads=self.threads)  # fmt: skip

    def _in_process(self) -> LocalExecutor:
        if self._local is None:
            self._local = LocalExecutor(self._spec)
        return self._local


def trained_policy(root: Path, name: str, revision: str, parent: Policy) -> Policy:
    """A checkpoint of a run that was trained from another policy, a round later."""
    return parent.heir(name, root / "checkpoints" / name, revision, parent.round + 1)


def base_policy(
    name: str,
    *,
    hub_revision: str | None,
    engine: str,
    batch_size: int,
    options: dict[str, Any] | None = None,
    executor: ExecutorConfig | None = None,
    threads: int = 0,
) -> Policy:
    """The base model as a policy.

    Raises:
        UserError: the folder lacks weights or tokenizer, or is a PRM's.
    """
    path = resolve(name)
    policy = Policy(name, path, "", 0, engine, batch_size, options=options or {},
                    executor=executor or ExecutorConfig(), threads=threads)  # fmt: skip
    if engine == "scripted":
        policy.name, policy.revision = Path(path).name, ScriptedGenerator.from_file(path).revision
    elif engine == "http":
        policy.revision = content_id(engine, name, hub_revision or "", str((options or {}).get("base_url")))
    elif not is_local(path):
        policy.revision = policy.hub_revision = hub_commit(name, hub_revision)
    else:
        folder = Path(path)
        check_generator(folder)
        # The folder's own name: where it lies on this machine is nobody's business who reads the dataset.
        policy.name = name if path != name else folder.resolve().name
        policy.path, policy.revision = str(folder), weights_revision(folder)
    return policy
