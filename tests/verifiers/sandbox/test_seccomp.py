"""The table of system calls says what the kernel's own headers say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verifiers.sandbox.seccomp import _ALLOWED, compile_filter

HEADERS = {1: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), 2: Path("/usr/include/asm-generic/unistd.h")}
OTHER_NAMES = {"newfstatat": "fstatat"}


@pytest.mark.parametrize("column", HEADERS)
def test_numbers_are_those_of_the_headers(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip("no kernel headers")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[column].read_text()))
    for entry in _ALLOWED.split():
        name, number = entry.split(":")[0], entry.split(":")[column]
        expected = found.get(name, found.get(OTHER_NAMES.get(name, ""), "-"))
        assert number == expected, name


def test_no_jump_leaves_the_filter() -> None:
    code = compile_filter(1234)
    count = len(code) // 8
    for place in range(count):
        kind, if_true, if_false = (
            int.from_bytes(code[8 * place : 8 * place + 2], "little"),
            code[8 * place + 2],
            code[8 * place + 3],
        )
        if kind & 7 == 5:
            assert place + 1 + max(if_true, if_false) < count
    assert code[-8:-4] == (0x06).to_bytes(2, "little") + b"\0\0"
