"""`stepstar eval-prm`: figures that can be worked out by hand, their floors, and real scores of published PRMs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from pipelines.prm.benchmarks import ScoreSource, read_benchmarks
from pipelines.prm.choice_figures import choice_section
from pipelines.prm.evaluation import evaluate_prm, write_evaluation
from pipelines.prm.figures import Figure, Section
from pipelines.prm.report import evaluation_lines
from prm.aggregate import Reading

DATA = Path(__file__).parents[3].parent / "shared" / "data"
STORED = ScoreSource(column="s")


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def labelled(row_id: str, label: int, scores: list[float] | None, *, right: bool) -> dict[str, Any]:
    steps = ["so we add", "then we guess", "done"]
    return {
        "id": row_id,
        "problem": f"problem {row_id}",
        "steps": steps,
        "label": label,
        "final_answer_correct": right,
        "s": scores,
    }


ROWS = [
    labelled("gsm8k-0", -1, [0.9, 0.9, 0.9], right=True),
    labelled("gsm8k-1", 1, [0.9, 0.2, 0.1], right=False),
    labelled("gsm8k-2", 1, [0.9, 0.8, 0.1], right=False),
    labelled("math-0", -1, [0.9, 0.4, 0.9], right=True),
    labelled("math-1", 2, [0.9, 0.9, 0.3], right=True),
]


def figure(sections: list[Section], name: str, label: str) -> Figure:
    (section,) = (one for one in sections if one.name == name)
    return next(one for one in section.figures if one.name == label)


def test_first_error_f1_of_subsets_and_their_unweighted_mean(tmp_path: Path) -> None:
    found = evaluate_prm(STORED, [write(tmp_path / "all.jsonl", ROWS)])
    assert found.read_by == "default"
    gsm8k = figure(found.sections, "gsm8k", "first-error F1")
    # Right solutions: 1 of 1. Wrong ones: 1 of 2. F1 = 2 * 100 * 50 / 150.
    assert gsm8k.value == pytest.approx(200 / 3)
    assert gsm8k.low <= gsm8k.value <= gsm8k.high
    assert gsm8k.floors["always correct"] == 0
    # A coin: half of the right ones, a sixth of the wrong ones. The oracle blames the middle step, rightly.
    assert gsm8k.floors["coin"] == pytest.approx(25)
    assert gsm8k.floors["answer oracle"] == 100
    assert figure(found.sections, "math", "first-error F1").value == 0
    mean = found.sections[-1].figures[0]
    assert mean.value == pytest.approx(100 / 3)
    assert mean.floors["answer oracle"] == 50  # On math-1 the answer is right all the same.


def test_step_figures_are_over_labelled_steps(tmp_path: Path) -> None:
    found = evaluate_prm(STORED, [write(tmp_path / "all.jsonl", ROWS[:3])])
    # Labels: right .9 .9 .9 | right .9, wrong .2 | right .9, wrong .8. Every right one is above every wrong one.
    assert figure(found.sections, "gsm8k", "step AUC").value == 1.0
    assert figure(found.sections, "gsm8k", "Brier score").value == pytest.approx((5 * 0.01 + 0.04 + 0.64) / 7)
    assert figure(found.sections, "gsm8k", "Brier score").floors["base rate"] == pytest.approx(10 / 49)
    within = figure(found.sections, "gsm8k", "step AUC within a problem")
    assert within.floors["place in the solution"] == 1.0, "the last labelled step is the wrong one"


def test_a_solution_without_scores_is_a_miss_and_is_told(tmp_path: Path) -> None:
    rows = [*ROWS[:3], labelled("gsm8k-3", -1, None, right=True)]
    found = evaluate_prm(STORED, [write(tmp_path / "all.jsonl", rows)])
    assert figure(found.sections, "gsm8k", "  on right solutions").value == 50
    assert found.sections[0].unscored == {"stored_null": 1}
    assert "1 without scores: stored_null" in "\n".join(evaluation_lines(found))


def test_no_figure_is_given_where_nothing_has_scores(tmp_path: Path) -> None:
    rows = [row | {"s": None} for row in ROWS]
    with pytest.raises(UserError, match=r"none of 5 solutions has scores \(stored_null 5\)"):
        evaluate_prm(STORED, [write(tmp_path / "all.jsonl", rows)])


def test_threshold_and_word_floor_come_from_dev_alone(tmp_path: Path) -> None:
    dev = [labelled(f"dev-{n}", 1 if n % 2 else -1, [0.3, 0.2 if n % 2 else 0.28, 0.3], right=True) for n in range(20)]
    test = [labelled("gsm8k-0", -1, [0.3, 0.3, 0.26], right=True), labelled("gsm8k-1", 0, [0.1, 0.3, 0.3], right=True)]
    files = write(tmp_path / "test.jsonl", test), write(tmp_path / "dev.jsonl", dev)
    found = evaluate_prm(STORED, files[:1], files[1:])
    assert found.read_by == "dev"
    assert found.reading.readout == "level"
    assert 0.2 < found.reading.threshold < 0.28
    assert figure(found.sections, "gsm8k", "first-error F1").value == 100
    assert "bag of words" in figure(found.sections, "gsm8k", "first-error F1").floors
    assert figure(evaluate_prm(STORED, files[:1]).sections, "gsm8k", "first-error F1").value == 0


def test_dev_problems_in_a_benchmark_are_refused(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", ROWS[:1])
    with pytest.raises(UserError, match="1 problems are both in --dev and in --benchmark"):
        evaluate_prm(STORED, [one], [two])


def test_prm_score_by_class_of_error(tmp_path: Path) -> None:
    rows = [
        {
            "idx": kind,
            "modified_question": "q",
            "modified_process": ["a", "b"],
            "error_steps": [2],
            "classification": kind,
            "s": scores,
        }
        for kind, scores in (("domain", [0.9, 0.1]), ("redundancy", [0.9, 0.9]))
    ]
    found = evaluate_prm(STORED, [write(tmp_path / "bench.jsonl", rows)])
    assert figure(found.sections, "bench", "  domain").value == 100
    # Right steps: F1 of 1 hit, 1 right, 2 called right: 2/3. Wrong steps: 0.
    assert figure(found.sections, "bench", "  redundancy").value == pytest.approx(100 / 3)
    assert figure(found.sections, "bench", "PRMScore").floors["always correct"] == pytest.approx(100 / 3)


def candidates(*rows: tuple[str, bool, list[float]]) -> list[dict[str, Any]]:
    return [
        {"steps": ["a"] * len(scores), "answer": answer, "correct": right, "s": scores, "o": scores[::-1]}
        for answer, right, scores in rows
    ]


def test_best_of_n_against_majority_and_an_outcome_model(tmp_path: Path) -> None:
    rows = [
        {"problem": "one", "candidates": candidates(("3", False, [0.2]), ("4", True, [0.9]), ("3.0", False, [0.3]))},
        {"problem": "two", "candidates": candidates(("5", True, [0.1, 0.9]), ("6", False, [0.5, 0.2]))},
    ]
    file = write(tmp_path / "samples.jsonl", rows)
    found = evaluate_prm(ScoreSource(column="s", outcome_column="o"), [file], aggregate="last")
    best = figure(found.sections, "samples", "best of 3, last")
    assert best.value == 100
    assert best.floors["majority"] == 50  # 3 and 3.0 are one answer, and wrong.
    assert best.floors["outcome model"] == 50
    assert best.floors["random sample"] == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)
    assert figure(found.sections, "samples", "best of 3, min").value == 50
    assert figure(found.sections, "samples", "curve, best of 1").value == 50
    assert figure(found.sections, "samples", "best of 3 (last) less majority").value == 50


def test_the_result_is_strict_json(tmp_path: Path) -> None:
    found = evaluate_prm(STORED, [write(tmp_path / "all.jsonl", ROWS[:1])])
    write_evaluation(tmp_path / "result.json", found)
    text = (tmp_path / "result.json").read_text()
    assert "NaN" not in text
    stored = json.loads(text)
    assert stored["reading"]["threshold"] == 0.5
    assert stored["sections"][0]["figures"][0]["value"] is None, "no solution is wrong, so there is no F1"


@pytest.mark.parametrize(
    ("source", "message"), [(STORED, "no field 's'"), (ScoreSource(column="steps"), "no probability")]
)
def test_a_column_without_scores_is_named(tmp_path: Path, source: ScoreSource, message: str) -> None:
    rows = [{key: value for key, value in row.items() if key != "s"} for row in ROWS]
    with pytest.raises(UserError, match=message):
        evaluate_prm(source, [write(tmp_path / "all.jsonl", rows)])


# Best of 32 on 260 GSM8K problems by the stored step scores of published PRMs: min, product, geometric mean, mean and
# last; weighted vote (last); AUC of the last step's score over all pairs of samples, and over pairs of one problem.
PUBLISHED = {
    "qwen_prm": (89.23, 88.46, 88.46, 88.46, 88.85, 86.92, 0.750, 0.828),
    "skywork_prm": (87.31, 87.31, 88.85, 88.85, 90.00, 87.31, 0.781, 0.830),
    "skywork_prm_1_5b": (84.62, 84.62, 85.77, 86.15, 85.38, 85.77, 0.757, 0.701),
    "rlhflow_prm": (85.77, 85.77, 85.38, 85.38, 83.08, 86.15, 0.710, 0.621),
    "math_shepherd": (86.15, 86.15, 85.77, 86.15, 84.62, 86.15, 0.736, 0.662),
    "internlm2_7b_reward": (85.00, 83.85, 85.77, 86.15, 88.85, 85.38, 0.706, 0.713),
    "internlm2_1_8b_reward": (82.31, 83.08, 83.85, 84.62, 85.00, 86.15, 0.554, 0.532),
}


@pytest.fixture(scope="module")
def bon_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    packed = DATA / "bon_gsm8k" / "dev.jsonl.gz"
    if not packed.exists():
        pytest.skip(f"{packed} is not here")
    file = tmp_path_factory.mktemp("bon") / "bon.jsonl"
    file.write_bytes(gzip.decompress(packed.read_bytes()))
    return str(file)


def test_best_of_32_by_the_scores_of_seven_published_prms(bon_file: str) -> None:
    rank: dict[str, tuple[float, float]] = {}
    for name, expected in PUBLISHED.items():
        _, (samples,) = read_benchmarks([bon_file], ScoreSource(column=f"prm_scores.{name}"))
        section = choice_section(samples, Reading(aggregation="last"))
        values = {one.name: one.value for one in section.figures}
        found = [values[f"best of 32, {rule}"] for rule in ("min", "product", "geometric_mean", "mean", "last")]
        found.append(values["weighted vote, last"])
        assert found == pytest.approx(expected[:6], abs=0.005), name
        within = values["AUC of last within a problem"]
        assert (values["AUC of last"], within) == pytest.approx(expected[6:], abs=0.0005), name
        rank[name] = (values["best of 32, last"], within)
        floors = section.figures[-1].floors
        assert floors["majority"] == pytest.approx(85.77, abs=0.005)
        assert floors["ceiling, any of 32"] == pytest.approx(95.77, abs=0.005)
    # Within a problem the AUC orders these models as best-of-32 does, up to one tie; the pooled AUC does not.
    by_within = sorted(list(PUBLISHED)[:6], key=lambda name: -rank[name][1])
    chosen = [rank[name][0] for name in by_within]
    assert chosen == sorted(chosen, reverse=True)
