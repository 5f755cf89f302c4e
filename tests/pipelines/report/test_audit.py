"""The audit page and the labels that come back from it, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from data.errors import UserError
from data.ids import derive_seed
from data.records import Problem, Status, StepScores
from pipelines.prm.label_files import read_label_rows
from pipelines.prm.labelling import LabelCounts, label_from_audit
from pipelines.recipe import load_recipe
from pipelines.report.audit import write_audit
from pipelines.report.audit_traces import _add_interest, add_scores, as_plain, read_traces
from pipelines.run_dir import RunFolder
from prm.aggregate import Reading
from prm.model_config import read_config, write_config
from tests.pipelines.audit_folders import HOSTILE, problem, rationale, verdict, write_run


def test_every_trace_stands_in_the_page_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["a", "b", "c"])
    found = read_traces([RunFolder.read(run.root)], 100)
    assert found.total == len(found.traces) == 6
    kept = [trace for trace in found.traces if trace.selection and trace.selection.kept]
    assert len(kept) == 3
    for trace in kept:
        assert trace.scores["prm"][1:] == [0.8, 0.8]
        assert trace.labels["symbolic"] == [1.0, None, None]
    # Where no label is stored, what the step states is judged: 2+1=99 is wrong.
    assert all(trace.labels["symbolic"][0] == 0.0 for trace in found.traces if trace not in kept)
    assert [trace.leaks for trace in found.traces if trace.leaks] == [["phrase"]]


def test_a_scorer_is_judged_by_what_it_did_not_learn_from_at_its_own_threshold(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["a", "b", "c"])
    plain = as_plain(read_traces([RunFolder.read(run.root)], 100))
    rows = {trace["id"]: trace for trace in plain["traces"]}
    wrong = [rows[row.rationale_id] for row in run.table("step_scores", "judged-")]
    # 2+1=99 is wrong, and nobody can say what follows from it; the second of three is found at 0.1.
    assert [trace["T"] for trace in wrong] == [[0.0, None, None]] * 3
    assert [trace["W"] for trace in wrong] == [{"prm": [0]}, {"prm": []}, {"prm": [0]}]
    assert all("W" not in rows[row.rationale_id] for row in run.table("step_scores", "prm-"))
    config = read_config(run.root / "checkpoints/prm")
    strict = config.model_copy(update={"reading": Reading(threshold=0.95)})
    write_config(run.root / "checkpoints/prm", strict)
    plain = as_plain(read_traces([RunFolder.read(run.root)], 100))
    assert [trace["W"] for trace in plain["traces"] if "W" in trace] == [{"prm": []}] * 3


def test_where_not_all_traces_fit_the_problems_that_the_prm_gets_wrong_come_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", list("abcdefgh"))
    # Of the eight problems, on all of which it was tried, it misses the wrong step of every other.
    missed = [row.rationale_id for at, row in enumerate(run.table("step_scores", "judged-")) if at % 2 == 0]
    owners = {row.id: row.problem_id for row in run.table("rationales")}
    found = read_traces([RunFolder.read(run.root)], 8)
    assert len(found.traces) == 8
    assert set(found.problems) == {owners[key] for key in missed}


def test_a_mistake_of_one_folder_counts_whatever_the_other_says(tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / name, list("abcdefgh")) for name in ("one", "other"))
    better = RunFolder.open(other.root, load_recipe("quickstart", ["name=quickstart"]))
    better.forget("step_scores")
    better.unit("step_scores", "judged-00000", "better", lambda: [
        StepScores(rationale_id=row.id, scores=(0.1, *[0.8] * (len(row.steps) - 1)), scorer="prm", revision="r")
        for row in better.table("rationales", "star-r1-rationalize-")
    ])  # fmt: skip
    better.close()
    found: dict[str, int] = {}
    for root, n_missed in ((one.root, 4), (other.root, 4)):
        run = RunFolder.read(root)
        _add_interest(found, run, {row.id: row.problem_id for row in run.table("rationales")})
        assert list(found.values()).count(-2) == n_missed


def thirty(root: Path) -> tuple[RunFolder, list[Problem]]:
    """A run of thirty problems with one rationale each; a scorer was tried on two of them."""
    run = RunFolder.open(root, load_recipe("quickstart"))
    owners = [problem(number, "x") for number in range(2, 32)]
    rows = [rationale(one, f"{one.answer}+0={one.answer}\n#### {one.answer}", 1) for one in owners]
    found = {3: Status.INCORRECT, 7: Status.UNDECIDED, 20: Status.INCORRECT}
    run.unit("problems", "train", "k", lambda: owners)
    run.unit("rationales", "star-r1-sample-00000", "k", lambda: rows)
    run.unit("verdicts", "star-r1-sample-00000", "k", lambda: [
        verdict(row, found.get(at, Status.CORRECT)) for at, row in enumerate(rows)
    ])  # fmt: skip
    run.unit("step_scores", "judged-00000", "k", lambda: [
        StepScores(rationale_id=rows[at].id, scores=(0.5, 0.5), scorer="prm", revision="r") for at in (1, 2)
    ])  # fmt: skip
    run.close()
    return RunFolder.read(root), owners


def test_problems_where_something_is_to_be_seen_come_first(tmp_path: Path) -> None:
    run, owners = thirty(tmp_path / "run")
    shown = [owners.index(one) for one in read_traces([run], 6).problems.values()]
    assert set(shown[:3]) == {1, 2, 7}
    assert set(shown[3:5]) == {3, 20}
    assert len(shown) == 6


def test_of_a_large_run_a_share_is_looked_at_and_all_that_the_prm_was_tried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.report.audit_traces._SEEN", 1)
    run, owners = thirty(tmp_path / "run")
    found = read_traces([run], 6)
    drawn = {at for at, one in enumerate(owners) if derive_seed("shown", one.id) < 0.2 * 2**63}
    shown = {owners.index(one) for one in found.problems.values()}
    assert {1, 2} < shown <= drawn | {1, 2}
    assert found.total == 30


def test_one_more_scorer_scores_every_trace_that_it_can_read(tmp_path: Path) -> None:
    from prm import load_scorer
    from prm.encode import EncoderConfig
    from prm.model import build_prm, save_prm
    from prm.model_config import ModelForm
    from star.checkpoints import EMBEDDED

    save_prm(build_prm(str(EMBEDDED), ModelForm(), EncoderConfig(), seed=1), tmp_path / "other-prm")
    run = write_run(tmp_path / "run", ["5-4=1", "6-4=2"])
    found = read_traces([RunFolder.read(run.root)], 100)
    add_scores(found, load_scorer(str(tmp_path / "other-prm")))
    for trace in found.traces:
        assert len(trace.scores["other-prm"]) == len(trace.rationale.steps)
    assert all("prm" in trace.scores for trace in found.traces)


def test_whole_problems_are_drawn_and_those_of_both_folders_first(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", ["a", "b", "c", "d"], "one")
    other = write_run(tmp_path / "other", ["a", "x", "c", "y"], "other")
    found = read_traces([RunFolder.read(one.root), RunFolder.read(other.root)], 8)
    assert len(found.traces) == 8
    by_problem: dict[str, set[str]] = {}
    for trace in found.traces:
        by_problem.setdefault(trace.rationale.problem_id, set()).add(trace.run)
    assert list(by_problem.values()) == [{"one", "other"}] * 2
    assert len(read_traces([RunFolder.read(one.root)], 1).traces) == 2


def test_the_page_holds_hostile_text_as_data_and_allows_nothing_but_its_own_script(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", HOSTILE)
    page = write_audit([run.root]).read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == ['<script type="application/json" id="data">', "<script>"]
    own = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src &#39;sha256-{digest}&#39;" in policy[1]
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    texts = "\n".join(step for trace in data["traces"] for step in trace["s"])
    assert all(text.splitlines()[0] in texts for text in HOSTILE)


def test_a_page_that_would_grow_too_large_leaves_out_its_last_problems_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.report.audit.MAX_BYTES", 40_000)
    run = write_run(tmp_path / "run", [f"{number} " + "<b>ä</b> " * 30 for number in range(40)])
    page = write_audit([run.root])
    text = page.read_text(encoding="utf-8").partition('id="data">')[2].partition("</script>")[0]
    data = json.loads(text)
    assert 36_000 < len(text.encode()) <= 40_100
    assert data["total"] == 80
    assert 0 < len(data["traces"]) < 80
    assert {trace["p"] for trace in data["traces"]} == set(range(len(data["problems"])))
    assert all(data["problems"][trace["p"]]["g"] == trace["x"] for trace in data["traces"])


def audit_rows(file: Path, *rows: dict[str, object]) -> Path:
    base: dict[str, object] = {"problem": "1+1=?", "steps": ["1+1=2", "#### 2"], "source": "human"}
    file.write_text("".join(json.dumps(base | row) + "\n" for row in rows))
    return file


def test_decisions_come_back_as_human_labels_the_last_one_holding(tmp_path: Path) -> None:
    file = audit_rows(tmp_path / "audit.jsonl", {"values": [0, None]}, {"values": [1, 0], "ratings": [1, -1]})
    counts: LabelCounts = label_from_audit(file, tmp_path / "labels.jsonl")
    assert (counts.solutions, dict(counts.steps)) == (1, {"right": 1, "wrong": 1})
    rows = [one for _, ones in read_label_rows(str(tmp_path / "labels.jsonl"), "auto", counts.unusable) for one in ones]
    assert [(row.source, row.values, row.ratings) for row in rows] == [("human", (1.0, 0.0), (1, -1))]


@pytest.mark.parametrize(
    ("rows", "words"),
    [([{"values": [1, 2]}], "bad_label"), ([{"values": [1, 1], "source": "judge"}], "no decisions"), ([], "is empty")],
)
def test_what_is_no_decision_is_refused(rows: list[dict[str, object]], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        label_from_audit(audit_rows(tmp_path / "audit.jsonl", *rows), tmp_path / "labels.jsonl")
    assert not (tmp_path / "labels.jsonl").exists()
