"""The folder of an evaluation: a run folder (`pipelines.run_dir`) whose config is an evaluation's.

Kill it anywhere, run the same command again, and it goes on; another setting in the same folder is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data.errors import RunFolderError
from data.records import FinishReason, Problem
from data.store import write_atomic
from pipelines.evaluation.settings import EvalConfig
from pipelines.run_dir import RunFolder
from pipelines.run_guard import CONFIG, as_json, refuse_differences


class EvalFolder(RunFolder):
    """The run folder of an evaluation."""

    @classmethod
    def begin(cls, root: Path, config: EvalConfig, *, fresh: bool = False) -> EvalFolder:
        """Open a folder for writing, as `RunFolder.open` does for a recipe.

        Raises:
            RunFolderError: another process holds it, or it belongs to another evaluation or version, or to a run.
        """
        if (root / CONFIG).exists() and not is_evaluation(root):
            raise RunFolderError(f"'{root}' is the folder of a run.", "Choose another with --out.")
        new = config.model_dump(mode="json")

        def settle(manifest: dict[str, Any]) -> None:
            if (root / CONFIG).exists() and manifest["shards"]:
                refuse_differences(root, _stored(root), new, "evaluation")
            else:
                manifest |= {"pins": {}, "notes": {}}
                write_atomic(root / CONFIG, as_json(new))

        return cls._opened(root, settle, fresh)

    @classmethod
    def read(cls, root: Path) -> EvalFolder:
        """Open a folder for reading only; see `RunFolder.read`."""
        folder = super().read(root)
        assert isinstance(folder, cls)
        return folder

    def forget_failed(self) -> int:
        """Forget the shards with samples that the engine failed on, so that they are drawn again; how many there were.

        A server that was down for a while would else stay in the figures for good.
        """
        names = [
            unit.removeprefix("rationales/") for unit in self._manifest["shards"] if unit.startswith("rationales/")
        ]
        failed = [
            name
            for name in names
            if any(row.finish_reason is FinishReason.ERROR for row in self.table("rationales", name))
        ]
        for name in failed:
            for table in ("rationales", "verdicts"):
                self._manifest["shards"].pop(f"{table}/{name}", None)
        self._set_foreign_aside()
        return len(failed)

    @property
    def config(self) -> EvalConfig:
        """What the evaluation was asked for.

        Raises:
            RunFolderError: another version made it.
        """
        try:
            return EvalConfig.model_validate(_stored(self.root))
        except ValueError as error:
            raise RunFolderError(f"'{self.root}' was made by another version of stepstar.", "Use that one.") from error


def is_evaluation(root: Path) -> bool:
    """Whether a folder is that of an evaluation."""
    return (root / CONFIG).is_file() and "benchmarks" in _stored(root)


def refuse_unasked(root: Path, wanted: Iterable[str], problems: Mapping[str, Problem]) -> None:
    """Raise a RunFolderError if answers are stored to problems that are not: an older version kept no variants."""
    if any(key not in problems for key in wanted):
        raise RunFolderError(f"'{root}' does not hold all problems that were asked.",
                             "Run its `stepstar eval` command again: it adds them, and draws nothing.")  # fmt: skip


def _stored(root: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((root / CONFIG).read_text(encoding="utf-8")))
    except ValueError as error:
        raise RunFolderError(f"'{root / CONFIG}' is damaged.", "Start over with --fresh.") from error
