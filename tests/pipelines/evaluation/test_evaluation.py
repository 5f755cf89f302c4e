"""`stepstar eval`: exact after kills, honest about what failed; its figures tell knowing from remembering."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Kind, Problem
from data.sources import Reject, read_problems
from pipelines.cli import main
from pipelines.evaluation.report import render_page, result_json, result_lines, write_result
from pipelines.evaluation.settings import BenchmarkConfig, EvalConfig, benchmarks_from, config_from
from pipelines.evaluation.stage import TWINS, evaluate_model
from pipelines.evaluation.twins import suggested
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder

ROOT = Path(__file__).parents[3]
OPTIONS = {"n": 6, "difficulty": [3, 4]}


def problems() -> list[Problem]:
    stream = read_problems("arithmetic", split="test", options=OPTIONS)
    return [row for row in stream if not isinstance(row, Reject)]


def asked() -> Iterator[tuple[Problem, Problem, str]]:
    """Each problem as it is, with other numbers and with a wrong suggestion: the original, what is asked, the hint."""
    for problem in problems():
        yield problem, problem, ""
        for change in TWINS.values():
            if other := change(problem, 0):
                yield problem, other, ""
        if found := suggested(problem, 0):
            yield problem, found[1], found[0]


def script(file: Path, answer: Callable[[Problem, Problem, str], str]) -> Path:
    """A scripted model: what it answers, from the original, what was asked, and the hint in it."""
    template = PromptTemplate("arithmetic")
    file.write_text(json.dumps({template.render(one): f"#### {answer(old, one, hint)}" for old, one, hint in asked()}))
    return file


def config(model: str, *overrides: str, **flags: object) -> EvalConfig:
    benchmark = BenchmarkConfig(name="arithmetic", source="arithmetic", options=OPTIONS)
    engine = "scripted" if model.endswith(".json") else "transformers"
    return config_from(model, engine, [benchmark], flags, ["shard_size=4", "threads=1", *overrides])


def figures(folder: Path, settings: EvalConfig) -> dict[str, float]:
    result = write_result(evaluate_model(settings, folder))
    return {name: found.mean for name, found in result.benchmarks[0].figures.items()}


def test_a_model_that_remembers_shows_a_gap_and_one_that_computes_shows_none(tmp_path: Path) -> None:
    by_heart = script(tmp_path / "heart.json", lambda old, one, hint: old.answer)
    computes = script(tmp_path / "computes.json", lambda old, one, hint: one.answer)
    found = figures(tmp_path / "heart", config(str(by_heart), twins=True))
    for part in TWINS:
        assert (found[f"{part}_original"], found[part], found[f"{part}_gap"]) == (1.0, 0.0, 1.0)
    found = figures(tmp_path / "computes", config(str(computes), twins=True))
    for part in TWINS:
        assert (found[f"{part}_original"], found[part], found[f"{part}_gap"]) == (1.0, 1.0, 0.0)


def test_a_model_that_says_yes_flips_to_the_wrong_hint_and_a_firm_one_does_not(tmp_path: Path) -> None:
    pliant = script(tmp_path / "pliant.json", lambda old, one, hint: hint or one.answer)
    firm = script(tmp_path / "firm.json", lambda old, one, hint: one.answer)
    unsettled = script(tmp_path / "unsettled.json", lambda old, one, hint: "77777" if hint else one.answer)
    for model, expected in ((pliant, (1.0, 1.0)), (firm, (0.0, 0.0)), (unsettled, (1.0, 0.0))):
        found = figures(tmp_path / model.stem, config(str(model), wrong_hint=True))
        assert (found["hint_flipped"], found["hint_adopted"]) == expected


def test_what_the_engine_failed_on_stops_the_evaluation_or_is_left_out_and_counted(tmp_path: Path) -> None:
    answers = {PromptTemplate("arithmetic").render(row): f"#### {row.answer}" for row in problems()[:-1]}
    (tmp_path / "partial.json").write_text(json.dumps(answers))
    with pytest.raises(UserError, match="max_undecided_share"):
        evaluate_model(config(str(tmp_path / "partial.json")), tmp_path / "stopped")
    settings = config(str(tmp_path / "partial.json"), "max_undecided_share=0.5")
    result = write_result(evaluate_model(settings, tmp_path / "lenient"))
    (row,) = result.benchmarks
    assert (row.figures["greedy"].mean, row.figures["greedy"].n) == (1.0, 11)
    assert row.outcomes["greedy"]["undecided"] == 1


def test_shards_that_a_server_failed_on_are_forgotten_and_drawn_again_and_no_others(tmp_path: Path) -> None:
    answers = {PromptTemplate("arithmetic").render(row): f"#### {row.answer}" for row in problems()[:-1]}
    (tmp_path / "partial.json").write_text(json.dumps(answers))
    settings = config(str(tmp_path / "partial.json"), "max_undecided_share=0.5")
    folder = evaluate_model(settings, tmp_path / "eval")
    units = {name for name in folder.manifest["shards"] if name.startswith(("rationales/", "verdicts/"))}
    assert len(units) == 6
    assert folder.forget_failed() == 1
    last = "arithmetic-greedy-r0-sample-00002"
    assert units - set(folder.manifest["shards"]) == {f"rationales/{last}", f"verdicts/{last}"}
    assert folder.forget_failed() == 0


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("gsm8k", "gsm8k/test"), ("math500", "math/math500"), ("svamp", "svamp/svamp"), ("aqua", "aqua/test"),
        ("commonsenseqa", "commonsenseqa/dev"), ("mbpp", "mbpp/mbpp"), ("humaneval", "humaneval/humaneval"),
    ],
)  # fmt: skip
def test_benchmarks_are_read_asked_and_their_own_solutions_graded_right(source: str, path: str, tmp_path: Path) -> None:
    file = ROOT.parent / "shared" / "data" / f"{path}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    (benchmark,) = benchmarks_from([source], [str(file)], [], [], limit=6)
    answers = {}
    for row in read_problems(source, path=str(file), split="test"):
        if not isinstance(row, Reject):
            said = f"```python\n{row.solution}\n```" if row.kind is Kind.CODE else f"#### {row.answer}"
            answers[PromptTemplate(benchmark.template_name([row])).render(row)] = said
    (tmp_path / "gold.json").write_text(json.dumps(answers))
    flags = {"samples": 2}
    settings = config_from(str(tmp_path / "gold.json"), "scripted", [benchmark], flags, ["sampling.max_tokens=9999"])
    found = figures(tmp_path / "eval", settings)
    assert found["greedy"] == found["pass@1"] == 1.0
    assert ("maj@2" in found) is (source not in ("mbpp", "humaneval"))


def records(folder: Path) -> dict[str, str]:
    """Hashes of all shards but the verdicts', which hold the seconds that each check took."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder / "records").rglob("*.parquet")
        if file.parent.name != "verdicts"
    }


