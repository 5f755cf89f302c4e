"""The journal of a run folder: what the manifest does not say yet, one JSON line a finished shard.

A manifest that were replaced whole for each shard would cost more the longer a run is: a million problems have tens of
thousands of shards. So a shard is a line here, flushed to disk, and the manifest takes the lines in at the end of each
stage. A line that a kill tore says nothing, like a shard that no line names; nor does one that belongs to an earlier
manifest than the one that is there, which has taken it in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.ids import content_id
from data.store import writing

JOURNAL = "journal.jsonl"


class Journal:
    """The journal of a folder, open for writing at its end."""

    def __init__(self, root: Path) -> None:
        self._file = root / JOURNAL

    def add(self, number: int, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add entries of the manifest, by part (`shards`, `stages`) and name; None takes one out.

        Args:
            number: of the manifest that they belong to, `saves`.
            parts: what to add.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        line = [number, parts]
        with writing(self._file), self._file.open("a", encoding="utf-8") as stream:
            # A line begins anew, whatever a kill left of the one before.
            stream.write("\n" + json.dumps([_hash(line), line]))
            stream.flush()
            os.fsync(stream.fileno())

    def clear(self) -> None:
        """Forget the lines: the manifest has them."""
        self._file.unlink(missing_ok=True)


def replay(root: Path, manifest: dict[str, Any]) -> None:
    """Put the lines of a folder's journal into its manifest; a torn or damaged one is passed over."""
    try:
        lines = (root / JOURNAL).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            found, content = json.loads(line)
        except (ValueError, TypeError):
            continue
        if found == _hash(content) and content[0] == manifest.get("saves", 0):
            for part, entries in content[1].items():
                manifest[part].update(entries)
                for name in [name for name, entry in entries.items() if entry is None]:
                    del manifest[part][name]


def _hash(content: Any) -> str:
    return content_id(json.dumps(content))
