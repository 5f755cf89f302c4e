"""The lineage of a run: its graph from the records, and the tree of one row in words.

`stepstar lineage RUN ROW` prints where a rationale is from (problem, parents, model and its parents, seed, prompt),
what was said of it (verdict, selections, labels, scores), and what was made of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.lineage import descendants, in_force, model_node, quarantined, read_decisions, resolve, row_node
from data.records import Rationale, StepLabel
from pipelines.run_dir import RunFolder

_SHOWN = 120
"""Characters of a text that a line shows."""


@dataclass(slots=True)
class Graph:
    """What came from what in a run."""

    edges: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, str] = field(default_factory=dict)
    """Names of models to their nodes."""

    @property
    def nodes(self) -> set[str]:
        """All nodes."""
        return {*self.edges, *(node for made in self.edges.values() for node in made)}


def build_graph(run: RunFolder) -> Graph:
    """The graph of a run: sources, problems, models, rationales."""
    graph = Graph()
    for problem in run.table("problems", "train"):
        graph.edges[f"source:{problem.source}"].append(f"problem:{problem.id}")
    for row in run.table("rationales"):
        for cause in _causes(row):
            graph.edges[cause].append(row_node(row.id))
        if row.made_by.engine != "corruption":
            graph.names[row.made_by.model] = model_node(row.made_by.revision)
    taught = _taught(run)
    for name, entry in run.manifest["checkpoints"].items():
        node = graph.names[name] = model_node(entry["revision"])
        if entry.get("parent"):
            graph.edges[model_node(entry["parent"])].append(node)
        for rationale_id in taught(entry):
            graph.edges[row_node(rationale_id)].append(node)
    return graph


def _causes(row: Rationale) -> Iterator[str]:
    yield f"problem:{row.problem_id}"
    yield model_node(row.made_by.revision)
    if row.parent_id:
        yield row_node(row.parent_id)


def _taught(run: RunFolder) -> Any:
    """From a checkpoint's entry to the ids of the rationales that it was trained on."""
    kept: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in run.table("selections"):
        if row.kept:
            kept[row.arm, row.round].append(row.rationale_id)
    replays = run.recipe.selection.min_rows > 0
    near_misses = [row.id for row in run.table("rationales", "near_miss-")]

    def taught(entry: dict[str, Any]) -> Iterator[str]:
        if "sources" in entry:  # A PRM: the main arm's rationales, right or wrong, and the near-misses.
            yield from near_misses
            yield from (row.id for prefix in ("star-", "prm-") for row in run.table("rationales", prefix))
            return
        # Rationales of earlier rounds may have been replayed: each of them counts.
        last = entry.get("round", 0)
        rounds = range(1, last + 1) if replays else [last]
        yield from (rationale_id for number in rounds for rationale_id in kept[entry.get("arm", ""), number])

    return taught