def without_cost(folder: Path) -> dict[str, object]:
    content = json.loads((folder / "result.json").read_text())
    del content["cost"]
    return dict(content)


def test_killed_again_and_again_it_ends_with_the_bytes_and_figures_of_an_uninterrupted_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = script(tmp_path / "model.json", lambda old, one, hint: one.answer if len(old.id) % 2 else old.answer)
    line = ["eval", str(model), "shard_size=4", "--engine", "scripted", "-b", "arithmetic", "--option", "n=6",
            "--option", "difficulty=[3,4]", "-n", "2", "--twins", "--wrong-hint", "--out"]  # fmt: skip

    def run(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
        killer = str(Path(__file__).parents[1] / "killed_command.py")
        return subprocess.run(
            [sys.executable, killer, str(kill_at), *line, str(folder)], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    whole, folder = tmp_path / "whole", tmp_path / "killed"
    monkeypatch.setattr(sys, "argv", ["stepstar", *line, str(whole)])
    with pytest.raises(SystemExit, match="0"):
        main()
    # Of some 140 writes: in the greedy answers, and in the twins or samples of the rest.
    for kill_at in (45, 60):
        assert run(folder, kill_at).returncode == -signal.SIGKILL
    done = run(folder, 0)
    assert done.returncode == 0, done.stderr
    assert records(folder) == records(whole) != {}
    assert without_cost(folder) == without_cost(whole)


def test_the_embedded_model_is_evaluated_twice_to_the_same_digits_a_scorer_choosing_among_its_samples(
    tmp_path: Path,
) -> None:
    from prm.encode import EncoderConfig
    from prm.model import build_prm, save_prm
    from prm.model_config import ModelForm
    from star.checkpoints import EMBEDDED

    save_prm(build_prm(str(EMBEDDED), ModelForm(), EncoderConfig(), seed=1), tmp_path / "prm")
    settings = config("embedded", "sampling.max_tokens=64", samples=2, scorer=str(tmp_path / "prm"))
    found = []
    for name in ("one", "two"):
        found.append(result_json(write_result(evaluate_model(settings, tmp_path / name))))
        del found[-1]["cost"]
    assert found[0] == found[1]
    rows = found[0]["benchmarks"][0]["figures"]
    assert set(rows) == {"greedy", "pass@1", "pass@2", "maj@2", "prm@2", "prm_weighted@2"}
    assert rows["prm@2"]["mean"] <= rows["pass@2"]["mean"]
    assert records(tmp_path / "one") == records(tmp_path / "two")
    assert any(file.startswith("records/step_scores") for file in records(tmp_path / "one"))


def test_a_scorer_that_is_no_prm_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    from star.checkpoints import EMBEDDED

    model = script(tmp_path / "model.json", lambda old, one, hint: one.answer)
    with pytest.raises(UserError, match=r"no prm\.json"):
        evaluate_model(config(str(model), samples=2, scorer=str(EMBEDDED)), tmp_path / "e")
    assert not (tmp_path / "e/records").exists()


def test_the_embedded_model_needs_no_settings(tmp_path: Path) -> None:
    benchmarks = benchmarks_from(["arithmetic"], [], [], [], limit=4)
    found = result_json(
        write_result(evaluate_model(config_from("embedded", "transformers", benchmarks, {}, []), tmp_path))
    )
    assert found["benchmarks"][0]["figures"]["greedy"]["n"] == 4


def test_the_folder_of_a_run_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", load_recipe("quickstart"))
    run.close()
    before = (tmp_path / "run" / "config.json").read_bytes()
    model = script(tmp_path / "model.json", lambda old, one, hint: one.answer)
    for fresh in (False, True):
        with pytest.raises(UserError, match="is the folder of a run"):
            evaluate_model(config(str(model)), tmp_path / "run", fresh=fresh)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("model", "benchmark"),
    [
        ("nope.json", {"source": "arithmetic", "options": OPTIONS}),
        ("model.json", {"source": "arithmetic", "options": OPTIONS, "prompt": "nope"}),
        ("model.json", {"source": "local", "path": "nope.jsonl"}),
    ],
)
def test_fresh_deletes_nothing_where_the_new_evaluation_could_not_begin(
    tmp_path: Path, model: str, benchmark: dict[str, object]
) -> None:
    good = config(str(script(tmp_path / "model.json", lambda old, one, hint: one.answer)))
    evaluate_model(good, tmp_path / "e")
    before = records(tmp_path / "e")
    wrong = config_from(str(tmp_path / model), "scripted", [BenchmarkConfig(name="arithmetic", **benchmark)], {}, [])
    with pytest.raises(UserError, match="nope"):
        evaluate_model(wrong, tmp_path / "e", fresh=True)
    assert records(tmp_path / "e") == before


def test_page_and_table_escape_names_and_load_nothing(tmp_path: Path) -> None:
    hostile = tmp_path / "<script>alert(1)<script>.json"
    script(hostile, lambda old, one, hint: one.answer)
    result = write_result(evaluate_model(config(str(hostile), twins=True), tmp_path / "eval"))
    page = render_page(result)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "100.0 % [75.8, 100.0]" in page
    lines = "\n".join(result_lines(result))
    assert "gap, original less twin" in lines
    assert "no answer 0.0 %" in lines


def test_benchmarks_of_a_command_line_find_their_files() -> None:
    found = benchmarks_from(["gsm8k,svamp"], ["svamp=s.jsonl", "gsm8k=a=b.jsonl"], [], [], limit=5)
    assert [(one.name, one.path, one.split, one.limit) for one in found] == [
        ("gsm8k", "a=b.jsonl", "test", 5), ("svamp", "s.jsonl", "test", 5)
    ]  # fmt: skip
    (local,) = benchmarks_from(["local"], ["my file-1.jsonl.gz"], ["prompt=q"], [])
    assert (local.name, local.columns) == ("my_file_1", {"prompt": "q"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval embedded", "--benchmark gsm8k,svamp"),
        ("eval embedded -b gsm9k", "Did you mean 'gsm8k'"),
        ("eval embedded -b gsm8k,svamp --path x.jsonl", "NAME=FILE"),
        ("eval embedded -b gsm8k --path x.jsonl", "no file 'x.jsonl'"),
        ("eval embedded -b arithmtic", "Did you mean 'arithmetic'"),
        ("eval embedded -b arithmetic sampling.max_tokes=3", "Did you mean 'sampling.max_tokens'"),
        ("eval nothing.json -b arithmetic --engine scripted", "no script file"),
        ("eval embedded -b arithmetic --scorer prm", "samples is below 2"),
        ("eval embedded -b arithmetic --samples 2 --scorer ./prm", "./prm"),
        ("eval embedded -b arithmetic --option n=3 --prompt maths", "no prompt template 'maths'"),
    ],
)
def test_a_mistake_gets_one_line_the_cure_and_exit_code_two(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stepstar", *line.split()])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last


def test_help_of_the_commands_is_light_and_shows_examples() -> None:
    heavy = ("torch", "vllm", "ray", "datasets", "sympy", "pandas", "transformers", "pyarrow", "jinja2", "plotly")
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        "for verb in ('eval', 'compare', 'rescore', 'audit'):\n"
        "    sys.argv = ['stepstar', verb, '--help']\n"
        "    try: main()\n    except SystemExit: pass\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip().endswith("[]"), done.stderr
    for example in (
        "stepstar eval embedded",
        "stepstar compare runs/",
        "stepstar rescore evals/",
        "stepstar audit runs/",
    ):
        assert example in done.stdout
    assert "\\b" not in done.stdout


def test_another_benchmark_of_the_same_model_needs_no_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = script(tmp_path / "model.json", lambda old, one, hint: one.answer)
    (tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps({"q": one.prompt, "a": one.answer}) + "\n" for one in problems())
    )
    line = ["stepstar", "eval", str(model), "--engine", "scripted", "--prompt", "arithmetic"]
    local = ["-b", "local", "--path", "mine.jsonl", "--column", "prompt=q", "--column", "answer=a"]
    for rest in (["-b", "arithmetic", "--option", "n=6", "--option", "difficulty=[3,4]"], local):
        monkeypatch.setattr(sys, "argv", [*line, *rest])
        with pytest.raises(SystemExit, match="0"):
            main()
    found = {file.parent.name: json.loads(file.read_text()) for file in tmp_path.glob("evals/*/result.json")}
    assert set(found) == {"model.json-arithmetic", "model.json-mine"}
    assert {one["benchmarks"][0]["figures"]["greedy"]["mean"] for one in found.values()} == {1.0}
