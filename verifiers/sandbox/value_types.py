"""How each standard type crosses: one encoder by exact type, one decoder by tag; see `verifiers.sandbox.values`."""

from __future__ import annotations

import builtins
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from verifiers.sandbox.frames import ProtocolError

if TYPE_CHECKING:
    from verifiers.sandbox.values import Codec

Encoder = Callable[..., list[Any]]
_MAX_FIELDS = 64

_FACTORIES: dict[str, Callable[[], Any]] = {one.__name__: one for one in (int, float, str, list, dict, set, tuple)}
_MOMENTS: dict[str, Any] = {one.__name__: one for one in (date, datetime, time)}
_TYPES = {name: one for name, one in vars(builtins).items() if isinstance(one, type)} | {"NoneType": type(None)}
_NAMES = {one: name for name, one in reversed(_TYPES.items())}
_CONSTANTS = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}
_VIEWS: dict[str, Callable[[Any], Any]] = {
    "dict_keys": lambda items: dict.fromkeys(items).keys(),
    "dict_values": lambda items: dict(enumerate(items)).values(),
    "dict_items": lambda items: dict(items).items(),
}


def _sequence(tag: str) -> Encoder:
    def encode(codec: Codec, value: Any, depth: int, *, again: bool = False) -> list[Any]:
        return codec.container(tag, value, again=again, body=lambda: codec.items(value, depth))

    return encode


def _mapping(tag: str) -> Encoder:
    def encode(codec: Codec, value: dict[Any, Any], depth: int, *, again: bool = False) -> list[Any]:
        def body() -> list[Any]:
            return [[codec.encode(key, depth), codec.encode(item, depth)] for key, item in value.items()]

        return codec.container(tag, value, again=again, body=body)

    return encode


def _deque(codec: Codec, value: deque[Any], depth: int, *, again: bool = False) -> list[Any]:
    return codec.container("q", value, value.maxlen, again=again, body=lambda: codec.items(value, depth))


def _bytearray(codec: Codec, value: bytearray, depth: int, *, again: bool = False) -> list[Any]:
    return codec.container("a", value, again=again, body=value.hex)


def _default_dict(codec: Codec, value: defaultdict[Any, Any], depth: int, *, again: bool = False) -> list[Any]:
    """A factory that is no plain type stays behind: the other side gets the items."""
    encoded = _mapping("e")(codec, value, depth, again=again)
    name = getattr(value.default_factory, "__name__", None)
    return encoded if encoded[0] == "=" else [*encoded, name if name in _FACTORIES else None]


def _frozen(tag: str) -> Encoder:
    return lambda codec, value, depth: [tag, codec.items(tuple(value), depth)]


def _moment(codec: Codec, value: Any, depth: int) -> list[Any]:
    """A time zone is an object with methods, so a time with one stays where it is."""
    if getattr(value, "tzinfo", None) is not None:
        return codec.export(value)
    return ["w", type(value).__name__, value.isoformat(), getattr(value, "fold", 0)]


def _type(codec: Codec, value: type, depth: int) -> list[Any]:
    return ["T", _NAMES[value]] if value in _NAMES else codec.export(value)


ENCODERS: dict[type, Encoder] = {
    list: _sequence("l"), set: _sequence("s"), deque: _deque, bytearray: _bytearray,
    dict: _mapping("d"), OrderedDict: _mapping("o"), Counter: _mapping("k"), defaultdict: _default_dict,
    tuple: _frozen("t"), frozenset: _frozen("f"),
    bytes: lambda codec, value, depth: ["b", value.hex()],
    complex: lambda codec, value, depth: ["c", value.real, value.imag],
    Decimal: lambda codec, value, depth: ["D", str(value)],
    Fraction: lambda codec, value, depth: ["F", hex(value.numerator), hex(value.denominator)],
    range: lambda codec, value, depth: ["r", hex(value.start), hex(value.stop), hex(value.step)],
    slice: lambda codec, value, depth: ["z", *(codec.encode(one) for one in (value.start, value.stop, value.step))],
    date: _moment, datetime: _moment, time: _moment,
    timedelta: lambda codec, value, depth: ["m", value.days, value.seconds, value.microseconds],
    type: _type,
    type(Ellipsis): lambda codec, value, depth: ["C", "Ellipsis"],
    type(NotImplemented): lambda codec, value, depth: ["C", "NotImplemented"],
    **{type(make({})): lambda codec, value, depth, name=name: ["v", name, codec.items(list(value), depth)]
       for name, make in _VIEWS.items()},
}  # fmt: skip


