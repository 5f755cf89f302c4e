"""Answers in lettered or numbered parts: `(a) 3 (b) 5`, `(1) x = 2; (2) y = -3`, `a) 3` and `b) 5` on lines; pure."""

from __future__ import annotations

import re

_LABEL = re.compile(r"(?:^|(?<=[\s;,]))\(?([a-h]|[1-9]|i{1,3}|iv|v)\)\s*(?=\S)")
_ORDERS = (list("abcdefgh"), list("123456789"), ["i", "ii", "iii", "iv", "v"])
MAX_CHARS = 400


def sections(text: str) -> dict[str, str]:
    """Content of each part by its label; empty unless the text begins with the first of at least two in order."""
    text = text.strip()
    if len(text) > MAX_CHARS:
        return {}
    marks = list(_LABEL.finditer(text))
    labels = [mark.group(1) for mark in marks]
    in_order = any(len(labels) > 1 and labels == order[: len(labels)] for order in _ORDERS)
    if not in_order or marks[0].start() > 0:
        return {}
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    contents = [text[mark.end() : end].strip(" \n\t,;.") for mark, end in zip(marks, ends, strict=True)]
    contents = [re.sub(r"(?:,|;)?\s*and$", "", content) for content in contents]
    return dict(zip(labels, contents, strict=True)) if all(contents) else {}
