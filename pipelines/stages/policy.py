"""A policy of the run: the base model or a checkpoint, loaded only when something is really generated or trained.

A resumed run whose shards are all there never loads a model; and no two models are in memory at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.ids import content_id
from data.model_folder import check_folder, is_local, weights_revision
from star.checkpoints import hub_commit, resolve
from star.generation import Generator, build_generator


@dataclass(slots=True)
class Policy:
    """A model of the run by name and revision, with its generator on demand."""

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
    _generator: Generator | None = None

    @property
    def generator(self) -> Generator:
        """The engine over this policy, loaded at first use."""
        if self._generator is None:
            self._generator = build_generator(
                self.path, engine=self.engine, revision=self.hub_revision, batch_size=self.batch_size,
                options=self.options,
            )  # fmt: skip
        return self._generator

    def release(self) -> None:
        """Drop the model from memory."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None


def trained_policy(root: Path, name: str, revision: str, parent: Policy) -> Policy:
    """A checkpoint of a run that was trained from another policy, a round later."""
    return Policy(name, str(root / "checkpoints" / name), revision, parent.round + 1, parent.engine, parent.batch_size,
                  options=parent.options)  # fmt: skip


def base_policy(
    name: str, *, hub_revision: str | None, engine: str, batch_size: int, options: dict[str, Any] | None = None
) -> Policy:
    """The base model as a policy.

    Raises:
        UserError: the folder lacks weights or tokenizer.
    """
    path = resolve(name)
    if engine == "scripted":
        return Policy(name, path, content_id("scripted", name), 0, engine, batch_size)
    if not is_local(path):
        commit = hub_commit(name, hub_revision)
        return Policy(name, path, commit, 0, engine, batch_size, commit, options or {})
    folder = Path(path)
    check_folder(folder)
    # The folder's own name: where it lies on this machine is nobody's business who reads the dataset.
    shown = name if path != name else folder.resolve().name
    return Policy(shown, str(folder), weights_revision(folder), 0, engine, batch_size, options=options or {})
