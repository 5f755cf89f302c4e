"""`stepstar run --explain`: what of a run folder a run would use again, and what it would compute first, and why.

The run itself is walked through, on a folder that hands out what is stored and ends the walk where something would be
computed: every shard has the hash of what it depends on, so nobody has to guess. Nothing is written, no model is asked.
What follows the first missing shard depends on it and cannot be known before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from data.lineage import read_decisions
from data.model_folder import weights_revision
from data.prompts import PromptTemplate
from pipelines.recipe import Recipe, differences
from pipelines.run import run_stages
from pipelines.run_dir import INPUTS, Record, RunFolder
from pipelines.run_guard import LIMITS


class _Missing(Exception):
    """Where the walk ends."""


class _Walked(RunFolder):
    """A run folder that is only looked at."""

    dry = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.used: set[tuple[str, str]] = set()
        """What of the folder would be used: table and unit."""

    def unit(
        self, table: str, name: str, key: str, compute: Callable[[], Iterable[Record]], *, voids: str = ""
    ) -> list[Record]:
        self.has_unit(table, name, key)
        return list(self.read_unit(table, name))

    def has_unit(self, table: str, name: str, key: str) -> bool:
        if not super().has_unit(table, name, key):
            entry = self._entry(table, name)
            stale = "its file is damaged or gone" if entry and entry.key == key else "it was computed from other inputs"
            self._end(f"{table} {name}", stale if entry else "it is not there")
        self.used.add((table, name))
        return True

    def checkpoint(self, name: str, key: str, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        entry, folder = self.manifest["checkpoints"].get(name), self.root / "checkpoints" / name
        if not entry or entry["key"] != key:
            self._end(f"checkpoint {name}", "it was trained from other inputs" if entry else "it is not there")
        if not folder.is_dir() or weights_revision(folder) != entry["revision"]:
            self._end(f"checkpoint {name}", "its weights are damaged or gone")
        self.used.add(("checkpoints", name))
        return dict(entry)

    def pin(self, **facts: Any) -> None:
        pins = self.manifest["pins"]
        changed = differences({name: pins[name] for name in facts if name in pins}, facts)
        if changed and any(name in pins for name in facts):
            refused = "" if set(facts) <= set(INPUTS) else " (an environment that is not the folder's is refused)"
            print(f"changed: {'; '.join(changed)}{refused}")

    def note(self, name: str, value: Any) -> None:
        pass

    def drop_stale(self, *tables: str, prefix: str = "") -> None:
        pass

    def forget(self, table: str) -> None:
        pass

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stage = name
        yield

    def _end(self, what: str, why: str) -> NoReturn:
        raise _Missing(f"{what} (stage '{self._stage}'): {why}")


def explain_run(recipe: Recipe, root: Path) -> None:
    """Print what `stepstar run` would use of a folder and what it would compute.

    Args:
        recipe: that would be run.
        root: the run folder.

    Raises:
        RunFolderError: it is no run folder, or another version made it.
    """
    if not root.is_dir() or not any(root.iterdir()):
        print(f"'{root}' is new: nothing is kept, everything is computed")
        return
    run = _Walked.read(root)
    assert isinstance(run, _Walked)
    exclude = set(LIMITS)
    changes = differences(
        run.recipe.model_dump(mode="json", exclude=exclude), recipe.model_dump(mode="json", exclude=exclude)
    )
    print(f"recipe: {'; '.join(changes) if changes else 'as in the folder'}")
    if changes:
        print("        (a run takes a changed recipe with --update; without it, it is refused)")
    if read_decisions(root):
        print("quarantine: decisions are in force; what they touch is computed again")
    try:
        run_stages(run, recipe, PromptTemplate(recipe.prompt))
        first = "nothing: the run is through; dataset and report are written again"
        if recipe.outer_rounds > 1:
            first += " (its outer rounds from 2 on lie in folders of their own)"
    except _Missing as missing:
        first = f"{missing}\nthen:   what follows from it"
    counts = Counter(table for table, _ in run.used)
    found = ", ".join(f"{count} {table}" for table, count in sorted(counts.items()))
    print(f"kept:   {found or 'nothing'}\nfirst:  {first}")
