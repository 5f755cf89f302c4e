"""Records: ids follow content, and every record survives the trip through its arrow schema."""

from __future__ import annotations

import dataclasses
import random
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.ids import content_id, derive_seed
from data.records import Problem, StepLabel
from data.run_records import LeakReport
from data.schema import TABLES, arrow_schema, from_table, to_table

SAMPLES: dict[type[Any], Any] = {str: "x ½ 答案", int: 3, float: 0.25, bool: True}


def example(record_type: type[Any]) -> Any:
    """A record with every field filled, by its annotations."""
    import typing

    return record_type(**{name: filled(annotation) for name, annotation in typing.get_type_hints(record_type).items()})


def filled(annotation: Any) -> Any:
    """A value of a field's type."""
    import types
    import typing
    from enum import Enum

    if annotation in SAMPLES:
        return SAMPLES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation)[-1]
    if dataclasses.is_dataclass(annotation):
        return example(annotation)  # type: ignore[arg-type]
    if typing.get_origin(annotation) is tuple:
        return (filled(typing.get_args(annotation)[0]),) * 2
    assert typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return filled(next(arg for arg in typing.get_args(annotation) if arg is not type(None)))


@pytest.mark.parametrize("record_type", TABLES.values(), ids=list(TABLES))
def test_every_record_survives_its_table(record_type: type[Any]) -> None:
    record = example(record_type)
    assert list(from_table(record_type, to_table(record_type, [record]))) == [record]


@pytest.mark.parametrize("record_type", TABLES.values(), ids=list(TABLES))
def test_an_empty_table_has_the_same_schema_as_a_full_one(record_type: type[Any]) -> None:
    # An inferred schema would make a shard of nulls impossible to read beside its siblings.
    assert to_table(record_type, []).schema.equals(to_table(record_type, [example(record_type)]).schema)
    assert pa.null() not in arrow_schema(record_type).types


@pytest.mark.parametrize("record_type", TABLES.values(), ids=list(TABLES))
def test_every_field_is_documented_and_records_are_frozen(record_type: type[Any]) -> None:
    assert record_type.__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(example(record_type), dataclasses.fields(record_type)[0].name, "y")
    assert "__slots__" in vars(record_type)


def test_only_what_may_not_apply_may_be_null() -> None:
    nullable = {(name, field.name) for name, kind in TABLES.items() for field in arrow_schema(kind) if field.nullable}
    measures = {("leak_reports", name) for name in ("early_answer", "underived", "wrong_steps", "gap")}
    assert nullable == {("step_labels", "rating"), *measures}
    label = StepLabel(rationale_id="r", step=0, value=1.0, rating=None, source="symbolic")
    assert list(from_table(StepLabel, to_table(StepLabel, [label]))) == [label]
    report = LeakReport(rationale_id="r", phrase="", early_answer=None, underived=None, wrong_steps=None)
    assert list(from_table(LeakReport, to_table(LeakReport, [report]))) == [report]


def test_a_table_of_several_batches_gives_back_every_row() -> None:
    problem = Problem.create(prompt="p", answer="1")
    rows = [dataclasses.replace(problem, id=str(place), choices=("a", "b", "c")[: place % 4]) for place in range(9000)]
    assert list(from_table(Problem, to_table(Problem, rows))) == rows
    assert list(from_table(Problem, to_table(Problem, rows)[4095:8200])) == rows[4095:8200]


def test_nested_records_that_are_missing_stay_beside_those_that_are_there() -> None:
    full = example(LeakReport)
    rows = [full, dataclasses.replace(full, gap=None), full]
    assert list(from_table(LeakReport, to_table(LeakReport, rows))) == rows


class Mood(StrEnum):
    GOOD = "good"


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    mood: Mood


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    mood: Mood | None
    leaf: Leaf | None
    leaves: tuple[Leaf, ...]


def test_members_and_records_may_be_missing_or_many() -> None:
    rows = [Branch(None, None, ()), Branch(Mood.GOOD, Leaf(Mood.GOOD), (Leaf(Mood.GOOD),) * 2)]
    assert list(from_table(Branch, to_table(Branch, rows))) == rows


def test_a_record_that_could_not_be_filled_slot_by_slot_is_refused() -> None:
    loose = dataclasses.make_dataclass("Loose", [("name", str)])
    with pytest.raises(TypeError, match="slot by slot"):
        to_table(loose, [])


def test_a_foreign_table_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="not a table of Problem"):
        list(from_table(Problem, pa.table({"id": ["a"]}), where="x.parquet"))


def test_a_lone_surrogate_is_stored_as_a_replacement_and_does_not_crash() -> None:
    record = Problem.create(prompt="bad \ud800 text", answer="1")
    (back,) = from_table(Problem, to_table(Problem, [record]))
    assert back.prompt == "bad ? text"


def test_ids_follow_content_and_field_borders() -> None:
    one = Problem.create(prompt="1+1", answer="2", source="a")
    assert one.id == Problem.create(prompt="1+1", answer="2", source="b").id
    assert one.id != Problem.create(prompt="1+1", answer="3").id
    assert content_id("ab", "c") != content_id("a", "bc")
    # Pinned: ids are stored, so the hash may never change.
    assert content_id("a") == "b86ff4ec84914880"


@given(st.lists(st.text(st.characters()), max_size=4), st.lists(st.text(st.characters()), max_size=4))
def test_different_fields_have_different_ids(one: list[str], other: list[str]) -> None:
    assert (content_id(*one) == content_id(*other)) == (one == other)


def test_seeds_are_stable_and_independent() -> None:
    # Pinned: a change would silently redraw every sample of every run.
    assert derive_seed(0, "plain", 1, "p", 0) == 4820352014568494921
    assert derive_seed(1) != derive_seed("1")
    seeds = [derive_seed("s", place) for place in range(4000)]
    assert len(set(seeds)) == 4000
    bits = sum(seed >> random.Random(place).randrange(63) & 1 for place, seed in enumerate(seeds))
    assert 1850 < bits < 2150
