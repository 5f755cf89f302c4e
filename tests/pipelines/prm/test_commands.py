"""The commands of the PRM: help that answers at once, and mistakes that cost one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from star.checkpoints import EMBEDDED

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "vllm", "ray", "datasets", "sympy", "pandas", "transformers", "pyarrow")


@pytest.mark.parametrize("verb", ["score", "train-prm", "eval-prm", "label"])
def test_help_is_light_and_shows_an_example(verb: str) -> None:
    code = (
        f"import sys; sys.argv = ['stepstar', '{verb}', '--help']\nfrom pipelines.cli import main\n"
        f"try: main()\nexcept SystemExit: pass\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert re.search(rf"(?m)^ *stepstar {verb} \S+", done.stdout)
    assert "\\b" not in done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    row = {"problem": "1+1=?", "steps": ["1+1=2"], "values": [1.0], "source": "human"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    short = {"prompt": "1+1=?", "completions": ["1+1=2"], "labels": [True, False]}
    (tmp_path / "short.jsonl").write_text(json.dumps(short) + "\n")
    (tmp_path / "base").symlink_to(EMBEDDED)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("score no.jsonl --model m --out o.jsonl", "no file 'no.jsonl'"),
        ("score labels.jsonl --model m --out o.jsonl --problem-column q", "--problem-column NAME"),
        ("train-prm --base embedded --out prm steps=3", "no label file"),
        ("train-prm labels.jsonl --base embedded --out prm stepps=3", "Did you mean 'steps'"),
        ("train-prm labels.jsonl --base embedded --out prm --neutral fine", "neutral = 'fine'"),
        ("train-prm labels.jsonl --base embedded --out prm --format trl2", "no label format 'trl2'"),
        ("train-prm short.jsonl --base embedded --out prm", "2 labels for 1 steps"),
        ("eval-prm -b labels.jsonl", "Give MODEL, or --scores-column"),
        ("eval-prm -b labels.jsonl --scores-column s", "no field 's'"),
        ("eval-prm embedded -b labels.jsonl", "no model folder 'embedded'. Give a folder, or a hub id"),
        ("eval-prm base -b labels.jsonl", "math_shepherd, skywork_prm, rlhflow_prm or implicit_prm"),
        ("score labels.jsonl --model base --layout rlhflow_prm --out o.jsonl --dtype float17", "no dtype 'float17'"),
        ("score labels.jsonl --model base --layout rlhflow_prm --out o.jsonl --device cuda:99", "no device 'cuda:99'"),
        ("label labels.jsonl --how magic --out o.jsonl", "no way 'magic'"),
        ("label labels.jsonl --how symbolic --out o.jsonl n=3", "no settings"),
        ("label labels.jsonl --how monte_carlo --out o.jsonl", "key 'model' is missing"),
        ("label labels.jsonl --how monte_carlo --out o.jsonl model.name=m", "--gold-column NAME"),
        ("label labels.jsonl labels.jsonl --how monte_carlo --out o.jsonl model.name=embedded", "one file"),
    ],
)
def test_a_mistake_gets_one_line_the_cure_and_exit_code_two(
    folder: Path, line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stepstar", *line.split()])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
