"""Plain values as JSON: exactly the same value arrives, of exactly a standard type, whatever was sent.

None, bool, int, float and str are themselves; everything else is a list that starts with a tag. Subclasses are sent by
the content of their base class, so no method of theirs runs on the other side. Objects that are no plain value cross as
a number (`Exporter.export`) and stay where they are. Lists, dicts and the like are numbered in the order in which both
sides meet them, which carries sharing and cycles, and lets a reply say how the arguments of a call were changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from verifiers.sandbox.frames import ProtocolError
from verifiers.sandbox.value_types import BASES, DECODERS, ENCODERS, fill

MAX_DEPTH = 150
_SMALL = 1 << 63
_RAW = {type(None), bool, str, float}
_BAD_INPUT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Exporter(Protocol):
    """The side that holds objects which are no plain values."""

    def export(self, value: Any) -> list[Any]:
        """Describe an object that stays here."""

    def resolve(self, message: list[Any]) -> Any:
        """What such a description stands for."""


class Codec:
    """Encodes and decodes the values of one call: its arguments, its result, and how it changed the arguments.

    Args:
        objects: what stands in for objects that are no plain values.
    """

    def __init__(self, objects: Exporter) -> None:
        self.shared: list[Any] = []
        self._objects = objects
        self._places: dict[int, int] = {}
        self._kept: list[Any] = []

    def encode(self, value: Any, depth: int = 0) -> Any:
        """The JSON form of a value.

        Raises:
            ProtocolError: it is nested deeper than 150 levels.
        """
        kind = type(value)
        if kind in _RAW:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else ["i", hex(value)]
        if depth > MAX_DEPTH:
            raise ProtocolError("too_deep")
        if kind in ENCODERS:
            return ENCODERS[kind](self, value, depth + 1)
        return self._encode_other(value, depth)

    def decode(self, message: Any) -> Any:
        """The value of a JSON form.

        Raises:
            ProtocolError: it is not the form of any value.
        """
        try:
            return self.read(message)
        except _BAD_INPUT as error:
            raise ProtocolError("bad_value") from error

    def contents(self, place: int) -> Any:
        """The JSON form of what the container with this number holds now."""
        value = self.shared[place]
        return ENCODERS[type(value)](self, value, 1, again=True)

    def replace(self, place: int, message: Any) -> None:
        """Give the container with this number new contents, in place."""
        target, new = self.shared[place], self.decode(message)
        if type(target) is not type(new):
            raise ProtocolError("bad_change")
        target.clear()
        fill(target, new)

    def share(self, value: Any) -> None:
        """Number a container; both sides do it in the same order."""
        self._places[id(value)] = len(self.shared)
        self.shared.append(value)

    def export(self, value: Any) -> list[Any]:
        """Describe an object that stays here."""
        return self._objects.export(value)

    def items(self, values: Any, depth: int) -> list[Any]:
        """The JSON forms of many values; those that are their own form are not looked at one by one."""
        kinds = set(map(type, values))
        if kinds <= _RAW:
            return list(values)
        if kinds == {int} and min(values) > -_SMALL and max(values) < _SMALL:
            return list(values)
        return [self.encode(value, depth) for value in values]

    def container(self, tag: str, value: Any, *rest: Any, again: bool, body: Callable[[], Any]) -> list[Any]:
        """A numbered container, or its number if it was met before."""
        if not again:
            if (place := self._places.get(id(value))) is not None:
                return ["=", place]
            self.share(value)
        return [tag, body(), *rest]

    def _encode_other(self, value: Any, depth: int) -> Any:
        fields = getattr(type(value), "_fields", None)
        if isinstance(value, tuple) and isinstance(fields, tuple) and all(type(name) is str for name in fields):
            return ["n", type(value).__name__, list(fields), self.items(tuple(tuple.__iter__(value)), depth + 1)]
        for base, exact in BASES:
            if isinstance(value, base):
                copy = exact(value)
                self._kept.append(copy)  # Else its id, by which it is numbered, could be used again.
                return self.encode(copy, depth)
        return self._objects.export(value)

    def read(self, message: Any) -> Any:
        """`decode`, with the errors as they come."""
        if type(message) is not list:
            if type(message) is dict:
                raise ProtocolError("bad_value")
            return message
        decoder = DECODERS.get(message[0])
        return decoder(self, *message[1:]) if decoder else self._objects.resolve(message)
