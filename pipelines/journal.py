"""The journal of a run folder: what the manifest does not say yet, one JSON line a finished shard.

A manifest that were replaced whole for each shard would cost more the longer a run is: a million problems have tens of
thousands of shards. So a shard is a line here, flushed to disk, and the manifest takes the lines in at the end of each
stage. A line that a kill tore says nothing, like a shard that no line names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.ids import content_id

JOURNAL = "journal.jsonl"


class Journal:
    """The journal of a folder, open for writing at its end."""

    def __init__(self, root: Path) -> None:
        self._file = root / JOURNAL

    def add(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add entries of the manifest, by part (`shards`, `stages`) and name.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        try:
            with self._file.open("a", encoding="utf-8") as stream:
                # A line begins anew, whatever a kill left of the one before.
                stream.write("\n" + json.dumps([_hash(parts), parts]))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write '{self._file}': {error.strerror}.",
                "Free space or permissions, then run the same command again: it resumes.",
            ) from error

    def clear(self) -> None:
        """Forget the lines: the manifest has them."""
        self._file.unlink(missing_ok=True)


def replay(root: Path, manifest: dict[str, Any]) -> None:
    """Put the lines of a folder's journal into its manifest; a torn or damaged one is passed over."""
    file = root / JOURNAL
    if not file.exists():
        return
    for line in file.read_bytes().splitlines():
        try:
            found, parts = json.loads(line)
        except (ValueError, TypeError):
            continue
        if found == _hash(parts):
            for part, entries in parts.items():
                manifest[part].update(entries)


def _hash(parts: Any) -> str:
    return content_id(json.dumps(parts))
