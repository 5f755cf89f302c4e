"""Plain values cross unchanged and of exactly their type; whatever else arrives is refused."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.sandbox.frames import ProtocolError
from verifiers.sandbox.values import Codec


class _NoObjects:
    def export(self, value: Any) -> list[Any]:
        raise AssertionError(f"{value!r} is no plain value")

    def resolve(self, message: list[Any]) -> Any:
        raise ProtocolError("bad_handle")


def repr_of(value: object) -> str:
    return type(value).__name__


def _cross(value: Any) -> Any:
    wire = json.dumps(Codec(_NoObjects()).encode(value), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Codec(_NoObjects()).decode(json.loads(wire.decode("utf-8", "surrogatepass")))


def _shape(value: Any) -> Any:
    """The value with the type of every part."""
    if isinstance(value, dict):
        return type(value), [(_shape(key), _shape(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [_shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, value))
    return type(value), repr(value)


_KEYS = st.none() | st.booleans() | st.integers() | st.text(st.characters()) | st.binary() | st.fractions()
_LEAVES = (
    _KEYS
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(_KEYS, inner)
        | st.sets(_KEYS)
        | st.frozensets(_KEYS)
    ),
    max_leaves=20,
)


@given(_VALUES)
def test_plain_values_arrive_unchanged(value: Any) -> None:
    assert _shape(_cross(value)) == _shape(value)


@pytest.mark.parametrize(
    "value",
    [
        10**4000, -(2**63), 2**63, range(0, -9, -3), slice(1, None, 2), bytearray(b"\x00\xff"),
        Counter("aab"), deque([1, 2], 3),
        OrderedDict([("b", 1), ("a", 2)]), defaultdict(list, {1: [2]}), "\ud83d\ude00", "\x00", int,
        type(None), ValueError,
        Ellipsis, -0.0, math.inf, Decimal("-0E+3"), Fraction(-1, 3), date(1, 1, 1), datetime.max,
        time(1, 2, 3, 4), timedelta(-1),
    ],
    ids=repr_of,
)  # fmt: skip
def test_further_types_arrive_unchanged(value: Any) -> None:
    assert _shape(_cross(value)) == _shape(value)


def test_views_and_named_tuples_keep_their_use() -> None:
    point = namedtuple("point", "x y")(1, [2])
    assert (_cross(point).x, _cross(point).y, _cross(point)) == (1, [2], (1, [2]))
    assert _cross({1: 2}.keys()) == {1}
    assert list(_cross({1: 2}.items())) == [(1, 2)]
    assert _cross(defaultdict(int))["new"] == 0


def test_subclasses_arrive_as_their_base_without_running_their_methods() -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    methods = dict.fromkeys(("__iter__", "__eq__", "__len__", "__repr__", "__str__", "__reduce__"), refuse)
    for base, content in (
        (int, 5),
        (str, "x"),
        (list, [1]),
        (dict, {1: 2}),
        (tuple, (1,)),
        (float, 0.5),
        (bytes, b"x"),
    ):
        value = type("Fake", (base,), methods)(content)
        assert _shape(_cross(value)) == _shape(content)


def test_sharing_and_cycles_are_kept() -> None:
    row: list[Any] = [0]
    row.append(row)
    found = _cross([row, row])
    assert found[0] is found[1]
    assert found[0][1] is found[0]


def test_too_deep_a_value_is_refused() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    with pytest.raises(ProtocolError, match="too_deep"):
        _cross(value)


@pytest.mark.parametrize(
    "message",
    [
        {"a": 1}, [], ["?"], ["l"], ["l", 5], ["l", [{"a": 1}]], ["d", [[1]]],
        ["d", [[["l", []], 1]]], ["i", "xyz"], ["i", 5],
        ["b", "0"], ["=", 0], ["=", "a"], ["D", "x"], ["F", "0x1", "0x0"], ["T", "object_"], ["T", "os"], ["C", "open"],
        ["w", "date", "x"], ["w", "os", "x"], ["n", "a b", ["x"], [1]], ["n", "P", ["class"], [1]],
        ["n", "P", ["x"] * 99, []],
        ["v", "dict_keys", [["l", []]]], ["s", [["l", []]]], ["M", 0], ["O", -1], [["l"], 1],
        [None], ["e", [], "os"],
    ],
    ids=repr_of,
)  # fmt: skip
def test_what_is_no_value_is_refused(message: Any) -> None:
    with pytest.raises(ProtocolError):
        Codec(_NoObjects()).decode(message)
