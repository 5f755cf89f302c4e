"""What came from what, as a graph: sources, problems, models and rationales, and the log of what was put in quarantine.

Nodes are texts, `row:<rationale id>`, `problem:<id>`, `model:<revision>` and `source:<name>`. An edge leads from what
was used to what was made: a source to its problems, a problem and a model to the rationales that were drawn, a
rationale to those derived from it and to the models trained on it, a model to those trained from it. The log only
grows: what is taken back is taken back by a further entry, and what descends from a node is worked out when it is asked
for, so that what is drawn after an entry is covered too.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from data.errors import InputError
from data.store import write_atomic

LOG = "quarantine.jsonl"
"""File of a run folder."""

Edges = Mapping[str, Sequence[str]]
"""Node to what was made directly from it."""


def row_node(rationale_id: str) -> str:
    """The node of a rationale."""
    return f"row:{rationale_id}"


def model_node(revision: str) -> str:
    """The node of a model."""
    return f"model:{revision}"


def descendants(edges: Edges, roots: Iterable[str]) -> set[str]:
    """The roots and everything made from them, directly or not."""
    found = set(roots)
    waiting = deque(found)
    while waiting:
        for node in edges.get(waiting.popleft(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def resolve(target: str, nodes: Iterable[str], names: Mapping[str, str]) -> str:
    """The node that a user means.

    Args:
        target: an id or revision, or its first six digits or more; the name of a source or model; or a node.
        nodes: all of them.
        names: of models, to their nodes.

    Raises:
        InputError: it is none, or several.
    """
    if target in names:
        return names[target]
    known = set(nodes)
    exact = [node for node in known if target in (node, node.partition(":")[2])]
    found = exact or [
        node for node in known
        if len(target) >= 6 and not node.startswith("source:") and node.partition(":")[2].startswith(target)
    ]  # fmt: skip
    if len(found) != 1:
        what = f"{len(found)} things here are called '{target}'" if found else f"nothing here is called '{target}'"
        cure = (
            f"Name one of {', '.join(sorted(found)[:3])}."
            if found
            else "Give a row, problem, model (6 digits or more) or source."
        )
        raise InputError(f"{what}.", cure)
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An entry of the log."""

    node: str
    action: Literal["quarantine", "undo"]
    reason: str
    """In the words of who decided."""
    through_models: bool = True
    """Whether what models that were trained on it drew goes into quarantine with it."""
    version: str
    """Of stepstar."""


def read_decisions(root: Path) -> list[Decision]:
    """The log of a run folder, oldest first; empty if there is none.

    Raises:
        InputError: it is damaged.
    """
    file = root / LOG
    if not file.exists():
        return []
    try:
        return [Decision(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise InputError(f"'{file}' is damaged ({error}).", "Mend the line, or restore the file.") from error


def append_decisions(root: Path, decisions: Iterable[Decision]) -> None:
    """Add entries to the log, which is whole at any moment.

    Raises:
        InputError: the log is damaged or cannot be written.
    """
    lines = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in [*read_decisions(root), *decisions]]
    write_atomic(root / LOG, "".join(lines).encode())


def in_force(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """The quarantines that nobody has taken back, by node."""
    found: dict[str, Decision] = {}
    for decision in decisions:
        if decision.action == "quarantine":
            found[decision.node] = decision
        else:
            found.pop(decision.node, None)
    return found


def quarantined(edges: Edges, decisions: Iterable[Decision]) -> set[str]:
    """Every node that is in quarantine: the ones decided on and their descendants."""
    found: set[str] = set()
    narrow = {node: [child for child in made if not child.startswith("model:")] for node, made in edges.items()}
    for node, decision in in_force(decisions).items():
        found |= descendants(edges if decision.through_models else narrow, [node])
    return found
