"""The scratch folder is empty again after anything, and nothing outside it is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verifiers.sandbox.scratch import MAX_NAMES, Scratch


def test_any_tree_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    box = tmp_path / "box"
    (box / "a" / "b").mkdir(parents=True)
    (box / "a" / "link").symlink_to(outside)
    (box / "a" / "b" / "file").write_text("x")
    (box / "a" / "b" / "hard").hardlink_to(outside / "kept")
    os.mkfifo(box / "pipe")
    (box / "a" / "b").chmod(0)
    (box / "a").chmod(0)
    scratch = Scratch(str(box))
    assert scratch.used()
    scratch.clear()
    assert not scratch.used()
    assert (outside / "kept").read_text() == "x"


def test_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    folder = os.open(box, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d" * 100, dir_fd=folder)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    Scratch(str(box)).clear()
    assert list(box.iterdir()) == []


@pytest.mark.parametrize("kind", ["space", "names", "folders", "little"])
def test_space_and_names_are_limited(tmp_path: Path, kind: str) -> None:
    if kind == "space":
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "big").write_bytes(b"x" * (33 << 20))
    elif kind == "names":
        for number in range(MAX_NAMES):
            (tmp_path / str(number)).touch()
    elif kind == "folders":
        for number in range(300):
            (tmp_path / str(number)).mkdir()
    else:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "c").write_bytes(b"x" * 1000)
    assert Scratch(str(tmp_path)).too_large() == (kind != "little")
