"""What every source shares: raw rows, the error of one row, the record of a row left out, and the source itself.

A parse function takes one raw row and returns a `Problem` without `source`, `split` and `licence` (those are filled in
by `read_problems`), or raises `RowError`. Nothing in a row, however malformed, may make it raise anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.errors import StepstarError
from data.records import Kind, Problem

Row = dict[str, Any]
"""One raw row of a file or a hub dataset: the only untyped thing in this package."""

RawRow = tuple[str, Row]
"""Where a row stands (`file.jsonl:17`) and the row."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EXCERPT_CHARS = 200


class RowError(StepstarError):
    """A row cannot be used; it becomes a `Reject`.

    Args:
        reason: a short code, e.g. `no_answer`.
        detail: one line for a human.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that was left out, and why."""

    where: str
    """File and line, e.g. `file.jsonl:17`; `file.json[3]` in a JSON array; a problem id for a duplicate."""
    reason: str
    """`bad_json`, `bad_utf8`, `missing_field`, `bad_field`, `empty_prompt`, `no_answer`, `bad_answer`, `bad_choices`,
    `too_long`, `duplicate` or `conflicting_answer`."""
    detail: str
    """One line for a human."""
    excerpt: str
    """The first 200 characters of the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where problems come from and how a row of it is read."""

    parse: Callable[[Row], Problem]
    licence: str
    """SPDX identifier or the source's own words."""
    description: str
    """One line."""
    hub_id: str = ""
    """Hugging Face hub id; empty where only a path will do."""
    hub_config: str = ""
    hub_splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    """Our split to the hub's. A split that is not named here has no answers or does not exist there."""
    split_of: Callable[[Row], str] | None = None
    """For a file that holds several splits: the split of a row."""


def excerpt_of(row: object) -> str:
    """The first 200 characters of a row or of a raw line."""
    if isinstance(row, str):
        return row[:EXCERPT_CHARS]
    try:
        return json.dumps(row, ensure_ascii=False, default=str)[:EXCERPT_CHARS]
    except (ValueError, RecursionError):  # A row may nest just less deeply than the reader could bear.
        return ""


def text_field(row: Row, name: str) -> str:
    """A field that must be there and be text.

    Raises:
        RowError: it is missing, null or not text.
    """
    value = row.get(name)
    if value is None:
        raise RowError("missing_field", f"no field '{name}'")
    if not isinstance(value, str):
        raise RowError("bad_field", f"field '{name}' is a {type(value).__name__}, not text")
    return value


def optional_text(row: Row, name: str) -> str:
    """A field that may be missing or null (then empty); a number is written out."""
    value = row.get(name)
    return "" if value is None else plain_text(value)


def plain_text(value: object) -> str:
    """Text as it is; a number in its shortest form, so that `51.0` is `51`.

    Raises:
        RowError: it is neither text nor a finite number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return _digits(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return _digits(value)
    raise RowError("bad_field", f"{type(value).__name__} where text or a number was expected")


def _digits(number: float) -> str:
    try:
        return str(number)
    except ValueError as error:  # Python refuses to print an integer of more than 4300 digits.
        raise RowError("too_long", "a number of more than 4300 digits") from error


def without_zero_fraction(text: str) -> str:
    """`51.0` as `51`; any other text stripped but otherwise as it is."""
    text = text.strip()
    return text.partition(".")[0] if re.fullmatch(r"[-+]?\d+\.0+", text) else text


def check_problem(problem: Problem, max_chars: int) -> None:
    """Hold a parsed problem to what later stages rely on.

    Raises:
        RowError: it has no prompt or no answer, is too long, or is text that cannot be written as UTF-8.
    """
    if not problem.prompt.strip():
        raise RowError("empty_prompt", "the problem is empty")
    if not (problem.tests if problem.kind is Kind.CODE else problem.answer).strip():
        raise RowError("no_answer", "the row has no tests" if problem.kind is Kind.CODE else "the row has no answer")
    if problem.kind is Kind.CHOICE:
        _check_choices(problem)
    parts = {
        "prompt": problem.prompt,
        "answer": problem.answer,
        "tests": problem.tests,
        "solution": problem.solution,
        "choices": "".join(problem.choices),
    }
    for name, text in parts.items():
        if len(text) > max_chars:
            raise RowError("too_long", f"{name} has {len(text)} characters; the limit is {max_chars}")
        if not _is_writable(text):
            raise RowError("bad_utf8", f"{name} holds half of a surrogate pair")


def _is_writable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_choices(problem: Problem) -> None:
    count = len(problem.choices)
    if not 2 <= count <= len(LETTERS) or not all(choice.strip() for choice in problem.choices):
        raise RowError("bad_choices", f"{count} choices; 2 to 26 that are not empty are needed")
    if problem.answer not in LETTERS[:count] or len(problem.answer) != 1:
        raise RowError("bad_answer", f"answer '{problem.answer[:20]}' is none of {LETTERS[:count]}")
