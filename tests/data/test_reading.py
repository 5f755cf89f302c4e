"""Property: one bad line costs that line and is named; a bad file is one readable error; the rest is read as it is."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import InputError
from data.sources.base import Reject
from data.sources.reading import MAX_LINE_BYTES, find_files, read_rows, short_names

ROWS = [{"n": 1, "text": "eins"}, {"n": 2, "text": "zwei \u2028 \U0001f600"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())


def write(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.jsonl", LINES, ["a.jsonl:1", "a.jsonl:2"]),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0), ["a.jsonl.gz:1", "a.jsonl.gz:2"]),
        ("zipped-without-saying-so.jsonl", gzip.compress(LINES, mtime=0), None),
        ("lines.json", LINES, ["lines.json:1", "lines.json:2"]),
        ("a.json", json.dumps(ROWS).encode(), ["a.json[0]", "a.json[1]"]),
        ("indented.json", json.dumps(ROWS, indent=2).encode(), None),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0), None),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), None),
        ("bigbench.json", json.dumps({"name": "task", "examples": ROWS, "tags": ["a"]}).encode(), None),
        ("a.parquet", parquet_of(ROWS), ["a.parquet:1", "a.parquet:2"]),
        ("a.parquet.gz", gzip.compress(parquet_of(ROWS), mtime=0), None),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: bytes, places: list[str] | None) -> None:
    read = list(read_rows(write(tmp_path, name, content)))
    assert [item[1] for item in read if not isinstance(item, Reject)] == ROWS
    if places:
        assert [item[0] for item in read if not isinstance(item, Reject)] == places


def test_one_object_in_a_json_file_is_one_row(tmp_path: Path) -> None:
    # The original MATH ships one problem a file, with a list among its fields or not.
    row = {"problem": "p", "steps": ["a", "b"]}
    assert list(read_rows(write(tmp_path, "1.json", json.dumps(row, indent=1).encode()))) == [("1.json[0]", row)]


BAD_LINES = [
    (b'{"text": "latin-1 \xe9"}', "bad_utf8", "byte 19"),
    (b'{"text": "cut off', "bad_json", "Unterminated string"),
    (b"[1, 2]", "bad_json", "a JSON list"),
    (b"null", "bad_json", "a JSON NoneType"),
    (b"[" * 100_000, "bad_json", "recursion"),
    (b'{"n": ' + b"9" * 5000 + b"}", "bad_json", "4300"),
    (b'\x00\x01{"n": 1}', "bad_json", ""),
    ('{"n": 1}'.encode("utf-16-le"), "bad_json", ""),
]


@pytest.mark.parametrize(("line", "reason", "detail"), BAD_LINES, ids=[str(index) for index in range(len(BAD_LINES))])
def test_a_bad_line_is_a_reject_that_names_its_line_and_the_others_survive(
    tmp_path: Path, line: bytes, reason: str, detail: str
) -> None:
    file = write(tmp_path, "f.jsonl", b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    first, bad, last = read_rows(file)
    assert (first, last) == (("f.jsonl:1", {"n": 1}), ("f.jsonl:3", {"n": 3}))
    assert isinstance(bad, Reject)
    assert (bad.where, bad.reason) == ("f.jsonl:2", reason)
    assert detail in bad.detail
    assert "\n" not in bad.detail
    assert len(bad.excerpt) <= 200


def test_byte_order_mark_crlf_blank_lines_and_a_missing_last_newline_are_no_faults(tmp_path: Path) -> None:
    file = write(tmp_path, "f.jsonl", b'\xef\xbb\xbf{"n": 1}\r\n\r\n  \r\n{"n": 4}\r\n{"n": 5}')
    assert list(read_rows(file)) == [("f.jsonl:1", {"n": 1}), ("f.jsonl:4", {"n": 4}), ("f.jsonl:5", {"n": 5})]


def test_a_line_of_more_than_64_mib_is_rejected_with_its_size(tmp_path: Path) -> None:
    size = 2 * MAX_LINE_BYTES + 17
    file = tmp_path / "f.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(b"x" * size + b'\n{"n": 2}\n')
    huge, row = read_rows(file)
    assert isinstance(huge, Reject)
    assert (huge.where, huge.reason) == ("f.jsonl.gz:1", "too_long")
    assert str(size + 1) in huge.detail
    assert row == ("f.jsonl.gz:2", {"n": 2})


def test_rows_before_the_cut_of_a_truncated_gzip_are_read_and_then_it_is_an_error(tmp_path: Path) -> None:
    lines = b"".join(b'{"n": %d, "noise": "%d"}\n' % (number, number * 2654435761 % 2**32) for number in range(20_000))
    file = write(tmp_path, "cut.jsonl.gz", gzip.compress(lines)[:-1000])
    rows = read_rows(file)
    assert next(rows) == ("cut.jsonl.gz:1", json.loads(lines.partition(b"\n")[0]))
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz' is not a whole gzip file"):
        list(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n \r\n", "is empty"),
        ("empty.jsonl.gz", b"", "is empty"),
        ("empty.json", b"", "is empty"),
        ("none.json", b"[]", "is empty"),
        ("none.parquet", parquet_of([{"n": 1}])[:0], "parquet"),
        ("norow.parquet", parquet_of([]), "is empty"),
        ("text.jsonl.gz", LINES, "is not a whole gzip file"),
        ("flipped.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12] + b"\xff" * 12, "is not a whole gzip file"),
        ("broken.json", b'[{"n": 1}, {"n": ]', "is not JSON"),
        ("latin.json", b'["\xe9"]', "is not JSON"),
        ("deep.json", b"[" * 100_000, "is not JSON"),
        ("cut.parquet", parquet_of(ROWS)[:-20], "is not a whole parquet file"),
        ("noise.parquet", b"PAR1" + b"\x00" * 50 + b"PAR1", "parquet"),
        ("wide.jsonl", "[1]".encode("utf-16"), "is UTF-16"),
        ("table.csv", b"a,b\n", "unknown type"),
        ("no-extension", b"{}", "unknown type"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it_and_has_a_cure(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        list(read_rows(file))
    assert message in caught.value.problem
    assert name in caught.value.problem
    assert caught.value.cure
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        list(read_rows(tmp_path / "absent.jsonl"))


def test_a_parquet_value_that_is_no_utf8_costs_its_row_only(tmp_path: Path) -> None:
    values = pa.array([b"good", b"\xff\xfe", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
    first, bad, last = read_rows(tmp_path / "a.parquet")
    assert (first, last) == (("a.parquet:1", {"text": "good"}), ("a.parquet:3", {"text": "fine"}))
    assert isinstance(bad, Reject)
    assert (bad.where, bad.reason) == ("a.parquet:2", "bad_utf8")


def test_reading_streams(tmp_path: Path) -> None:
    # The damage at the end is not met by a reader that stops before it.
    file = write(tmp_path, "f.jsonl.gz", gzip.compress(LINES * 50_000)[:-100])
    assert len(list(islice(read_rows(file), 1000))) == 1000


def test_a_path_is_a_file_a_glob_or_a_hub_id(tmp_path: Path) -> None:
    one, two = (write(tmp_path, name, LINES) for name in ("x/test.jsonl", "y/test.jsonl"))
    odd = write(tmp_path, "a[1].jsonl", LINES)
    assert find_files(str(one)) == [one]
    assert find_files(f"{tmp_path}/*/test.jsonl") == [one, two]
    assert find_files(f"{tmp_path}/**/test.jsonl") == [one, two]
    assert find_files(str(odd)) == [odd]
    assert find_files("owner/name-1.5") == []
    assert short_names([one, two]) == ["x/test.jsonl", "y/test.jsonl"]
    assert short_names([one]) == ["test.jsonl"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/absent.jsonl", "there is no file"),
        ("data/absent.jsonl.gz", "there is no file"),
        ("data/absent.csv", "there is no file"),
        ("/absent/place", "there is no file"),
        ("just-a-name", "there is no file"),
        ("a\0b", "there is no file"),
        ("absent/*.jsonl", "no file matches"),
        ("{folder}", "is a folder"),
        ("{folder}/table.csv", "unknown type"),
    ],
)
def test_a_path_to_nothing_readable_is_an_input_error_at_once(tmp_path: Path, path: str, message: str) -> None:
    write(tmp_path, "table.csv", b"a\n")
    with pytest.raises(InputError, match=message):
        find_files(path.replace("{folder}", str(tmp_path)))
