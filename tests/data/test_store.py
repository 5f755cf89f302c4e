"""The store: a file is whole or absent, and a damaged one is never read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data.errors import InputError
from data.records import Problem
from data.store import (
    Only,
    read_fields,
    read_shard,
    seal,
    set_aside_foreign,
    shard_is_whole,
    unseal,
    write_atomic,
    write_shard,
    writing,
)

ROWS = [Problem.create(prompt=f"{place}+1", answer=str(place + 1)) for place in range(20)]


def test_rows_come_back_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    one = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS, key="k")
    other = write_shard(tmp_path, "records/problems/b.parquet", Problem, ROWS, key="k")
    assert list(read_shard(tmp_path, one, Problem)) == ROWS
    assert one.sha256 == other.sha256
    assert (one.rows, one.key) == (20, "k")


def test_of_a_shard_only_the_rows_that_are_asked_for_are_read(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS, key="k")
    wanted = [ROWS[0].id, ROWS[-1].id]
    found = list(read_shard(tmp_path, entry, Problem, only=Only.of("id", reversed(wanted))))
    assert [row.id for row in found] == wanted
    assert list(read_shard(tmp_path, entry, Problem, only=Only.of("id", []))) == []


def test_fields_are_those_of_the_records_in_their_order_and_an_enum_is_text(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS, key="k")
    found = list(read_fields(tmp_path, entry, ("prompt", "kind", "id", "choices")))
    assert found == [(row.prompt, "math", row.id, []) for row in ROWS]
    assert [(type(kind), kind) for _, kind, _, _ in found[:1]] == [(str, "math")]


def test_a_shard_cut_or_changed_at_any_byte_is_refused(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS[:2], key="k")
    file = tmp_path / entry.file
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            assert not shard_is_whole(tmp_path, entry)
    with pytest.raises(InputError, match=r"a\.parquet"):
        list(read_shard(tmp_path, entry, Problem))
    with pytest.raises(InputError, match=r"a\.parquet"):
        list(read_fields(tmp_path, entry, ("id",)))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS, key="k")
    (tmp_path / entry.file).unlink()
    with pytest.raises(InputError, match=r"a\.parquet"):
        list(read_shard(tmp_path, entry, Problem))


def test_a_foreign_file_is_set_aside_by_name_and_a_known_one_stays(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, "records/problems/a.parquet", Problem, ROWS, key="k")
    (tmp_path / "records/problems/torn.parquet").write_bytes(b"PAR1")
    assert set_aside_foreign(tmp_path, {entry.file}) == ["records/problems/torn.parquet"]
    assert (tmp_path / "set-aside" / "records__problems__torn.parquet").read_bytes() == b"PAR1"
    assert shard_is_whole(tmp_path, entry)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "manifest.json"
    write_atomic(file, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"


def test_sealed_json_is_json_comes_back_and_shows_every_flipped_bit_of_its_content() -> None:
    text = json.dumps({"a": [1, 2.5], "ü": "x"}, indent=1, ensure_ascii=False).encode()
    sealed = seal(text)
    assert unseal(sealed) == unseal(text) == text
    assert json.loads(sealed).keys() - {"sha256"} == {"a", "ü"}
    start = len(sealed) - len(text) + 1
    for place in range(start, len(sealed)):
        with pytest.raises(ValueError, match="not those that were written"):
            unseal(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])


def test_a_folder_in_the_place_of_a_file_is_cured_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "out.json").mkdir()
    with pytest.raises(InputError, match="Is a directory") as caught, writing(tmp_path / "out.json"):
        (tmp_path / "out.json").write_text("{}")
    assert caught.value.cure == "Give another path."
