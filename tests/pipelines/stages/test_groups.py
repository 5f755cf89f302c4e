"""Streams of rationales joined to their problems, and what is kept of all rounds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.batching import Smallest, batched
from data.decontamination import CONTAMINATION
from data.records import Rationale, Verdict
from pipelines.run_dir import RunFolder
from pipelines.stages.dataset import write_dataset
from pipelines.stages.groups import by_problem
from pipelines.stages.kept import kept_rows, rounds_of
from pipelines.stages.verification import check_rationales
from tests.pipelines.stored_run import problems, rationale, stored_run

KNOWN = problems()


def drawn(rows: list[Rationale]) -> Iterator[tuple[Rationale, Verdict]]:
    return zip(rows, check_rationales(KNOWN, rows), strict=True)


def test_every_problem_comes_once_with_its_rows_of_all_draws() -> None:
    first = [rationale(problem, seed) for problem in KNOWN[:4] for seed in (1, 2)]
    second = [rationale(problem, 3, wrong=True) for problem in (KNOWN[1], KNOWN[5])]
    groups = list(by_problem(KNOWN, drawn(first), drawn(second)))
    assert [group.problem for group in groups] == KNOWN
    assert [len(group.rationales) for group in groups] == [2, 3, 2, 2, 0, 1] + [0] * (len(KNOWN) - 6)
    assert all(set(group.verdicts) == {row.id for row in group.rationales} for group in groups)


@pytest.mark.parametrize("order", [[1, 0], [0, 1, 0]])
def test_rows_out_of_order_are_an_error_and_not_lost(order: list[int]) -> None:
    rows = [rationale(KNOWN[place], 1 + at) for at, place in enumerate(order)]
    with pytest.raises(ValueError, match="order"):
        list(by_problem(KNOWN, drawn(rows)))


def test_rows_of_a_problem_that_is_not_asked_for_are_an_error() -> None:
    with pytest.raises(ValueError, match="order"):
        list(by_problem(KNOWN[:1], drawn([rationale(KNOWN[1], 1)])))


def test_what_is_kept_follows_the_problems_with_one_row_a_text(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    assert rounds_of(run, "star") == [1, 2]
    rows = list(kept_rows(run, "star"))
    places = {problem.id: place for place, problem in enumerate(KNOWN)}
    order = [(places[row.problem.id], row.round, row.rationale.id) for row in rows]
    assert order == sorted(order)
    assert len({(row.problem.id, row.rationale.text) for row in rows}) == len(rows) == 30
    assert {row.verdict.status for row in rows} == {"correct"}
    assert [row.round for row in rows] == [1] * 20 + [2] * 10


def test_a_hash_sample_of_a_stream_is_that_of_the_list() -> None:
    rng = random.Random(3)
    items = rng.sample(range(1000), 200)
    for n in (0, 1, 7, 200, 300):
        keeper = Smallest[int](n, lambda item: item, wanted=lambda item: item % 3 > 0)
        assert [item for batch in batched(keeper.watch(items), 9) for item in batch] == items
        assert keeper.found() == sorted(item for item in items if item % 3)[:n]


def test_the_card_says_who_judged_the_rows_and_how_far_that_can_be_trusted(tmp_path: Path) -> None:
    root = stored_run(tmp_path / "run").root
    run = RunFolder.open(root, RunFolder.read(root).recipe)
    pair = {"first": "near_miss", "second": "symbolic", "steps": 9, "both_right": 4, "both_wrong": 3, "kappa": 0.5}
    run.note("label_agreement", [pair])
    run.checkpoint("prm", "key", lambda _: {
        "revision": "abc", "blessed": False, "quality": {"step_auc": 0.7}, "tokens": 0
    })  # fmt: skip
    (root / CONTAMINATION).write_text('{"against": ["gsm8k.jsonl"], "overlapping": 2, "rows": 30}')
    write_dataset(run, "star")
    run.close()
    card = (root / "dataset/README.md").read_text()
    assert "PRM abc, not blessed: it chooses worse than a majority vote; on held-out labels: step auc 0.7" in card
    assert "| steps, near_miss and symbolic | agree on 7 of 9 steps, kappa 0.5 |" in card
    assert "| overlap with gsm8k.jsonl | 2 of 30 rows |" in card
