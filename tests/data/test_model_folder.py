"""Model folders: names are told from hub ids, and what is missing or cut off is named, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import UserError
from data.model_folder import check_folder, is_local, weights_revision
from star.checkpoints import EMBEDDED


@pytest.mark.parametrize("name", ["/m", "./m", "~/m", "m", "a/b/c", "../a/b"])
def test_a_path_is_told_from_a_hub_id(name: str) -> None:
    assert is_local(name)
    assert not is_local("owner/name-that-is-no-folder")


def test_a_folder_of_the_form_of_a_hub_id_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_local("owner/name")


def test_a_run_is_no_model_and_its_models_are_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"is a run, not a model.*checkpoints/NAME"):
        check_folder(tmp_path)


@pytest.mark.parametrize("gone", ["model.safetensors", "tokenizer.json", "config.json"])
def test_what_a_folder_lacks_is_named(tmp_path: Path, gone: str) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    check_folder(folder)
    (folder / gone).unlink()
    with pytest.raises(UserError, match=r"lacks (weights|a tokenizer|config\.json)"):
        check_folder(folder)
    with pytest.raises(UserError, match="no model at"):
        check_folder(tmp_path / "nowhere")


def test_the_revision_follows_weights_and_tokenizer_and_nothing_else(tmp_path: Path) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    assert weights_revision(folder) == weights_revision(EMBEDDED)
    (folder / "provenance.json").unlink()
    assert weights_revision(folder) == weights_revision(EMBEDDED)
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    assert weights_revision(folder) != weights_revision(EMBEDDED)


def test_a_folder_is_checked_without_torch() -> None:
    code = "import sys; from pathlib import Path; from data.model_folder import check_folder as check; " \
           "check(Path(sys.argv[1])); assert 'torch' not in sys.modules"  # fmt: skip
    command = [sys.executable, "-c", code, str(EMBEDDED)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
