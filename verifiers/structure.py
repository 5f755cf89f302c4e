"""The shape of a compound answer: tuple, interval, set, bare list, union; canonical text in, pieces of it out, pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_JOINER = re.compile(r"\{(?:or|and)\}|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Group:
    """A compound answer."""

    kind: str
    """`tuple` (also an interval), `set`, `list` or `union`."""
    items: tuple[str, ...]
    """The elements as canonical text."""
    brackets: str = ""
    """For a tuple: its brackets, which tell [0, 1) from (0, 1)."""


def group(text: str, *, thousands: bool = True) -> Group | None:
    """Read canonical text as a compound answer; None if it is a single one.

    Args:
        text: canonical text.
        thousands: whether `81,256` is one number; without spaces only the other side can tell.
    """
    text = text.strip()
    if text.startswith(r"\{") and text.endswith(r"\}") and _enclosed(text[1:-2] + "}"):
        inner = text[2:-2]
        # A set-builder is a condition, not a list of elements.
        return None if re.search(r"\||:|\\in(?![a-z])", inner) else Group("set", _expand(_split(inner, ",;")))
    if len(parts := _split(text, r"\cup")) > 1:
        return Group("union", tuple(parts))
    if text[:1] in tuple("([") and text[-1:] in tuple(")]") and _enclosed(text):
        items = _split(text[1:-1], ",;")
        return Group("tuple", tuple(items), text[0] + text[-1]) if len(items) > 1 else None
    if thousands and _THOUSANDS.fullmatch(text):
        return None
    joined = _JOINER.sub(",", text)
    items = [item for item in _split(joined, ",;") if item]
    expanded = _expand(items)
    return Group("list", expanded) if len(expanded) > 1 else None


def _enclosed(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def _split(text: str, separators: str) -> list[str]:
    """Split at separators that stand outside all brackets; `separators` is a set of signs or one command."""
    command = separators if separators.startswith("\\") else ""
    pieces, depth, start, position = [], 0, 0, 0
    while position < len(text):
        char = text[position]
        depth += (char in _OPEN) - (char in _CLOSE)
        width = len(command) if command and text.startswith(command, position) else int(char in separators)
        if depth == 0 and width and (not command or width > 1):
            pieces.append(text[start:position])
            start = position + width
        position += max(width, 1)
    return [piece.strip() for piece in [*pieces, text[start:]]]


def _expand(items: list[str]) -> tuple[str, ...]:
    """Two elements for each one that holds a single plus-minus sign."""
    expanded: list[str] = []
    for item in items:
        if item.count(r"\pm") == 1:
            left, right = (part.strip() for part in item.split(r"\pm"))
            # `x = \pm 2` has nothing to add to.
            plus = f"{left} {right}" if not left or left.endswith(("=", "(", "{")) else f"{left}+{right}"
            expanded += [plus.strip(), f"{left}-{right}"]
        else:
            expanded.append(item)
    return tuple(expanded)
