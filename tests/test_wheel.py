"""The wheel holds every package whole, its data files too, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "verifiers", "prm", "star", "pipelines")
IGNORED = {"__pycache__"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(zipfile.ZipFile(next(out.glob("*.whl"))).namelist())


def test_every_file_of_every_package_is_in_the_wheel_and_no_other(names: set[str]) -> None:
    wanted = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and not IGNORED & set(file.parts)
    }
    held = {name for name in names if ".dist-info/" not in name}
    assert held == wanted


def test_what_is_not_code_is_there(names: set[str]) -> None:
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    for name in (
        "star/assets/tiny/model.safetensors",
        "star/assets/tiny/tokenizer.json",
        "star/assets/tiny/provenance.json",
        "star/assets/addition/provenance.json",
        "pipelines/report/audit.html.jinja",
        "pipelines/report/audit.js",
        "pipelines/report/audit.css",
        "pipelines/evaluation/eval.html.jinja",
        "pipelines/recipes/quickstart.yaml",
        "pipelines/report/report.html.jinja",
        "data/templates/arithmetic.jinja",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_only_command_is_stepstar() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(project["scripts"]) == ["stepstar"]


def test_the_readme_names_shipped_recipes_sources_and_verbs() -> None:
    from data.sources import GENERATED, SOURCES
    from pipelines.cli import app
    from pipelines.recipe import shipped_recipes

    text = (ROOT / "README.md").read_text()
    for name in [*shipped_recipes(), *SOURCES, *GENERATED]:
        assert f"`{name}`" in text or f"stepstar run {name}" in text
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"stepstar {(command.name or command.callback.__name__).replace('_', '-')}" in text
