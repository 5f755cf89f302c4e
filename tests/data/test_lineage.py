"""The graph of what came from what, and the log of quarantines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.lineage import (
    LOG,
    Decision,
    append_decisions,
    descendants,
    in_force,
    quarantined,
    read_decisions,
    resolve,
)

EDGES = {
    "source:s": ["problem:p", "problem:q"],
    "problem:p": ["row:a", "row:a2", "row:b"],
    "problem:q": ["row:c"],
    "model:base": ["row:a", "row:c", "model:one"],
    "row:a": ["row:a2", "model:one"],
    "model:one": ["row:b"],
}


def decision(node: str, action: str = "quarantine", **fields: bool) -> Decision:
    return Decision(node=node, action=action, reason="why", version="1", **fields)  # type: ignore[arg-type]


def test_what_a_trained_model_drew_descends_from_what_it_was_trained_on() -> None:
    assert quarantined(EDGES, [decision("row:a")]) == {"row:a", "row:a2", "model:one", "row:b"}
    assert quarantined(EDGES, [decision("row:a", through_models=False)]) == {"row:a", "row:a2"}
    assert quarantined(EDGES, [decision("problem:q")]) == {"problem:q", "row:c"}
    assert "model:base" not in quarantined(EDGES, [decision("source:s")])


def test_taking_one_back_leaves_what_another_still_covers() -> None:
    both = [decision("row:a"), decision("model:one")]
    assert quarantined(EDGES, [*both, decision("row:a", "undo")]) == {"model:one", "row:b"}
    assert in_force([*both, decision("row:a", "undo"), decision("row:a")]).keys() == {"row:a", "model:one"}


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=13), st.integers(0, 12))
def test_descendants_are_the_least_set_that_is_closed(numbers: dict[int, list[int]], root: int) -> None:
    edges = {str(node): [str(child) for child in made] for node, made in numbers.items()}
    found = descendants(edges, [str(root)])
    assert all(child in found for node in found for child in edges.get(node, []))
    assert all(node == str(root) or any(node in edges.get(parent, []) for parent in found) for node in found)


def test_names_ids_and_their_first_digits_are_understood_and_doubt_is_an_error() -> None:
    nodes = ["row:abcdef0123", "row:abcdef9999", "problem:feedbeef00", "model:0123456789", "source:gsm8k"]
    names = {"generator-star-r1": "model:0123456789"}
    assert resolve("generator-star-r1", nodes, names) == "model:0123456789"
    assert resolve("feedbe", nodes, names) == "problem:feedbeef00"
    assert resolve("abcdef0123", nodes, names) == "row:abcdef0123"
    assert resolve("gsm8k", nodes, names) == "source:gsm8k"
    with pytest.raises(InputError, match="2 things"):
        resolve("abcdef", nodes, names)
    for nothing in ("feed", "nobody", ""):
        with pytest.raises(InputError, match="nothing here"):
            resolve(nothing, nodes, names)


def test_the_log_only_grows_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == []
    append_decisions(tmp_path, [decision("row:ä")])
    first = (tmp_path / LOG).read_bytes()
    append_decisions(tmp_path, [decision("row:ä", "undo")])
    assert (tmp_path / LOG).read_bytes().startswith(first)
    assert [one.action for one in read_decisions(tmp_path)] == ["quarantine", "undo"]
    (tmp_path / LOG).write_text('{"node": "row:a"}\n')
    with pytest.raises(InputError, match="damaged"):
        append_decisions(tmp_path, [decision("row:b")])
