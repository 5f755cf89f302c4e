"""Folders written by hand through the library's own writer, with hostile text wherever a model's text may stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from data.records import (
    FinishReason,
    Kind,
    Origin,
    Problem,
    Provenance,
    Rationale,
    Status,
    StepLabel,
    StepScores,
    Verdict,
)
from data.run_records import Evaluation, LeakReport, LeakTest, Selection
from data.steps import split_steps
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from prm.model_config import PrmConfig, write_config

HOSTILE = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<a href='javascript:window.hacked=1' id=x>click</a>",
    "<body onload=window.hacked=1>",
    "<style>@import 'http://127.0.0.1:9/x.css';</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<base href=http://127.0.0.1:9/>",
    "<form action=http://127.0.0.1:9/><input name=q autofocus onfocus=window.hacked=1></form>",
    "<object data=http://127.0.0.1:9/x></object>",
    "<!--<script>window.hacked=1",
    "\\u003cscript\\u003ewindow.hacked=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "{{ 7*7 }}{% for x in y %}{{ ''.__class__ }}",
    "${window.hacked=1}`+window.hacked+`",
    "\u2028\u2029\u0000'\";window.hacked=1;//\ud7ff",
]
"""Twenty ways to run or to load something."""

MADE_BY = Provenance(model="tiny", revision="r", engine="scripted", prompt_hash="p", sampling="{}", seed=0, round=1,
                     code_version="0")  # fmt: skip


def problem(number: int, text: str = "") -> Problem:
    made = Problem.create(prompt=f"{number}+1-1=? {text}".strip(), answer=str(number), kind=Kind.MATH)
    return replace(made, source="arithmetic", difficulty="2", split="train")


def rationale(owner: Problem, text: str, seed: int, origin: Origin = Origin.SAMPLED) -> Rationale:
    return Rationale.create(
        problem_id=owner.id, steps=split_steps(text), origin=origin, made_by=replace(MADE_BY, seed=seed),
        finish_reason=FinishReason.STOP, n_tokens=7, answer=owner.answer,
    )  # fmt: skip


def verdict(row: Rationale, status: Status) -> Verdict:
    return Verdict(status=status, extracted=row.answer, method="integer", detail="", rationale_id=row.id)


def write_run(root: Path, texts: list[str], name: str = "quickstart") -> RunFolder:
    """A run of one round with two problems a text: one solved, one not; the text stands in both and in the prompt."""
    run = RunFolder.open(root, load_recipe("quickstart", [f"name={name}"]))
    owners = [problem(number, text) for number, text in enumerate(texts, start=2)]
    right = [rationale(one, f"{one.answer}+1={int(one.answer) + 1}\n{texts[at]}\n#### {one.answer}", at)
             for at, one in enumerate(owners)]  # fmt: skip
    wrong = [rationale(one, f"{one.answer}+1=99\n{texts[at]}\n#### 98", at, Origin.RATIONALIZED)
             for at, one in enumerate(owners)]  # fmt: skip
    test = [replace(problem(number + 100, texts[0]), split="test") for number in range(len(texts))]
    run.unit("problems", "train", "k", lambda: owners)
    run.unit("problems", "test", "k", lambda: test)
    unit = "star-r1-sample-00000"
    hinted = "star-r1-rationalize-00000"
    run.unit("rationales", unit, "k", lambda: right)
    run.unit("rationales", hinted, "k", lambda: wrong)
    run.unit("verdicts", unit, "k", lambda: [verdict(row, Status.CORRECT) for row in right])
    run.unit("verdicts", hinted, "k", lambda: [verdict(row, Status.INCORRECT) for row in wrong])
    run.unit("selections", "star-r1-00000", "k", lambda: [
        Selection(rationale_id=row.id, problem_id=row.problem_id, arm="star", round=1, kept=row in right,
                  reason="kept" if row in right else "incorrect")
        for pair in zip(right, wrong, strict=True) for row in pair
    ])  # fmt: skip
    run.unit("step_labels", "symbolic-00000", "k", lambda: [
        StepLabel(rationale_id=row.id, step=0, value=1.0, rating=None, source="symbolic") for row in right
    ])  # fmt: skip
    # The scorer doubts the first step of every other right rationale, which the checker calls right.
    run.unit("step_scores", "prm-00000", "k", lambda: [
        StepScores(rationale_id=row.id, scores=(0.2 if at % 2 else 0.9, *[0.8] * (len(row.steps) - 1)),
                   scorer="checkpoints/prm", revision="r") for at, row in enumerate(right)
    ])  # fmt: skip
    # Of the wrong ones, which it was not trained on, it finds the error in every other.
    run.unit("step_scores", "judged-00000", "k", lambda: [
        StepScores(rationale_id=row.id, scores=(0.1 if at % 2 else 0.9, *[0.8] * (len(row.steps) - 1)),
                   scorer="checkpoints/prm", revision="r") for at, row in enumerate(wrong)
    ])  # fmt: skip
    (root / "checkpoints" / "prm").mkdir(parents=True)
    write_config(root / "checkpoints" / "prm", PrmConfig())
    run.unit("leak_reports", "star-r1-leaks", "k", lambda: [
        LeakReport(rationale_id=wrong[0].id, phrase="the hint", early_answer=None, underived=None, wrong_steps=None,
                   quarantined_by=(LeakTest.PHRASE,))
    ])  # fmt: skip
    for arm, round_ in (("base", 0), ("star", 1)):
        run.unit("evaluations", f"{arm}-r{round_}-00000", "k", lambda arm=arm, round_=round_: [
            Evaluation(problem_id=one.id, arm=arm, round=round_, extracted=texts[0], text=texts[0], n_tokens=3,
                       status=Status.CORRECT if round_ or at % 3 == 0 else Status.INCORRECT,
                       finish_reason=FinishReason.STOP) for at, one in enumerate(test)
        ])  # fmt: skip
    run.close()
    return run
