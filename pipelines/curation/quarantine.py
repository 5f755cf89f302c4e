"""`stepstar quarantine`: take a row, model, problem or source of a run, and all that was made of it, out of its data.

The decision goes into the run's log (`data.lineage`); records are never edited. Dataset and exports leave out what is
in quarantine, and a run that goes on makes no labels and near-misses of it. Trained models stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from data.errors import InputError
from data.lineage import Decision, append_decisions, in_force, quarantined, read_decisions, resolve, row_node
from data.prompts import PromptTemplate
from pipelines.curation.lineage import Graph, build_graph
from pipelines.run_dir import RunFolder
from pipelines.stages.arm import STAR
from pipelines.stages.dataset import write_dataset
from pipelines.stages.labels import write_labels
from pipelines.stages.sampling import Context


def decide(root: Path, target: str, reason: str, *, undo: bool = False, through_models: bool = True) -> Counter[str]:
    """Put something into quarantine or take it out, and write the run's dataset again.

    Args:
        root: a run folder.
        target: id of a rationale or problem, name or revision of a model, or name of a source.
        reason: why, for the log.
        undo: take it out again.
        through_models: what was drawn by models that were trained on it goes with it.

    Returns:
        How many nodes of each kind (`row`, `problem`, `model`, `source`) are in quarantine now.

    Raises:
        InputError: there is no such thing, it is not (or already) in quarantine, or no reason is given.
        RunFolderError: it is no run folder, or a run is at work in it.
    """
    with _writing(root) as run:
        graph = build_graph(run)
        node = resolve(target, graph.nodes, graph.names)
        _check(root, node, target, reason, undo)
        action: Literal["quarantine", "undo"] = "undo" if undo else "quarantine"
        return _put(run, graph, [Decision(node=node, action=action, reason=reason, through_models=through_models,
                                          version=version("stepstar"))])  # fmt: skip


def drop_rows(root: Path, reasons: Mapping[str, str]) -> Counter[str]:
    """Put rows into quarantine together, and write the run's dataset again; models that were trained on them stay.

    Args:
        root: a run folder.
        reasons: id of a rationale to why.

    Returns:
        As of `decide`.

    Raises:
        RunFolderError: it is no run folder, or a run is at work in it.
    """
    with _writing(root) as run:
        decisions = [
            Decision(node=row_node(name), action="quarantine", reason=reason, through_models=False,
                     version=version("stepstar"))
            for name, reason in reasons.items()
        ]  # fmt: skip
        return _put(run, build_graph(run), decisions)


def _writing(root: Path) -> closing[RunFolder]:
    return closing(RunFolder.open(root, RunFolder.read(root).recipe))


def _put(run: RunFolder, graph: Graph, decisions: Sequence[Decision]) -> Counter[str]:
    """Log decisions and write the dataset accordingly."""
    append_decisions(run.root, decisions)
    if (run.root / "dataset").is_dir():
        # As the run itself would: rows that come in for others need their labels.
        write_labels(Context(run, run.recipe, PromptTemplate(run.recipe.prompt)), STAR)
        write_dataset(run, STAR)
    found = quarantined(graph.edges, read_decisions(run.root))
    return Counter(node.partition(":")[0] for node in found)


def _check(root: Path, node: str, target: str, reason: str, undo: bool) -> None:
    there = in_force(read_decisions(root))
    if undo and node not in there:
        named = ", ".join(there) or "nothing"
        raise InputError(f"'{target}' was not put into quarantine.", f"What was: {named}.")
    if not undo and node in there:
        raise InputError(f"'{target}' is in quarantine already ({there[node].reason}).", "Take it out with --undo.")
    if not undo and not reason.strip():
        raise InputError("no reason is given.", 'Say why: --reason "..."')
