"""The run folder: one writer, a manifest that is replaced atomically, and units that are computed once.

    config.json    the resolved recipe, nothing defaulted away
    manifest.json  shards with hashes, checkpoints, costs of each stage, versions
    records/<table>/shard-<unit>.parquet · checkpoints/ · logs/ · rejects.jsonl · report.html · dataset/

A unit (one shard of one table) is trusted only if the manifest names it, its key matches and its bytes hash right; so a
kill at any moment costs at most the units at hand. The lock is an flock: it dies with its process.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

from data.errors import RunFolderError
from data.schema import SCHEMA_VERSION, TABLES
from data.store import ShardEntry, read_shard, set_aside_foreign, shard_is_whole, write_atomic, write_shard
from pipelines.recipe import Recipe, differences

Record = TypeVar("Record")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


class RunFolder:
    """An open run folder. Use `RunFolder.open` to write and `RunFolder.read` to look."""

    def __init__(self, root: Path, manifest: dict[str, Any], lock: IO[str] | None) -> None:
        self.root = root
        self._manifest = manifest
        self._lock = lock
        self._whole: set[str] = set()
        """Files whose hash was checked in this process."""
        self._visited: set[str] = set()
        """Units that this process asked for."""
        self.set_aside: list[str] = []
        """Foreign or torn files that `open` moved out of the way."""

    @classmethod
    def open(cls, root: Path, recipe: Recipe, *, fresh: bool = False) -> RunFolder:
        """Open a folder for writing: lock it, compare the recipe, load the manifest.

        Raises:
            RunFolderError: another process holds it, it belongs to another recipe, it was made by a newer version, or
                it is no run folder at all.
        """
        # The lock file alone is what a process killed at its very start leaves behind.
        strangers = (
            {entry.name for entry in root.iterdir()} - {".lock", ".config.json.partial"} if root.is_dir() else ()
        )
        if strangers and not (root / "config.json").exists():
            raise RunFolderError(f"'{root}' is not empty and is no run folder.", "Choose another with --out.")
        root.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(root)
        try:
            if fresh:
                _clear(root)
            _check_recipe(root, recipe)
            if not (root / "config.json").exists():
                write_atomic(root / "config.json", _json(recipe.model_dump(mode="json")))
            run = cls(root, _load_manifest(root), lock)
            run.set_aside += set_aside_foreign(root, {entry["file"] for entry in run.manifest["shards"].values()})
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
        if not (root / "manifest.json").is_file():
            raise RunFolderError(f"'{root}' is no run folder (no manifest.json).", "Give the folder of a run.")
        return cls(root, _load_manifest(root), None)

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was made by."""
        return Recipe.model_validate(json.loads((self.root / "config.json").read_text()), strict=False)

    def unit(self, table: str, name: str, key: str, compute: Callable[[], Iterable[Record]]) -> list[Record]:
        """The records of one shard: read if it was computed from the same `key`, else computed and written."""
        self._visited.add(f"{table}/{name}")
        entry = self._entry(table, name)
        if entry and entry.key == key and self._is_whole(entry):
            return list(read_shard(self.root, entry, TABLES[table]))
        rows = list(compute())
        entry = write_shard(self.root, f"records/{table}/shard-{name}.parquet", TABLES[table], rows, key=key)
        self._manifest["shards"][f"{table}/{name}"] = asdict(entry)
        self._whole.add(entry.file)
        self._save()
        return rows

    def has_unit(self, table: str, name: str, key: str) -> bool:
        """Whether a shard is there, whole, and was computed from `key`."""
        entry = self._entry(table, name)
        return bool(entry and entry.key == key and self._is_whole(entry))

    def drop_stale(self) -> None:
        """Forget the shards that this run, now through, never asked for: an older version cut its work otherwise."""
        stale = [name for name in self._manifest["shards"] if name not in self._visited]
        if stale:
            for name in stale:
                del self._manifest["shards"][name]
            self._save()
            self.set_aside += set_aside_foreign(self.root, {row["file"] for row in self._manifest["shards"].values()})

    def table(self, table: str, prefix: str = "") -> Iterator[Any]:
        """Records of a table whose unit names begin with `prefix`, shard by shard in the order of their names."""
        for name in sorted(self._manifest["shards"]):
            if name.startswith(f"{table}/{prefix}"):
                yield from read_shard(self.root, ShardEntry(**self._manifest["shards"][name]), TABLES[table])

    def checkpoint(self, name: str, key: str, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """A trained model in `checkpoints/<name>`: its manifest entry, made by `make(folder)` if it is not there."""
        from star.checkpoints import weights_revision

        folder = self.root / "checkpoints" / name
        entry = self._manifest["checkpoints"].get(name)
        if entry and entry["key"] == key and folder.is_dir() and weights_revision(folder) == entry["revision"]:
            return dict(entry)
        entry = {**make(folder), "key": key}
        self._manifest["checkpoints"][name] = entry
        self._save()
        return entry

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, float]]:
        """Time a stage; what the caller puts into the dict (tokens, samples) is added to the stage's costs.

        Costs add up over attempts, so a resumed run reports what it really took.
        """
        counts: dict[str, float] = {}
        started = time.monotonic()
        yield counts
        costs = self._manifest["stages"].setdefault(name, {"seconds": 0.0, "peak_mb": 0.0})
        costs["seconds"] = round(costs["seconds"] + time.monotonic() - started, 3)
        costs["peak_mb"] = max(costs["peak_mb"], round(peak_memory_mb(), 1))
        for what, amount in counts.items():
            costs[what] = costs.get(what, 0) + amount
        self._save()

    def note(self, name: str, value: Any) -> None:
        """Record a plain JSON value under `notes`, e.g. counts of rejected rows."""
        if self._manifest["notes"].get(name) != value:
            self._manifest["notes"][name] = value
            self._save()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as plain JSON; read only."""
        return self._manifest

    def close(self) -> None:
        """Release the lock."""
        if self._lock:
            self._lock.close()

    def _entry(self, table: str, name: str) -> ShardEntry | None:
        entry = self._manifest["shards"].get(f"{table}/{name}")
        return ShardEntry(**entry) if entry else None

    def _is_whole(self, entry: ShardEntry) -> bool:
        if entry.file not in self._whole and shard_is_whole(self.root, entry):
            self._whole.add(entry.file)
        return entry.file in self._whole

    def _save(self) -> None:
        write_atomic(self.root / "manifest.json", _json(self._manifest))


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _take_lock(root: Path) -> IO[str]:
    try:
        lock = (root / ".lock").open("a+")
    except OSError as error:
        raise RunFolderError(f"cannot write in '{root}': {error.strerror}.", "Choose another with --out.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise RunFolderError(f"'{root}' is in use by {holder}.", "Wait for it, or choose another with --out.") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock


def _clear(root: Path) -> None:
    for entry in root.iterdir():
        if entry.name == ".lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check_recipe(root: Path, recipe: Recipe) -> None:
    file = root / "config.json"
    if file.exists():
        changes = differences(json.loads(file.read_text()), recipe.model_dump(mode="json"))
        if changes:
            raise RunFolderError(
                f"'{root}' was made by another recipe: {'; '.join(changes)}.",
                "Choose another folder with --out, or start over with --fresh.",
            )


def _load_manifest(root: Path) -> dict[str, Any]:
    file = root / "manifest.json"
    if not file.exists():
        return {"schema_version": SCHEMA_VERSION, "shards": {}, "checkpoints": {}, "stages": {}, "notes": {}}
    manifest = dict(json.loads(file.read_text()))
    if manifest["schema_version"] > SCHEMA_VERSION:
        raise RunFolderError(
            f"'{root}' was made by a newer stepstar (schema {manifest['schema_version']}).",
            "Upgrade: pip install -U stepstar.",
        )
    return manifest
