r"""OmegaPRM's two formats: a search tree of steps with Monte Carlo values, nested, or as a flat list of its prefixes.

    tree  {"question", "final_answer", "reasoning_steps": {"text": question, "mc_value", "children": [...]}}
    flat  {"question", "final_answer", "reasoning_steps": [{"solution_prefix": question + "\n\n" + step, "mc_value"}]}

A tree becomes one solution a leaf; a step that several of them share is labelled in the first only, so that no label
counts twice. A node that occurs twice is one node, whose value is the mean. The value of the question itself is no
label of a step and is left out. In the flat format a prefix belongs under the longest other one that ends before a
blank line of it. Files: openr's OmegaPRM; paper: Luo et al., arXiv 2406.06592.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from data.sources.base import Row, RowError, optional_text, text_field
from prm.labels.fields import label_value, list_field, object_field
from prm.labels.solution import LabelledSolution

_JOINT = "\n\n"


@dataclass(slots=True)
class _Node:
    """A step of the tree."""

    values: list[float] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)

    def child(self, text: str, value: float | None) -> _Node:
        """The child of this text, made if need be."""
        node = self.children.setdefault(text, _Node())
        if value is not None:
            node.values.append(value)
        return node

    @property
    def value(self) -> float | None:
        """Mean of the values that the node was given."""
        return sum(self.values) / len(self.values) if self.values else None


def parse_omega_tree(row: Row) -> list[LabelledSolution]:
    """One problem's nested tree."""
    root = _Node()
    raw = object_field(row, "reasoning_steps")
    # A stack, not recursion: how deep a tree nests is the file's choice.
    waiting: list[tuple[_Node, Row]] = [(root, raw)]
    while waiting:
        node, entry = waiting.pop()
        for child in list_field(entry, "children", optional=True):
            if not isinstance(child, dict):
                raise RowError("bad_field", "a child is no object")
            waiting.append((_add_step(node, text_field(child, "text"), child), child))
    return _solutions(row, root, "omega_tree")


def parse_omega_flat(row: Row) -> list[LabelledSolution]:
    """One problem's flat list of prefixes."""
    question = text_field(row, "question")
    values: dict[str, list[float | None]] = {}
    for entry in list_field(row, "reasoning_steps"):
        if not isinstance(entry, dict):
            raise RowError("bad_field", "an entry is no object")
        prefix = text_field(entry, "solution_prefix")
        if not prefix.startswith(question):
            raise RowError("bad_field", "a prefix does not begin with the question")
        if prefix.strip() != question.strip():
            values.setdefault(prefix[len(question) :], []).append(label_value(entry.get("mc_value")))
    return _solutions(row, _tree_of_prefixes(values), "omega_flat")


def _tree_of_prefixes(values: Mapping[str, Sequence[float | None]]) -> _Node:
    """The tree, its branches in the order of the prefixes."""
    root = _Node()
    nodes = {"": root}
    for prefix in values:
        path = [prefix]
        while path[-1] not in nodes:
            path.append(_parent(path[-1], values))
        for parent, longer in pairwise(reversed(path)):
            for value in values[longer]:
                nodes[longer] = nodes[parent].child(longer[len(parent) :].strip(), value)
    return root


def _parent(prefix: str, known: Container[str]) -> str:
    """The longest other prefix that begins this one and is followed by a blank line; empty for none."""
    at = len(prefix)
    while (at := prefix.rfind(_JOINT, 0, at + 1)) > 0:
        if prefix[:at] in known:
            return prefix[:at]
    return ""


def _add_step(parent: _Node, text: str, entry: Row) -> _Node:
    if not text.strip():
        raise RowError("empty_step", "a step of the tree is empty")
    return parent.child(text.strip(), label_value(entry.get("mc_value")))


def _solutions(row: Row, root: _Node, dataset: str) -> list[LabelledSolution]:
    shared: dict[str, Any] = {
        "problem": text_field(row, "question"),
        "gold": optional_text(row, "final_answer"),
        "row_id": optional_text(row, "question_id"),
        "source": "monte_carlo",
        "dataset": dataset,
    }
    if not root.children:
        raise RowError("zero_steps", "the tree has no steps")
    told: set[int] = set()
    found = []
    for path in _leaf_paths(root):
        values = tuple(None if id(node) in told else node.value for _, node in path)
        told |= {id(node) for _, node in path}
        found.append(LabelledSolution(steps=tuple(text for text, _ in path), values=values, **shared))
    return found


def _leaf_paths(root: _Node) -> Iterator[list[tuple[str, _Node]]]:
    waiting: list[list[tuple[str, _Node]]] = [[item] for item in reversed(root.children.items())]
    while waiting:
        path = waiting.pop()
        children = path[-1][1].children
        if not children:
            yield path
        waiting += [[*path, item] for item in reversed(children.items())]


def render_omega_tree(solutions: Sequence[LabelledSolution]) -> Row:
    """The tree of solutions of one problem."""

    def nested(text: str, node: _Node) -> Row:
        children = [nested(step, child) for step, child in node.children.items()]
        return {"text": text, "mc_value": node.value, "children": children}

    return _outer(solutions) | {"reasoning_steps": nested(solutions[0].problem, _tree_of(solutions))}


def render_omega_flat(solutions: Sequence[LabelledSolution]) -> Row:
    """The prefixes of solutions of one problem."""
    entries: list[Row] = [{"solution_prefix": solutions[0].problem, "mc_value": None}]

    def extend(prefix: str, node: _Node) -> None:
        for step, child in node.children.items():
            entries.append({"solution_prefix": prefix + _JOINT + step, "mc_value": child.value})
            extend(prefix + _JOINT + step, child)

    extend(solutions[0].problem, _tree_of(solutions))
    return _outer(solutions) | {"reasoning_steps": entries}


def _outer(solutions: Sequence[LabelledSolution]) -> Row:
    first = solutions[0]
    return {"question": first.problem, "final_answer": first.gold, "question_id": first.row_id}


def _tree_of(solutions: Sequence[LabelledSolution]) -> _Node:
    root = _Node()
    for solution in solutions:
        node = root
        for step, value in zip(solution.steps, solution.values, strict=True):
            node = node.child(step.strip(), value)
    return root
