"""The run folder: one writer, a manifest that is replaced atomically, and units that are computed once.

    config.json    the resolved recipe, nothing defaulted away
    manifest.json  shards with hashes, checkpoints, costs of each stage, pins (versions, inputs, device)
    records/<table>/shard-<unit>.parquet · checkpoints/ · rejects.jsonl · report.html · dataset/

A unit (one shard of one table) is trusted only if the manifest names it, its key matches and its bytes hash right; so a
kill at any moment costs at most the unit at hand. What the recipe does not say but the result depends on is pinned by
the first attempt, and a later one that differs is refused.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

from data.errors import RunFolderError
from data.model_folder import weights_revision
from data.schema import TABLES
from data.store import ShardEntry, read_shard, set_aside_foreign, shard_is_whole, write_atomic, write_shard
from pipelines.recipe import Recipe
from pipelines.run_guard import (
    MANIFEST,
    as_json,
    clear_folder,
    load_manifest,
    read_config,
    refuse_differences,
    refuse_newer,
    settle_config,
    take_folder,
)

Record = TypeVar("Record")


class RunFolder:
    """An open run folder. Use `RunFolder.open` to write and `RunFolder.read` to look."""

    def __init__(self, root: Path, manifest: dict[str, Any], lock: IO[str] | None) -> None:
        self.root = root
        self.set_aside: list[str] = []
        """Foreign or torn files that were moved out of the way."""
        self._manifest = manifest
        self._lock = lock
        self._whole: set[str] = set()
        """Files whose hash was checked in this process."""
        self._visited: set[str] = set()
        """Units that this process asked for."""
        self._stage = ""
        self._charged = time.monotonic()
        """Up to when the stage at hand has been charged."""

    @classmethod
    def open(cls, root: Path, recipe: Recipe, *, fresh: bool = False) -> RunFolder:
        """Open a folder for writing: lock it, compare version and recipe, load the manifest.

        Raises:
            RunFolderError: another process holds it, it belongs to another recipe, it was made by a newer version, or
                it is no run folder at all.
        """
        lock = take_folder(root)
        try:
            if fresh:
                refuse_newer(root)
                clear_folder(root)
            manifest = load_manifest(root)
            settle_config(root, recipe, manifest)
            run = cls(root, manifest, lock)
            run._set_foreign_aside()
        except BaseException:
            lock.close()
            raise
        return run

    @classmethod
    def read(cls, root: Path) -> RunFolder:
        """Open a folder for reading only.

        Raises:
            RunFolderError: it is no run folder.
        """
        if not (root / MANIFEST).is_file():
            raise RunFolderError(f"'{root}' is no run folder (no {MANIFEST}).", "Give the folder of a run.")
        return cls(root, load_manifest(root), None)

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was made by."""
        return read_config(self.root)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest as plain JSON."""
        return self._manifest

    def pin(self, **facts: Any) -> None:
        """Fix what the result depends on besides the recipe, at the first attempt.

        Raises:
            RunFolderError: an earlier attempt had another value.
        """
        pins = self._manifest["pins"]
        refuse_differences(
            self.root,
            {name: pins[name] for name in facts if name in pins},
            {name: value for name, value in facts.items() if name in pins},
            "input or environment",
        )
        if any(name not in pins for name in facts):
            pins.update(facts)
            self._save()

    def unit(self, table: str, name: str, key: str, compute: Callable[[], Iterable[Record]]) -> list[Record]:
        """The records of one shard: read if it was computed from the same `key`, else computed and written.

        Generated tokens (`n_tokens` of the rows) are charged to the stage at hand together with the shard.
        """
        self._visited.add(f"{table}/{name}")
        entry = self._entry(table, name)
        if entry and entry.key == key and self._is_whole(entry):
            return list(read_shard(self.root, entry, TABLES[table]))
        rows = list(compute())
        entry = write_shard(self.root, f"records/{table}/shard-{name}.parquet", TABLES[table], rows, key=key)
        self._manifest["shards"][f"{table}/{name}"] = asdict(entry)
        self._whole.add(entry.file)
        self._charge(sum(getattr(row, "n_tokens", 0) for row in rows))
        self._save()
        return rows

    def has_unit(self, table: str, name: str, key: str) -> bool:
        """Whether a shard is there, whole, and was computed from `key`."""
        entry = self._entry(table, name)
        return bool(entry and entry.key == key and self._is_whole(entry))

    def drop_stale(self) -> None:
        """Forget the shards that this run, now through, never asked for; they are of no attempt that counts."""
        stale = [name for name in self._manifest["shards"] if name not in self._visited]
        for name in stale:
            del self._manifest["shards"][name]
        if stale:
            self._save()
            self._set_foreign_aside()

    def table(self, table: str, prefix: str = "") -> Iterator[Any]:
        """Records of a table whose unit names begin with `prefix`, shard by shard in the order of their names."""
        for name in sorted(self._manifest["shards"]):
            if name.startswith(f"{table}/{prefix}"):
                yield from read_shard(self.root, ShardEntry(**self._manifest["shards"][name]), TABLES[table])

    def checkpoint(self, name: str, key: str, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """A trained model in `checkpoints/<name>`: its manifest entry, made by `make(folder)` if it is not there."""
        folder = self.root / "checkpoints" / name
        entry = self._manifest["checkpoints"].get(name)
        if entry and entry["key"] == key and folder.is_dir() and weights_revision(folder) == entry["revision"]:
            return dict(entry)
        entry = {**make(folder), "key": key}
        self._manifest["checkpoints"][name] = entry
        self._charge(entry["tokens"])
        self._save()
        return entry

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge what happens inside to a stage. Costs add up over attempts; a kill loses those of the unit at hand."""
        self._stage, self._charged = name, time.monotonic()
        yield
        self._charge(0)
        self._stage = ""
        self._save()

    def note(self, name: str, value: Any) -> None:
        """Record a plain JSON value under `notes`, e.g. counts of rejected rows."""
        if self._manifest["notes"].get(name) != value:
            self._manifest["notes"][name] = value
            self._save()

    def close(self) -> None:
        """Release the lock."""
        if self._lock:
            self._lock.close()

    def _charge(self, tokens: int) -> None:
        now = time.monotonic()
        if self._stage:
            costs = self._manifest["stages"].setdefault(self._stage, {"seconds": 0.0, "tokens": 0})
            costs["seconds"] = round(costs["seconds"] + now - self._charged, 3)
            costs["tokens"] += tokens
        self._charged = now
        notes = self._manifest["notes"]
        notes["peak_mb"] = max(notes.get("peak_mb", 0.0), round(peak_memory_mb(), 1))

    def _entry(self, table: str, name: str) -> ShardEntry | None:
        entry = self._manifest["shards"].get(f"{table}/{name}")
        return ShardEntry(**entry) if entry else None

    def _is_whole(self, entry: ShardEntry) -> bool:
        if entry.file not in self._whole and shard_is_whole(self.root, entry):
            self._whole.add(entry.file)
        return entry.file in self._whole

    def _set_foreign_aside(self) -> None:
        self.set_aside += set_aside_foreign(self.root, {row["file"] for row in self._manifest["shards"].values()})

    def _save(self) -> None:
        write_atomic(self.root / MANIFEST, as_json(self._manifest))


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, MiB; verifier workers and GPUs not counted."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
