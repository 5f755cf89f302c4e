"""`stepstar label`: by arithmetic and by consensus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from pipelines.prm.labelling import label_by_arithmetic, label_by_consensus
from pipelines.prm.solution_rows import Columns
from prm.labels import ConsensusConfig, LabelledSolution, read_labels, write_labels


def labels_in(file: Path) -> list[LabelledSolution]:
    return [one for one in read_labels(str(file), "stepstar") if isinstance(one, LabelledSolution)]


def test_steps_are_labelled_by_what_they_state(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "problem": "1+2=?", "steps": ["1+2=3", "so it goes"], "correct": True},
        {"id": 7, "problem": "1+2=?", "steps": "1+2=4\n2+2=4"},
        {"problem": "1+2=?", "steps": []},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    counts = label_by_arithmetic(file, tmp_path / "labels.jsonl", Columns())
    found = labels_in(tmp_path / "labels.jsonl")
    assert [(one.row_id, one.values, one.outcome) for one in found] == [
        ("a", (1.0, None), True),
        ("7", (0.0, 1.0), None),
    ]
    assert counts.steps == {"right": 2, "wrong": 1, "unlabelled": 1}
    assert counts.unusable.reasons == {"zero_steps": 1}
    assert counts.unusable.first[0].where == "rows.jsonl:3"


def test_consensus_keeps_what_two_files_agree_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = LabelledSolution(problem="q", steps=("a", "b", "c"), values=(1.0, 0.0, 1.0), source="human")
    alone = replace(one, problem="other")
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl.gz"]
    write_labels(files[0], [one, alone], "stepstar")
    write_labels(files[1], [replace(one, values=(1.0, 0.0, 0.0))], "stepstar")
    counts = label_by_consensus(files, tmp_path / "both.jsonl", ConsensusConfig())
    assert [found.values for found in labels_in(tmp_path / "both.jsonl")] == [(1.0, 0.0, None)]
    assert counts.solutions == 1
    assert "3 steps labelled by both, kappa 0.400" in capsys.readouterr().err


@pytest.mark.parametrize(("out", "message"), [("labels.txt", "JSON lines"), ("there.jsonl", "exists")])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, out: str, message: str) -> None:
    for name in ("rows.jsonl", "there.jsonl"):
        (tmp_path / name).write_text('{"problem": "q", "steps": ["a"]}\n')
    with pytest.raises(UserError, match=message):
        label_by_arithmetic(tmp_path / "rows.jsonl", tmp_path / out, Columns())


def test_files_that_share_no_solution_make_no_consensus(tmp_path: Path) -> None:
    for name in ("one", "two"):
        solution = LabelledSolution(problem=name, steps=("a",), values=(1.0,), source="human")
        write_labels(tmp_path / f"{name}.jsonl", [solution], "stepstar")
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    with pytest.raises(UserError, match="no solution is in two"):
        label_by_consensus(files, tmp_path / "both.jsonl", ConsensusConfig())
    with pytest.raises(UserError, match="at least two files"):
        label_by_consensus(files[:1], tmp_path / "both.jsonl", ConsensusConfig())
