"""The command line: quick to answer, one line for a mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines.cli

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "vllm", "ray", "datasets", "sympy", "pandas", "transformers")


def python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize("name", ["prm", "star", "data", "verifiers", "pipelines", "pipelines.cli", "pipelines.recipe"])
def test_importing_a_package_brings_in_no_heavy_library(name: str) -> None:
    done = python(f"import sys, {name}; print(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("verb", [[], ["run"], ["validate"], ["report"], ["doctor"], ["convert"]])
def test_help_answers_without_heavy_libraries_and_shows_an_example(verb: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['stepstar', *{verb!r}, '--help']\nfrom pipelines.cli import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = python(code)
    assert done.stdout.strip().endswith("[]"), done.stderr
    # On a line of its own, so that it can be copied.
    assert re.search(rf"(?m)(^|: ) *stepstar {' '.join(verb) or 'run quickstart'}", done.stdout)
    assert "\\b" not in done.stdout


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "quickstrat"], ["quickstart"]),
        (["run", "quickstart", "sampling.temprature=1"], ["sampling.temprature", "temperature"]),
        (["run", "quickstart", "model.name=/nowhere", "--out", "{tmp}/r"], ["no model at '/nowhere'"]),
        (
            [
                "run",
                "quickstart",
                "problems.source=gsm8k",
                "problems.path=/no.jsonl",
                "problems.options={}",
                "--out",
                "{tmp}/r",
            ],
            ["/no.jsonl"],
        ),
        (["report", "{tmp}"], ["no run folder"]),
        (["convert", "/no.gguf", "{tmp}/m"], ["/no.gguf"]),
    ],
)
def test_a_mistake_gets_one_line_the_cure_and_exit_code_two(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    done = cli(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last


def test_a_negative_gold_is_no_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["stepstar", "verify", "-2", "x = -2", "--kind", "answer"])
    with pytest.raises(SystemExit) as ending:
        pipelines.cli.main()
    assert ending.value.code == 0
    assert capsys.readouterr().out.startswith("correct\n")


def test_validate_shows_both_prompts_and_the_amount_of_work() -> None:
    done = cli("validate", "quickstart", "problems.options={n: 5, difficulty: [3]}")
    assert done.returncode == 0, done.stderr
    assert "first prompt" in done.stdout
    assert "hinted" in done.stdout
    assert "60 samples in 3 rounds" in done.stdout


def test_validate_names_golds_that_cannot_be_parsed(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a?", "answer": "2"}\n{"prompt": "b?", "answer": "\\\\frac{1}{"}\n')
    done = cli("validate", "quickstart", "problems.source=local", f"problems.path={file}", "problems.options={}")
    assert "1 gold answers cannot be parsed" in done.stdout, done.stderr
    assert "frac{1}{" in done.stdout


def test_doctor_names_versions_and_finds_nothing_here() -> None:
    done = cli("doctor")
    assert "torch 2.13" in done.stdout
    assert "all is well" in done.stdout
    assert done.returncode == 0


def test_doctor_names_a_torch_that_vllm_does_not_go_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import doctor

    monkeypatch.setattr(doctor, "_version", lambda package: "2.15.0")
    assert any("torch 2.15.0" in line and "2.13" in line for line in doctor.problems_found())


def test_a_users_own_data_package_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/__init__.py").write_text("")
    code = f"import sys; sys.path.insert(1, {str(ROOT)!r}); import prm"
    done = python(code, cwd=tmp_path)
    assert "ImportError: stepstar needs its own package 'data'" in done.stderr
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize(("signalled", "code"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_a_signal_within_a_librarys_own_bookkeeping_ends_as_it_does_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signalled: BaseException, code: int
) -> None:
    def work(context: BaseException) -> None:
        try:
            raise context
        finally:
            # As torch does when its stack of modes was popped half.
            raise RuntimeError("trying to pop from empty mode stack")

    monkeypatch.setattr(pipelines.cli, "app", lambda: work(signalled))
    with pytest.raises(SystemExit) as ended:
        pipelines.cli.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == "stopped. Run the same command again to resume.\n"
    monkeypatch.setattr(pipelines.cli, "app", lambda: work(KeyError("a bug")))
    with pytest.raises(RuntimeError):
        pipelines.cli.main()
