"""Damaged files of a run folder: wherever a bit flips or a file ends early, nobody reads rows that were not written."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import InputError, RunFolderError
from data.records import Problem
from pipelines.journal import JOURNAL
from pipelines.recipe import load_recipe
from pipelines.run_dir import RunFolder

RECIPE = load_recipe("quickstart")
ROWS = [Problem.create(prompt=f"{place}+1=?", answer=str(place + 1)) for place in range(3)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stored") / "run"
    run = RunFolder.open(root, RECIPE)
    run.pin(threads=1)
    with run.stage("problems"):
        run.unit("problems", "train", "key", lambda: ROWS)
    run.note("promoted", "embedded")
    run.close()
    return root


def damaged(whole: bytes, n: int) -> Iterator[bytes]:
    """A file with one bit flipped, and one that ends early, each at `n` places."""
    rng = random.Random(len(whole))
    for place in rng.sample(range(len(whole)), min(n, len(whole))):
        yield whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        yield whole[:place]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("manifest.json", "refused"), ("config.json", "refused"), ("records/problems/shard-train.parquet", "read")],
)
def test_a_damaged_file_is_a_named_error_or_computed_again_and_never_read_as_something_else(
    stored: Path, tmp_path: Path, name: str, expected: str
) -> None:
    whole = (stored / name).read_bytes()
    outcomes = set()
    for place, content in enumerate(damaged(whole, 25)):
        root = shutil.copytree(stored, tmp_path / str(place))
        (root / name).write_bytes(content)
        try:
            run = RunFolder.open(root, RECIPE)
        except RunFolderError:
            outcomes.add("refused")
            continue
        assert run.unit("problems", "train", "key", lambda: ROWS) == ROWS
        assert list(run.table("problems")) == ROWS
        run.close()
        outcomes.add("read")
    assert expected in outcomes


def test_a_damaged_line_of_the_journal_costs_its_shard_and_is_never_read_as_something_else(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.pin(threads=1)
    for name in "abc":
        run.unit("problems", name, "key", lambda: ROWS)
    run.close()
    whole = (tmp_path / "run" / JOURNAL).read_bytes()
    for place, content in enumerate(damaged(whole, 25)):
        root = shutil.copytree(tmp_path / "run", tmp_path / str(place))
        (root / JOURNAL).write_bytes(content)
        run = RunFolder.open(root, RECIPE)
        cut = len(content) < len(whole)
        assert sum(run.has_unit("problems", name, "key") for name in "abc") >= (0 if cut else 1)
        for name in "abc":
            assert run.unit("problems", name, "key", lambda: ROWS) == ROWS
        run.close()
        assert list(RunFolder.read(root).table("problems")) == ROWS * 3


def test_a_manifest_of_an_earlier_version_has_no_seal_and_is_read(stored: Path, tmp_path: Path) -> None:
    root = shutil.copytree(stored, tmp_path / "run")
    content = json.loads((root / "manifest.json").read_text())
    del content["sha256"]
    (root / "manifest.json").write_text(json.dumps(content, indent=1))
    assert list(RunFolder.read(root).table("problems")) == ROWS


@pytest.mark.parametrize("file", ["../secret.parquet", "records/../../secret.parquet", "/etc/passwd"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(stored: Path, tmp_path: Path, file: str) -> None:
    root = shutil.copytree(stored, tmp_path / "run")
    shutil.copy(root / "records/problems/shard-train.parquet", tmp_path / "secret.parquet")
    content = json.loads((root / "manifest.json").read_text())
    content["shards"]["problems/train"]["file"] = file
    (root / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="outside its folder"):
        list(RunFolder.read(root).table("problems"))
