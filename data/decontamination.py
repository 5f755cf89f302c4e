"""Overlap of rows with benchmarks: runs of 13 equal words, of three equal equations, and equal problems.

Words are compared without case, punctuation and markup, equations without spaces, signs of currency and the spelling of
their operators. What ten or more rows of a benchmark share (an instruction, a table's header) is no sign of anything
and is ignored. Sources: Brown et al., arXiv 2005.14165, appendix C, for the 13 words and for what is ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import InputError
from data.ngrams import SHARED, NgramIndex, words_of
from data.sources.base import Reject
from data.sources.reading import find_files, read_rows, short_names

CONTAMINATION = "decontamination.json"
"""File of a run folder with what was found last."""
WORDS = 13
EQUATIONS = 3
LONG_EQUATION = 3
"""Operators of an equation whose left side is a sign by itself."""
_MIN_CHARS = 6
"""Of a problem that is compared as a whole."""
_EXCERPT_CHARS = 160

_MARK = re.compile(r"<<([^<>\n]{1,400})>>")
_TIMES = re.compile(r"(?<=[\d)]) ?(?:[xX]|\\times|\\cdot) ?(?=[\d(])")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "$": None, "€": None, "£": None, ",": None})
_RIGHT = re.compile(r"= ?(\?|-?\d[\d.]*+)", re.ASCII)
_LEFT_REVERSED = re.compile(r"[ )]*+%?[\d.]++(?:[ (]*+[-+*/][ )]*+%?[\d.]++)++\(*+", re.ASCII)
"""Read backwards from the sign, a bounded way: from every number on, a long sum would cost the square of its length."""
_LEFT_CHARS = 200


def equations_of(text: str) -> list[tuple[str, str]]:
    """Left and right sides of the arithmetic that a text states, in one spelling; of calculator marks if it has any."""
    marks = _MARK.findall(text)
    plain = " ".join("\n".join(marks or [text]).translate(_SIGNS).split())
    plain = _TIMES.sub("*", plain)
    found = []
    for right in _RIGHT.finditer(plain):
        before = plain[max(0, right.start() - _LEFT_CHARS) : right.start()]
        if left := _LEFT_REVERSED.match(before[::-1]):
            found.append((left[0][::-1].replace(" ", "").strip("."), right[1].rstrip(".")))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What a row has in common with a benchmark."""

    kind: Literal["problem", "words", "equations"]
    """The whole problem, a run of words, or equations."""
    benchmark: str
    """File and line."""
    excerpt: str
    """What both have."""


class Benchmarks:
    """Benchmarks to compare rows with.

    Args:
        rows: where each row stands, and its texts.

    Raises:
        InputError: there is no text.
    """

    def __init__(self, rows: Iterable[tuple[str, Sequence[str]]]) -> None:
        self._places: list[str] = []
        texts: list[tuple[int, str]] = []
        for where, found in rows:
            texts += [(len(self._places), text) for text in found]
            self._places.append(where)
        if not any(text.strip() for _, text in texts):
            raise InputError("the benchmarks hold no text.", "Name files with problems: .jsonl, .json or .parquet.")
        shared = Counter(_plain(text) for _, text in texts)
        self._whole = {
            plain: place for place, text in reversed(texts)
            if len(plain := _plain(text)) >= _MIN_CHARS and shared[plain] < SHARED
        }  # fmt: skip
        self._words = NgramIndex(((place, words_of(text)) for place, text in texts), WORDS)
        equations = [(place, equations_of(text)) for place, text in texts]
        self._chains = NgramIndex(((place, _joined(found)) for place, found in equations), EQUATIONS)
        lefts = ((place, [left]) for place, found in equations for left, _ in found if _is_long(left))
        self._long = NgramIndex(lefts, 1)

    @classmethod
    def read(cls, paths: Sequence[str]) -> Benchmarks:
        """Benchmarks from files: every text of every row.

        Args:
            paths: files or globs, .jsonl, .json or .parquet, plain or .gz.

        Raises:
            InputError: a file is missing or cannot be read, or holds no text.
        """
        files = [file for path in paths for file in find_files(path)]
        if not files:
            raise InputError(f"there is no file {', '.join(paths) or 'to compare with'}.", "Give a path or a glob.")

        def rows() -> Iterator[tuple[str, list[str]]]:
            for file, name in zip(files, short_names(files), strict=True):
                for item in read_rows(file, name=name):
                    if not isinstance(item, Reject):
                        yield item[0], texts_of(item[1])

        return cls(rows())

    def check(
        self, rows: Sequence[Sequence[str]], words: Sequence[Sequence[Sequence[str]]] = ()
    ) -> list[Overlap | None]:
        """The overlap of each row, if there is one: the problem first, then words, then equations.

        Args:
            rows: the texts of each.
            words: of each text, if they are known.
        """
        split = [one for found in words for one in found] or [words_of(text) for found in rows for text in found]
        owners = [place for place, texts in enumerate(rows) for _ in texts]
        texts = [text for found in rows for text in found]
        overlaps: list[Overlap | None] = [None] * len(rows)
        for kind, hits in self._hits(texts, split):
            for at, (place, excerpt) in hits.items():
                if overlaps[owners[at]] is None:
                    where = self._places[place]
                    overlaps[owners[at]] = Overlap(kind=kind, benchmark=where, excerpt=excerpt[:_EXCERPT_CHARS])
        return overlaps

    def _hits(self, texts: list[str], words: list[Sequence[str]]) -> Iterator[tuple[Any, dict[int, tuple[int, str]]]]:
        """By kind, text to the place in the benchmark and what both have."""
        plain = map(_plain, texts)
        yield "problem", {at: (self._whole[key], key) for at, key in enumerate(plain) if key in self._whole}
        found = self._words.find(words)
        yield "words", {at: (there, " ".join(words[at][here : here + WORDS])) for at, (there, here) in found.items()}
        equations = [equations_of(text) for text in texts]
        chains = [_joined(one) for one in equations]
        found = self._chains.find(chains)
        yield "equations", {at: (there, ", ".join(chains[at][here : here + EQUATIONS])) for at, (there, here) in
                            found.items()}  # fmt: skip
        lefts = [[left for left, _ in one] for one in equations]
        found = self._long.find(lefts)
        yield "equations", {at: (there, lefts[at][here]) for at, (there, here) in found.items()}


def texts_of(value: object) -> list[str]:
    """Every text within a row."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for one in inner for text in texts_of(one)]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _joined(equations: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{left}={right}" for left, right in equations]


def _is_long(left: str) -> bool:
    return sum(left.count(sign) for sign in "+-*/") >= LONG_EQUATION
