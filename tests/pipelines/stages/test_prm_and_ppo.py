"""PRM and PPO as stages of a run: trained on the run's own rationales, used, measured, and not done twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.errors import UserError
from data.model_folder import weights_revision
from data.prompts import PromptTemplate
from data.records import Kind, Problem, Provenance, Status, Verdict
from pipelines.recipe import load_recipe
from pipelines.report.page import policy_line
from pipelines.report.summary import summarize
from pipelines.run import run_recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.kept import kept_rationales
from pipelines.stages.ppo import symbolic_scores
from pipelines.stages.prm_rows import agreed_labels, run_labels
from pipelines.stages.sampling import Context
from prm import load_scorer, training_fit
from tests.conftest import make_rationale

CHANGES = [
    "problems.options={n: 20, difficulty: [3, 4], seed: 1}",
    "evaluation.options={n: 8, difficulty: [3, 4], seed: 2}",
    "target_difficulties=[]",
    "rounds=1",
    "sft.steps=4",
    "sampling.n=1",
    "rationalization.wrong_hints=0",
    "near_misses.rationales=10",
    "compare_without_rationalization=false",
    "promotion.dev_share=0.3",
    "threads=1",
    "prm={enabled: true, steps: 6, batch_tokens: 1024, evaluate_every: 3, samples: 4, outcome_weight: 1.0}",
    "ppo={enabled: true, rewards: prm, iterations: 3, problems_per_iteration: 6, samples_per_problem: 2, epochs: 1, "
    "lora_rank: 4, learning_rate: 1e-3, critic_warmup: 0}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ppo") / "run"
    run_recipe(load_recipe("quickstart", CHANGES), folder)
    return folder


def test_the_policy_of_ppo_has_the_promoted_one_as_its_parent_and_is_measured(finished: Path) -> None:
    run = RunFolder.read(finished)
    entry = run.manifest["checkpoints"]["policy-ppo"]
    assert entry["parent_name"] == run.manifest["notes"]["promoted"]
    assert entry["parent"] == run.manifest["checkpoints"][entry["parent_name"]]["revision"]
    assert entry["revision"] == weights_revision(finished / "checkpoints/policy-ppo")
    assert [row.iteration for row in run.table("ppo_iterations")] == [1, 2, 3]
    assert len(list(run.table("evaluations", "ppo-"))) == 16
    assert not list((finished / "checkpoints").glob("*.training*"))


def test_the_report_can_tell_how_ppo_went(finished: Path) -> None:
    run = RunFolder.read(finished)
    told, entry = run.manifest["notes"]["ppo"], run.manifest["checkpoints"]["policy-ppo"]
    assert told == {name: entry[name] for name in told}
    assert told["iterations"] == 3
    assert told["rewards"] == "prm"
    assert 0 <= told["best_iteration"] <= 3
    assert {"stopped", "left_out", "alarms", "dev_accuracy"} <= set(told)


def test_the_prm_scores_the_dataset_and_chooses_among_held_out_samples(finished: Path) -> None:
    run = RunFolder.read(finished)
    entry = run.manifest["checkpoints"]["prm"]
    assert set(entry["sources"]) == {"consensus", "near_miss", "outcome"}
    scorer = load_scorer(str(finished / "checkpoints/prm"))
    rows = list(run.table("step_scores", "prm-"))
    kept = {row.id: row for row in kept_rationales(run, "star")}
    assert {row.rationale_id for row in rows} == set(kept)
    assert {row.revision for row in rows} == {scorer.revision}
    problems = {problem.id: problem for problem in run.table("problems")}
    first = kept[rows[0].rationale_id]
    assert scorer.score(problems[first.problem_id].prompt, first.steps).scores == pytest.approx(
        rows[0].scores, abs=1e-5
    )
    table = pq.read_table(finished / "dataset/data")
    assert [len(one) for one in table["step_scores"].to_pylist()] == [len(one) for one in table["steps"].to_pylist()]
    curve = run.manifest["notes"]["best_of_n"]["curve"]
    assert [row["n"] for row in curve] == [1, 2, 4]
    # With one sample there is nothing to choose.
    assert len({curve[0][name] for name in ("pass_1", "majority", "greedy", "weighted", "pass_n")}) == 1
    page = (finished / "report.html").read_text()
    assert "The process reward model" in page


def test_the_run_notes_how_far_its_label_sources_agree(finished: Path) -> None:
    found = {
        (row["first"], row["second"]): row for row in RunFolder.read(finished).manifest["notes"]["label_agreement"]
    }
    assert set(found) == {("near_miss", "symbolic"), ("outcome", "symbolic")}
    for row in found.values():
        assert row["steps"] == sum(row[name] for name in ("both_right", "first_only", "second_only", "both_wrong")) > 0
    # Some slips show in no equation of their step; what the checker calls wrong before a slip would be its own error.
    assert found["near_miss", "symbolic"]["both_wrong"] > 0
    assert found["near_miss", "symbolic"]["first_only"] == 0


def test_a_wrong_answer_without_a_wrong_step_teaches_its_outcome_where_outcomes_are_learned(finished: Path) -> None:
    run = RunFolder.read(finished)
    context = Context(run, run.recipe, PromptTemplate("arithmetic"))
    unplaced = [row for row in run_labels(context).solutions if row.source == "outcome"]
    wrong = {row.rationale_id for row in run.table("verdicts", "star-") if row.status is Status.INCORRECT}
    assert 0 < len(unplaced) < len(wrong)
    assert all(row.outcome is False and not row.is_labelled for row in unplaced)
    plain = replace(context, recipe=load_recipe("quickstart", [*CHANGES, "prm.outcome_weight=0"]))
    assert {row.id for row in run_labels(plain).solutions}.isdisjoint(row.id for row in unplaced)


@pytest.mark.parametrize(
    ("text", "right", "values"),
    [
        ("12+3=15\n15-4=11\n#### 11", True, (1.0, 1.0, 1.0)),
        ("12+3=15\n15-4=12\n#### 12", False, (1.0, 0.0, None)),
        # A right answer by a wrong step: the step is wrong all the same.
        ("12+3=16\n16-5=11\n#### 11", True, (0.0, None, None)),
        # Consistent arithmetic on the wrong numbers: nobody can say where it went wrong.
        ("12+3=15\n15-5=10\n#### 10", False, None),
    ],
)
def test_labels_are_what_checker_and_answer_agree_on(
    problem: Problem, provenance: Provenance, text: str, right: bool, values: tuple[float | None, ...] | None
) -> None:
    status = Status.CORRECT if right else Status.INCORRECT
    found = agreed_labels(
        problem, make_rationale(problem, text, provenance), Verdict(status=status, extracted="", method="")
    )
    assert (found and found.values) == values


def test_an_undecided_answer_teaches_the_prm_nothing(problem: Problem, provenance: Provenance) -> None:
    verdict = Verdict(status=Status.UNDECIDED, extracted="", method="")
    assert agreed_labels(problem, make_rationale(problem, "12+3=16\n#### 16", provenance), verdict) is None


def test_a_program_has_no_steps_that_the_prm_could_learn(provenance: Provenance) -> None:
    problem = Problem.create(
        prompt="double x", answer="", kind=Kind.CODE, tests="assert f(1) == 2", source="t", split="train"
    )
    verdict = Verdict(status=Status.CORRECT, extracted="", method="program")
    assert agreed_labels(problem, make_rationale(problem, "def f(x):\n    return x + x\n", provenance), verdict) is None


def test_a_recipe_for_programs_is_told_so_before_its_rounds() -> None:
    with pytest.raises(UserError, match="steps of programs"):
        load_recipe("quickstart", ["prompt=code", "prm.enabled=true"])


def test_the_report_tells_the_arms_in_the_order_in_which_they_begin(finished: Path) -> None:
    arms = list(dict.fromkeys(place[0] for place in summarize(RunFolder.read(finished)).accuracy))
    assert arms == ["base", "star", "ppo"]


def test_the_report_says_what_ppo_bought(finished: Path) -> None:
    line = policy_line(summarize(RunFolder.read(finished)), "ppo")
    assert line.startswith("PPO took the last promoted policy to ")
    assert line[:40] in (finished / "report.html").read_text()


def test_a_finished_ppo_is_not_trained_again_nor_its_samples_scored_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from star.ppo.trainer import PpoTrainer

    done: list[str] = []
    whole, scored = PpoTrainer.run, training_fit.scored_candidates
    monkeypatch.setattr(PpoTrainer, "run", lambda self, *rest: (done.append("ppo"), whole(self, *rest))[1])
    monkeypatch.setattr(training_fit, "scored_candidates", lambda *rest: (done.append("scores"), scored(*rest))[1])
    run_recipe(load_recipe("quickstart", CHANGES), finished)
    assert not done


def test_the_step_checker_scores_steps() -> None:
    assert symbolic_scores([("", ["3+4=7\n", "7+5=13\n", "so it is\n"])]) == [[1.0, 0.0, 0.5]]