def _many(codec: Codec, items: list[Any]) -> list[Any]:
    if {list, dict} & set(map(type, items)):
        return [codec.read(item) for item in items]
    return items


def _pairs(codec: Codec, items: list[Any]) -> list[tuple[Any, Any]]:
    return [(codec.read(key), codec.read(value)) for key, value in items]


def fill(value: Any, items: Any) -> None:
    """Put items into an empty container; `Counter.update` would count them."""
    if isinstance(value, Counter):
        dict.update(value, items)
    elif isinstance(value, dict | set):
        value.update(items)
    else:
        value.extend(items)


def _filled(make: Callable[[], Any], read: Callable[[Codec, list[Any]], Any] = _many) -> Callable[..., Any]:
    """A container is numbered before its items are read, since they may refer to it."""

    def decode(codec: Codec, items: list[Any]) -> Any:
        value = make()
        codec.share(value)
        fill(value, read(codec, items))
        return value

    return decode


def _read_deque(codec: Codec, items: list[Any], length: int | None) -> deque[Any]:
    value: deque[Any] = deque(maxlen=length)
    codec.share(value)
    fill(value, _many(codec, items))
    return value


def _read_bytearray(codec: Codec, digits: str) -> bytearray:
    value = bytearray.fromhex(digits)
    codec.share(value)
    return value


def _read_default_dict(codec: Codec, items: list[Any], factory: str | None) -> Any:
    return _filled(lambda: defaultdict(_FACTORIES[factory] if factory else None), _pairs)(codec, items)


def _read_named(codec: Codec, name: str, fields: list[str], items: list[Any]) -> Any:
    if len(fields) > _MAX_FIELDS:
        raise ProtocolError("too_large")
    key = (name, *fields)
    if key not in _named:
        _named[key] = namedtuple(name, fields)  # Checks that all are identifiers.
    return _named[key](*_many(codec, items))


def _read_moment(codec: Codec, kind: str, text: str, fold: int) -> Any:
    value = _MOMENTS[kind].fromisoformat(text)
    return value.replace(fold=1) if fold else value


_named: dict[tuple[str, ...], Any] = {}

DECODERS: dict[str, Callable[..., Any]] = {
    "l": _filled(list), "s": _filled(set), "q": _read_deque, "a": _read_bytearray,
    "d": _filled(dict, _pairs), "o": _filled(OrderedDict, _pairs), "k": _filled(Counter, _pairs),
    "e": _read_default_dict,
    "t": lambda codec, items: tuple(_many(codec, items)),
    "f": lambda codec, items: frozenset(_many(codec, items)),
    "n": _read_named,
    "i": lambda codec, digits: int(digits, 16),
    "b": lambda codec, digits: bytes.fromhex(digits),
    "c": lambda codec, real, imaginary: complex(real, imaginary),
    "D": lambda codec, text: Decimal(text),
    "F": lambda codec, over, under: Fraction(int(over, 16), int(under, 16)),
    "r": lambda codec, *ends: range(*(int(end, 16) for end in ends)),
    "z": lambda codec, *ends: slice(*(codec.read(end) for end in ends)),
    "w": _read_moment,
    "m": lambda codec, days, seconds, micros: timedelta(days, seconds, micros),
    "T": lambda codec, name: _TYPES[name],
    "C": lambda codec, name: _CONSTANTS[name],
    "v": lambda codec, name, items: _VIEWS[name](_many(codec, items)),
    "=": lambda codec, place: codec.shared[place],
}  # fmt: skip

BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, lambda value: bytes(memoryview(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (dict, lambda value: dict(dict.items(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
)
"""Types whose subclasses are sent by content, and how that content is read past any method of the subclass."""
