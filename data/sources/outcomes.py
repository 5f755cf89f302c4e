"""From raw rows to problems and rejects: parse, complete, check, count; and drop repeated problems."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from data.errors import InputError
from data.hash_index import HashIndex
from data.ids import content_id
from data.records import Problem
from data.sources.base import RawRow, Reject, Row, RowError, Source, check_problem, excerpt_of

_OTHER_SPLIT = "row of another split"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """Turns one raw row into a problem of one source and split."""

    source: Source
    name: str
    split: str
    max_chars: int

    def read(self, where: str, row: Row) -> Problem | Reject | None:
        """The problem, the reject, or None for a row of another split."""
        try:
            if self.source.split_of is not None and self.source.split_of(row) != self.split.partition("[")[0]:
                return None
            problem = self.source.parse(row)
            check_problem(problem, self.max_chars)
        except RowError as error:
            return Reject(where=where, reason=error.reason, detail=error.detail, excerpt=excerpt_of(row))
        split = "train" if self.split.partition("[")[0] == "train" else "test"
        licence = problem.licence or self.source.licence
        return dataclasses.replace(problem, source=self.name, split=split, licence=licence)


def read_tables(tables: Mapping[str, Iterable[RawRow | Reject]], reader: RowReader) -> Iterator[Problem | Reject]:
    """Read tables by name, one after the other.

    Raises:
        InputError: a table has no row, or none that can be used; or no table has a row of the split.
    """
    found = 0
    for place, rows in tables.items():
        found += yield from _read_table(place, rows, reader)
    if not found:
        raise InputError(f"'{', '.join(tables)}' has no row of split '{reader.split}'.", "Name another split.")


def _read_table(
    place: str, rows: Iterable[RawRow | Reject], reader: RowReader
) -> Generator[Problem | Reject, None, int]:
    """Yield what a table holds; return how many problems it had."""
    tally: Counter[str] = Counter()
    for item in rows:
        outcome = item if isinstance(item, Reject) else reader.read(*item)
        if outcome is None:
            tally[_OTHER_SPLIT] += 1
            continue
        tally[outcome.reason if isinstance(outcome, Reject) else ""] += 1
        yield outcome
    if not tally:
        raise InputError(f"'{place}' is empty.", "Give a file with at least one row.")
    if not tally[""] and not tally[_OTHER_SPLIT]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in tally.most_common(3) if reason)
        cure = f"Is it of source '{reader.name}'? For other columns use the source 'local'."
        if tally["bad_utf8"] == tally.total():
            cure = "Save it as UTF-8."
        elif reader.name == "local":
            cure = "Mend the file, or map other columns with `columns`."
        raise InputError(f"'{place}': none of its {tally.total()} rows can be used ({reasons}).", cure)
    return tally[""]


def deduplicate(items: Iterable[Problem | Reject]) -> Iterator[Problem | Reject]:
    """Keep the first problem of each prompt; reject the later ones. Rejects pass through.

    Prompts are compared with white space normalized, and with their choices: one stem with other options is another
    problem. A later problem with another answer or other tests is a `conflicting_answer`, else a `duplicate`. Memory
    is about 24 bytes a problem.
    """
    first = HashIndex(2)
    for item in items:
        if isinstance(item, Reject):
            yield item
            continue
        key = int(content_id(*(" ".join(text.split()) for text in (item.prompt, *item.choices))), 16)
        answer = int(content_id(" ".join(item.answer.split()), item.tests), 16)
        known = first.get(key)
        if known is None:
            first.add(key, int(item.id, 16), answer)
            yield item
            continue
        kept, its_answer = known
        reason = "duplicate" if answer == its_answer else "conflicting_answer"
        yield Reject(
            where=f"{item.source}:{item.id}",
            reason=reason,
            detail=f"the prompt of {kept:016x} again",
            excerpt=excerpt_of(item.prompt),
        )