def quarantined_nodes(run: RunFolder) -> set[str]:
    """Every node in quarantine; costs nothing where nobody decided on one."""
    decisions = read_decisions(run.root)
    return quarantined(build_graph(run).edges, decisions) if decisions else set()


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What is in quarantine."""

    nodes: set[str]
    texts: set[tuple[str, str]]
    """Problem and text (white space normalized) of the rows that were named themselves: who takes a row out means its
    text, which another sample may be too."""

    def covers(self, row: Rationale) -> bool:
        """Whether a rationale is in quarantine."""
        return row_node(row.id) in self.nodes or (row.problem_id, " ".join(row.text.split())) in self.texts


def read_quarantine(run: RunFolder) -> Quarantine:
    """What is in quarantine; costs nothing where nobody decided on anything."""
    nodes = quarantined_nodes(run)
    decided = {node for node in in_force(read_decisions(run.root)) if node.startswith("row:")}
    rows = (row for row in run.table("rationales") if row_node(row.id) in decided) if decided else ()
    return Quarantine(nodes, {(row.problem_id, " ".join(row.text.split())) for row in rows})


@dataclass(slots=True)
class Tree:
    """A line and those below it."""

    line: str
    children: list[Tree] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """As text."""
        yield self.line
        for place, child in enumerate(self.children):
            last = place == len(self.children) - 1
            first, *rest = child.lines()
            yield ("└─ " if last else "├─ ") + first
            yield from (("   " if last else "│  ") + line for line in rest)


def lineage_tree(run: RunFolder, target: str) -> Tree:
    """The tree of a rationale.

    Args:
        run: the run.
        target: id of a rationale, or its first digits.

    Raises:
        InputError: there is no such rationale.
    """
    rationales = {row.id: row for row in run.table("rationales")}
    row = rationales[resolve(target, map(row_node, rationales), {}).partition(":")[2]]
    graph = build_graph(run)
    tree = _rationale(run, row, rationales)
    made = descendants(graph.edges, [row_node(row.id)]) - {row_node(row.id)}
    models = sorted(name for name, node in graph.names.items() if node in made)
    direct = [node for node in graph.edges.get(row_node(row.id), []) if node.startswith("row:")]
    tree.children.append(
        Tree(f"made of it: {len(direct)} rationales directly, {sum(node.startswith('row:') for node in made)} in all; "
             f"models: {', '.join(models) or 'none'}")
    )  # fmt: skip
    decisions = read_decisions(run.root)
    if row_node(row.id) in quarantined(graph.edges, decisions):
        tree.children.append(Tree("in quarantine: the dataset and exports leave it out"))
    return tree


def _rationale(run: RunFolder, row: Rationale, rationales: dict[str, Rationale]) -> Tree:
    made = row.made_by
    tree = Tree(f"rationale {row.id}: {row.origin}, {len(row.steps)} steps, {row.n_tokens} tokens, {row.finish_reason}")
    tree.children += [
        Tree(f"text: {_short(row.text)}"),
        _problem(run, row.problem_id),
        Tree(f"drawn by {made.model} through {made.engine}, seed {made.seed}, {made.sampling}", [
            _model(run, made.revision),
            Tree(f"prompt {made.prompt_hash}"),
            Tree(f"stepstar {made.code_version}"),
        ]),
        *(Tree(line) for line in _opinions(run, row)),
    ]  # fmt: skip
    if row.parent_id in rationales:
        tree.children.append(Tree("derived from", [_rationale(run, rationales[row.parent_id], rationales)]))
    return tree


def _problem(run: RunFolder, problem_id: str) -> Tree:
    for problem in run.table("problems"):
        if problem.id == problem_id:
            where = ", ".join(part for part in (problem.split, problem.difficulty, problem.licence) if part)
            return Tree(f"problem {problem.id}: {_short(problem.prompt)}", [
                Tree(f"answer {_short(problem.answer)}"), Tree(f"source {problem.source} ({where})")
            ])  # fmt: skip
    return Tree(f"problem {problem_id}: not in the records")


def _model(run: RunFolder, revision: str) -> Tree:
    """A model and its parents, down to the base."""
    for name, entry in run.manifest["checkpoints"].items():
        if entry["revision"] == revision:
            on = f", on {entry['rows']} rows" if "rows" in entry else ""
            where = f"{entry.get('arm', 'prm')} round {entry['round']}" if "round" in entry else name
            return Tree(f"model {name} {revision}: {where}{on}", [_model(run, entry.get("parent", ""))])
    return Tree(f"model {revision}: the base")


def _opinions(run: RunFolder, row: Rationale) -> Iterator[str]:
    """What was said of a rationale."""
    for verdict in _of(run, "verdicts", row.id):
        how = ", ".join(part for part in (verdict.method, verdict.detail) if part)
        by = f"stepstar {run.manifest['pins'].get('stepstar', '?')}"
        yield f"verdict of {by}: {verdict.status} ({how}), answer {_short(verdict.extracted)}"
    for choice in _of(run, "selections", row.id):
        yield f"selection {choice.arm} round {choice.round}: {choice.reason}"
    for report in _of(run, "leak_reports", row.id):
        yield f"leak tests failed: {', '.join(report.quarantined_by) or 'none'}"
    labels: dict[str, list[StepLabel]] = defaultdict(list)
    for label in _of(run, "step_labels", row.id):
        labels[label.source].append(label)
    for source, found in labels.items():
        values = {label.step: f"{label.value:g}" for label in found}
        yield f"labels {source}: {' '.join(values.get(step, '-') for step in range(len(row.steps)))}"
    for scores in _of(run, "step_scores", row.id):
        yield f"scores {scores.scorer} {scores.revision}: {_numbers(scores.scores)}"


def _of(run: RunFolder, table: str, rationale_id: str) -> Iterable[Any]:
    return (row for row in run.table(table) if row.rationale_id == rationale_id)


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _short(text: str) -> str:
    """One line of a text, control characters (a terminal would obey them) as escapes."""
    plain = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in plain)
