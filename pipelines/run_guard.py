"""What stands between a command and a run folder: the lock, the version, the recipe, and `--fresh`."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from data.errors import RunFolderError
from data.schema import SCHEMA_VERSION
from data.store import unseal, write_atomic
from pipelines.journal import JOURNAL, replay
from pipelines.recipe import Recipe, differences

CONFIG, MANIFEST, LOCK = "config.json", "manifest.json", ".lock"
LIMITS = ("max_reject_share", "max_undecided_share", "executor")
"""Settings that change no result, only where a run stops or who works at it: a folder with results takes new ones."""


def as_json(value: Any) -> bytes:
    """JSON as it is stored: indented, sorted, readable."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def take_folder(root: Path) -> IO[str]:
    """Make the folder if need be and lock it. The lock is an flock: it dies with its process.

    Raises:
        RunFolderError: it is no run folder, cannot be written, or another process holds it.
    """
    try:
        # A lock and a half-written config are what a process killed at its very start leaves behind.
        ours = {LOCK, f".{CONFIG}.partial"}
        strangers = {entry.name for entry in root.iterdir()} - ours if root.exists() else set()
        if strangers and not _is_ours(root):
            raise RunFolderError(f"'{root}' is not empty and is no run folder.", "Choose another with --out.")
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / LOCK).open("a+")
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


def _is_ours(root: Path) -> bool:
    """Whether a folder holds a run or an evaluation: a model's folder has a `config.json` too."""
    if (root / MANIFEST).exists() or (root / JOURNAL).exists():
        return True
    try:
        config = json.loads((root / CONFIG).read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(config, dict) and isinstance(config.get("model"), dict)


def clear_folder(root: Path) -> None:
    """Delete a run's content. The config goes last: a folder with one is known as a run, whatever else is gone."""
    order = {MANIFEST: 0, JOURNAL: 0, CONFIG: 2}
    for entry in sorted(root.iterdir(), key=lambda entry: (order.get(entry.name, 1), entry.name)):
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def load_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a folder, or an empty one.

    Raises:
        RunFolderError: a newer stepstar made it.
    """
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "shards": {}, "checkpoints": {}, "stages": {}, "notes": {}, "pins": {}
    }  # fmt: skip
    if (root / MANIFEST).exists():
        refuse_newer(root)
        manifest = _read_json(root / MANIFEST)
    replay(root, manifest)
    return manifest


def refuse_newer(root: Path) -> None:
    """Raise a RunFolderError if a newer stepstar made the folder; a damaged manifest says nothing about that."""
    try:
        found = _read_json(root / MANIFEST)["schema_version"] if (root / MANIFEST).exists() else 0
    except RunFolderError:
        return
    if found > SCHEMA_VERSION:
        raise RunFolderError(
            f"'{root}' was made by a newer stepstar (schema {found}).", "Upgrade: pip install -U stepstar."
        )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(unseal(file.read_bytes())))
    except ValueError as error:
        raise RunFolderError(
            f"'{file}' is damaged ({error}).", "Start over with --fresh, or choose another folder with --out."
        ) from error


def read_config(root: Path) -> Recipe:
    """The recipe that a folder was made by; keys that are younger than it take their defaults.

    Raises:
        RunFolderError: it holds keys that this version does not know.
    """
    try:
        return Recipe.model_validate(_read_json(root / CONFIG))
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RunFolderError(
            f"'{root}' was made by another version of stepstar: this one does not know its '{key}'.",
            "Use that version, or choose another folder with --out.",
        ) from error


def settle_config(root: Path, recipe: Recipe, manifest: dict[str, Any], *, update: bool = False) -> None:
    """Store the recipe of a new folder, or compare it with that of an old one.

    A folder in which nothing was computed yet, say because the input was refused, takes a corrected recipe; any folder
    takes other limits.

    Raises:
        RunFolderError: the folder belongs to another recipe; the difference is named.
    """
    if update and (root / CONFIG).exists() and read_config(root) != recipe:
        # What is told of stages that the new recipe may not have; those that it has tell it again. The peak stays, as
        # the seconds do: both are of all attempts.
        manifest["notes"] = {name: note for name, note in manifest["notes"].items() if name == "peak_mb"}
        if read_config(root).model != recipe.model:
            manifest["pins"] = {name: pin for name, pin in manifest["pins"].items() if name not in ("base", "start")}
    elif (root / CONFIG).exists() and manifest["shards"]:
        old = read_config(root).model_copy(update={limit: getattr(recipe, limit) for limit in LIMITS})
        refuse_differences(root, old.model_dump(mode="json"), recipe.model_dump(mode="json"), "recipe")
    elif not manifest["shards"]:
        manifest |= {"pins": {}, "notes": {}}
    write_atomic(root / CONFIG, as_json(recipe.model_dump(mode="json")))


def refuse_differences(root: Path, old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> None:
    """Raise a RunFolderError that names what differs, if anything does."""
    changes = differences(old, new)
    if changes:
        raise RunFolderError(
            f"'{root}' was made with another {what}: {'; '.join(changes)}.",
            "Choose another folder with --out, or start over with --fresh"
            + (", or keep what is not touched with --update." if what == "recipe" else "."),
        )
