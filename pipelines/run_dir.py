"""The run folder: one writer, a manifest that is replaced atomically, and units that are computed once.

    config.json    the resolved recipe, nothing defaulted away
    manifest.json  shards with hashes, checkpoints, costs of each stage, pins (versions, inputs, device)
    journal.jsonl  shards of the stage at hand, which the manifest takes in when the stage ends
    records/<table>/shard-<unit>.parquet · checkpoints/ · rejects.jsonl · report.html · dataset/

A unit (one shard of one table) is trusted only if manifest or journal names it, its key matches and its bytes hash
right; so a kill at any moment costs at most the unit at hand. What the recipe does not say but the result depends on is
pinned by the first attempt, and a later one that differs is refused.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from data.errors import InputError, RunFolderError
from data.model_folder import weights_revision
from data.schema import TABLES
from data.store import (
    Only,
    ShardEntry,
    read_fields,
    read_shard,
    seal,
    set_aside_foreign,
    shard_is_whole,
    write_atomic,
    write_shard,
)
from pipelines.journal import JOURNAL, Journal
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

INPUTS = ("problems", "evaluation", "template", "base", "start")
"""Pins that are inputs; the others are the environment, which floating point depends on."""


class RunFolder:
    """An open run folder. Use `RunFolder.open` to write and `RunFolder.read` to look."""

    dry = False
    """Whether a run in it must write nothing."""

    def __init__(self, root: Path, manifest: dict[str, Any], lock: IO[str] | None) -> None:
        self.root = root
        self.set_aside: list[str] = []
        """Foreign or torn files that were moved out of the way."""
        self._manifest = manifest
        self._lock = lock
        self._journal = Journal(root)
        self._whole: set[str] = set()
        """Files whose hash was checked in this process."""
        self._visited: set[str] = set()
        """Units that this process asked for."""
        self._takes_inputs = False
        """Whether pinned inputs may change, since every shard's key has them."""
        self._stage = ""
        self._charged = time.monotonic()
        """Up to when the stage at hand has been charged."""

    @classmethod
    def open(cls, root: Path, recipe: Recipe, *, fresh: bool = False, update: bool = False) -> RunFolder:
        """Open a folder for writing: lock it, compare version and recipe, load the manifest.

        Raises:
            RunFolderError: another process holds it, it belongs to another recipe, it was made by a newer version, or
                it is no run folder at all.
        """
        run = cls._opened(root, lambda manifest: settle_config(root, recipe, manifest, update=update), fresh)
        run._takes_inputs = update
        return run

    @classmethod
    def _opened(cls, root: Path, settle: Callable[[dict[str, Any]], None], fresh: bool) -> Self:
        """Lock a folder and load its manifest; `settle` stores the config, or refuses another one."""
        lock = take_folder(root)
        try:
            if fresh:
                refuse_newer(root)
                clear_folder(root)
            manifest = load_manifest(root)
            settle(manifest)
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
        if not (root / MANIFEST).is_file() and not (root / JOURNAL).is_file():
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
        before = dict(pins)
        if self._takes_inputs:
            pins.update({name: value for name, value in facts.items() if name in INPUTS})
        refuse_differences(
            self.root,
            {name: pins[name] for name in facts if name in pins},
            {name: value for name, value in facts.items() if name in pins},
            "input or environment",
        )
        if pins != before or any(name not in pins for name in facts):
            pins.update(facts)
            self._save()

    def unit(
        self, table: str, name: str, key: str, compute: Callable[[], Iterable[Record]], *, voids: str = ""
    ) -> list[Record]:
        """The records of one shard: read if it was computed from the same `key`, else computed and written.

        Generated tokens (`n_tokens` of the rows) are charged to the stage at hand together with the shard.

        Args:
            table: of the records.
            name: of the unit.
            key: hash of what it is computed from.
            compute: the records.
            voids: a table whose unit of the same name says something of these records: it goes when they come.
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
        shards = {f"{table}/{name}": asdict(entry), **({f"{voids}/{name}": None} if voids else {})}
        self._manifest["shards"].pop(f"{voids}/{name}", None)
        self._journal.add(self._manifest.get("saves", 0), {"shards": shards, **self._costs()})
        return rows

    def stored(self, table: str, name: str, *, fields: Sequence[str] = ()) -> list[Any]:
        """The records of one shard, or `fields` of them; none if it is not there."""
        return list(self.read_unit(table, name, fields=fields)) if self._entry(table, name) else []

    def read_unit(
        self, table: str, name: str, *, only: Only | None = None, fields: Sequence[str] = ()
    ) -> Iterator[Any]:
        """The records of one shard.

        Args:
            table: of the records.
            name: of the unit.
            only: which of them.
            fields: of all of them, instead of the records; see `data.store.read_fields`.

        Raises:
            InputError: it is not there, or damaged.
        """
        entry = self._entry(table, name)
        if entry is None:
            raise InputError(f"'{self.root}' has no shard '{table}/{name}'.", "Run the command again: it is computed.")
        if fields:
            yield from read_fields(self.root, entry, fields)
        else:
            yield from read_shard(self.root, entry, TABLES[table], only=only)

    def units(self, table: str, prefix: str = "") -> list[str]:
        """Names of the units of a table that begin with `prefix`, in order."""
        start = f"{table}/{prefix}"
        names = (name.partition("/")[2] for name in self._manifest["shards"] if name.startswith(start))
        # Places have five digits or more.
        return sorted(names, key=lambda name: (len(name), name))

    def n_rows(self, table: str, prefix: str = "") -> int:
        """Stored records of a table, or of the units whose names begin with `prefix`."""
        shards = self._manifest["shards"]
        return sum(shards[f"{table}/{name}"]["rows"] for name in self.units(table, prefix))

    def has_unit(self, table: str, name: str, key: str) -> bool:
        """Whether a shard is there, whole, and was computed from `key`."""
        self._visited.add(f"{table}/{name}")
        entry = self._entry(table, name)
        return bool(entry and entry.key == key and self._is_whole(entry))

    def forget(self, table: str) -> None:
        """Drop the shards of a table."""
        self._drop([f"{table}/{name}" for name in self.units(table)])

    def drop_stale(self, *tables: str, prefix: str = "") -> None:
        """Forget the shards that nobody asked for though what computes them is through: of no attempt that counts.

        Args:
            tables: which; all, if none is named.
            prefix: how the names of their units begin.
        """
        names = [f"{table}/{name}" for table in tables or TABLES for name in self.units(table, prefix)]
        self._drop([name for name in names if name not in self._visited])
        if not tables:
            # The run is through: what was computed outside its stages goes into the manifest too.
            self._save()

    def _drop(self, names: list[str]) -> None:
        for name in names:
            del self._manifest["shards"][name]
        if names:
            self._save()
            self._set_foreign_aside()

    def table(
        self, table: str, prefix: str = "", *, only: Only | None = None, fields: Sequence[str] = ()
    ) -> Iterator[Any]:
        """Records of a table whose unit names begin with `prefix`, shard by shard in the order of their names."""
        for name in self.units(table, prefix):
            yield from self.read_unit(table, name, only=only, fields=fields)

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

    def _costs(self) -> dict[str, Any]:
        """The costs of the stage at hand, as a part of the manifest."""
        return {"stages": {self._stage: self._manifest["stages"][self._stage]}} if self._stage else {}

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
        self._manifest["saves"] = self._manifest.get("saves", 0) + 1
        write_atomic(self.root / MANIFEST, seal(as_json(self._manifest)))
        self._journal.clear()


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, MiB; verifier workers and GPUs not counted."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
