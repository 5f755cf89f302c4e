"""A small run folder, written through the run's own stages from samples that stand here: two rounds, one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.prompts import PromptTemplate
from data.records import FinishReason, Origin, Problem, Provenance, Rationale, StepScores
from data.run_records import Selection
from data.steps import split_steps
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.dataset import write_dataset
from pipelines.stages.kept import kept_rationales
from pipelines.stages.labels import write_labels
from pipelines.stages.sampling import Context
from pipelines.stages.verification import check_rationales, final_answer

BASE, TRAINED, PRM = "base-revision", "trained-revision", "prm-revision"


def problems() -> list[Problem]:
    """Sums of three numbers, of two sources."""
    made = []
    for first in range(11, 41):
        source = "sums" if first < 35 else "others"
        made.append(Problem.create(prompt=f"{first}+5+7=?", answer=str(first + 12), source=source, licence="CC0-1.0"))
    return made


def rationale(problem: Problem, seed: int, *, wrong: bool = False, round_: int = 0, cut: bool = False) -> Rationale:
    """A right or wrong solution, by the base in round 0 and by what was trained of it later."""
    first = int(problem.prompt.partition("+")[0])
    total = first + 12 + wrong
    text = f"{first}+5={first + 5}\n{first + 5}+7={total}\n#### {total}"
    made_by = Provenance(
        model="generator-star-r1" if round_ else "embedded",
        revision=TRAINED if round_ else BASE,
        engine="scripted",
        prompt_hash="p",
        sampling='{"temperature": 0.8}',
        seed=seed,
        round=round_,
        code_version="0.1.0",
    )
    return Rationale.create(
        problem_id=problem.id,
        steps=split_steps(text),
        made_by=made_by,
        origin=Origin.SAMPLED,
        finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP,
        n_tokens=20,
        answer=final_answer(text, problem).answer,
    )


def _store_round(run: RunFolder, number: int, known: Sequence[Problem], rows: Sequence[Rationale]) -> None:
    places = {problem.id: place for place, problem in enumerate(known)}
    rows = sorted(rows, key=lambda row: places[row.problem_id])
    run.unit("rationales", f"star-r{number}-sample-00000", "key", lambda: rows)
    verdicts = run.unit("verdicts", f"star-r{number}-sample-00000", "key", lambda: check_rationales(known, rows))
    run.unit("selections", f"star-r{number}-00000", "key", lambda: [
        Selection(
            rationale_id=row.id, problem_id=row.problem_id, arm="star", round=number,
            kept=verdict.status == "correct", reason="kept" if verdict.status == "correct" else str(verdict.status),
        )
        for row, verdict in zip(rows, verdicts, strict=True)
    ])  # fmt: skip


def stored_run(folder: Path) -> RunFolder:
    """Write the run: 20 problems solved in round 1, 10 more in round 2, near-misses, scores, a dataset."""
    recipe = load_recipe("quickstart", ["near_misses.rationales=5"])
    run = RunFolder.open(folder, recipe)
    run.pin(stepstar="0.1.0", base=BASE)
    known = problems()
    run.unit("problems", "train", "key", lambda: known)
    first = [rationale(problem, seed) for seed, problem in enumerate(known[:20])]
    first += [rationale(problem, 100 + seed, wrong=True) for seed, problem in enumerate(known[10:25])]
    first += [rationale(problem, 200, wrong=True, cut=True) for problem in known[:1]]
    _store_round(run, 1, known, first)
    run.checkpoint("generator-star-r1", "key", lambda _: {
        "revision": TRAINED, "parent": BASE, "arm": "star", "round": 1, "rows": 20, "tokens": 0
    })  # fmt: skip
    _store_round(run, 2, known, [rationale(problem, 300, round_=1) for problem in known[20:]])
    write_labels(Context(run, recipe, PromptTemplate(recipe.prompt)), "star")
    run.unit("step_scores", "prm-00000", "key", lambda: [
        StepScores(rationale_id=row.id, scores=(0.9, 0.75, 0.5), scorer="prm", revision=PRM)
        for row in kept_rationales(run, "star")
    ])  # fmt: skip
    write_dataset(run, "star")
    run.close()
    return RunFolder.read(folder)
