"""One side of a conversation: asks for operations on the other side's objects, and answers for its own.

Both sides take turns on one socket, so a request may be answered by a request (a callback) first. A call carries its
arguments by value and brings back how they were changed; an exception is carried by the name of a built-in class, and
by a class made here for those that the program defines.
"""

from __future__ import annotations

import builtins
import inspect
import operator
import threading
from collections.abc import Callable, Generator
from typing import Any

from verifiers.sandbox.frames import Channel, ProtocolError
from verifiers.sandbox.operations import ATTRIBUTES, OPERATIONS
from verifiers.sandbox.remote import Remote, RemoteError, handle_of
from verifiers.sandbox.value_types import BASES, ENCODERS
from verifiers.sandbox.values import Codec

_EXCEPTIONS: dict[str, type[Exception]] = {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)
}
PLAIN = tuple(base for base, _ in BASES)
_MAX_BASES = 16
_ADVANCING = ("next", "send")


class Ended(BaseException):
    """The program ended the conversation: it exited, or its process is gone."""


class Peer:
    """One side.

    Args:
        channel: the way to the other side.
        allowed: whether the other side may do this operation on this object of ours, given the operation's name, the
            object and the first argument.
    """

    def __init__(self, channel: Channel, allowed: Callable[[str, Any, Any], bool]) -> None:
        self.channel = channel
        self.asked = 0
        self.broken = ""
        self._allowed = allowed
        self._turn = threading.RLock()
        self._own: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._remotes: dict[int, Any] = {}
        self._originals: dict[int, int] = {}

    def ask(self, op: str, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have an operation done on an object of the other side.

        Raises:
            Exception: what the operation raised there.
            Ended, ProtocolError: the other side is gone, or lost its way. Either is final.
        """
        with self._turn:
            if self.broken:
                raise Ended(self.broken)
            self.asked += op != "global"
            codec = Codec(self)
            self._send(["q", op, handle, codec.encode(args), codec.encode(kwargs)])
            try:
                return self.await_reply(codec)
            except (StopIteration, StopAsyncIteration) as error:
                if op in _ADVANCING:
                    raise
                # Else `all(map(f, cases))` would end well at the first call.
                raise RuntimeError(f"{type(error).__name__} raised by the other side") from None

    def await_reply(self, codec: Codec) -> Any:
        """The reply to what was asked last; requests that come before it are answered."""
        try:
            while True:
                kind, *rest = self._receive()
                if kind == "q":
                    self._answer(*rest)
                elif kind == "r":
                    value, changes = rest
                    result = codec.decode(value)
                    for place, contents in changes:
                        codec.replace(place, contents)
                    return result
                elif kind == "e":
                    error = self._exception(codec, *rest)
                    break
                else:
                    raise Ended(str(*rest))
        except (ProtocolError, Ended) as reason:
            self.broken = self.broken or str(reason) or "protocol"
            raise
        except (TypeError, ValueError, LookupError) as reason:
            self.broken = "protocol"
            raise ProtocolError("protocol") from reason
        raise error

    def serve(self) -> None:
        """Answer until the other side closes."""
        while True:
            kind, *rest = self._receive()
            if kind == "q":
                self._answer(*rest)

    def hold(self, value: Any) -> None:
        """Give an object its number (0, 1, ...) before the conversation starts."""
        self._own.append(value)

    def reply(self, codec: Codec, work: Callable[[], Any], *, whole: bool = False) -> None:
        """Do some work and send its result, or what it raised, and how it changed the shared containers.

        Args:
            codec: holds the containers that came with the request.
            work: what to do.
            whole: send an instance of a class that inherits from a plain type as the object that it is.
        """
        before = [_snapshot(value) for value in codec.shared]
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised again on the other side
            self._send(["e", *self._describe(codec, error)])
            return
        inherits = whole and type(result) not in ENCODERS and not hasattr(result, "_fields")
        encoded = ["P", self._number(result)] if inherits and isinstance(result, PLAIN) else codec.encode(result)
        changes = [[place, codec.contents(place)] for place, old in enumerate(before)
                   if not _same(old, _snapshot(codec.shared[place]))]  # fmt: skip
        self._send(["r", encoded, changes])

    def export(self, value: Any) -> list[Any]:
        """Describe an object that is no plain value: one of the other side's own, or one that stays here."""
        handle = handle_of(value) if isinstance(value, Remote) else self._originals.get(id(value))
        if handle is not None:
            return ["O", handle]
        number = self._number(value)
        if isinstance(value, type) and issubclass(value, Exception):
            return ["X", *self._lineage(value)]
        kind = "G" if inspect.isgenerator(value) else "A" if inspect.iscoroutine(value) else "M"
        return [kind, number]

    def resolve(self, message: list[Any]) -> Any:
        """What such a description stands for."""
        kind, number, *rest = message
        if kind == "O":
            if type(number) is not int or number < 0:
                raise ProtocolError("bad_handle")
            return self._own[number]
        if kind == "X":
            return self._exception_class([number, *rest])
        if type(number) is not int:
            raise ProtocolError("bad_handle")
        if number not in self._remotes:
            made = _STAND_INS[kind](self, number)
            self._remotes[number] = made
            if not isinstance(made, Remote):
                self._originals[id(made)] = number
        return self._remotes[number]

    def _number(self, value: Any) -> int:
        """Objects that were sent are kept, so an id is never that of another object."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._own)
            self._own.append(value)
        return self._numbers[id(value)]

    def _answer(self, op: str, number: int, args: Any, kwargs: Any) -> None:
        codec = Codec(self)
        target = self.resolve(["O", number])
        positional, named = codec.decode(args), codec.decode(kwargs)

        def work() -> Any:
            if not self._allowed(op, target, positional[0] if positional else None):
                raise (AttributeError if op in ATTRIBUTES else TypeError)(f"{op} is not possible here")
            return OPERATIONS[op](target, *positional, **named)

        self.reply(codec, work, whole=op == "call" and isinstance(target, type))

    def _lineage(self, kind: type) -> list[Any]:
        """Number and name of an exception class and of its bases, the nearest first, down to a built-in's name."""
        known = next(base for base in kind.__mro__ if base.__name__ in _EXCEPTIONS and base.__module__ == "builtins")
        own = [base for base in kind.__mro__ if issubclass(base, known) and base is not known][:_MAX_BASES]
        return [*([self._number(base), base.__name__] for base in own), known.__name__]

    def _exception_class(self, lineage: list[Any]) -> type[Exception]:
        """A class of our own that stands for one of the other side's, with the same bases."""
        *own, known = lineage
        made = _EXCEPTIONS[known]
        for number, name in reversed(own):
            if number not in self._remotes:
                bases = (made,) if issubclass(made, RemoteError) else (RemoteError, made)
                self._remotes[number] = type(str(name), bases, {})
                self._originals[id(self._remotes[number])] = number
            made = self._remotes[number]
        return made

    def _describe(self, codec: Codec, error: Exception) -> list[Any]:
        lineage = self._lineage(type(error))
        return [lineage, codec.encode(error.args), self._number(error) if len(lineage) > 1 else None]

    def _exception(self, codec: Codec, lineage: list[Any], args: Any, number: int | None) -> Exception:
        kind, values = self._exception_class(lineage), codec.decode(args)
        try:
            error = kind.__new__(kind, *values) if number is not None else kind(*values)
        except TypeError:
            error = kind.__new__(kind)  # Some, such as UnicodeDecodeError, want arguments of certain types.
        error.args = values
        if isinstance(error, RemoteError) and number is not None:
            error.remote = self.resolve(["M", number])
        return error

    def _send(self, message: list[Any]) -> None:
        try:
            self.channel.send(message)
        except OSError:
            raise Ended("ended_early") from None

    def _receive(self) -> list[Any]:
        try:
            message = self.channel.receive()
        except (EOFError, OSError):
            raise Ended("ended_early") from None
        if type(message) is not list or not message:
            raise ProtocolError("protocol")
        return message


def _generator(peer: Peer, number: int) -> Generator[Any, Any, Any]:
    value = None
    while True:
        try:
            item = peer.ask("send", number, (value,), {})
        except StopIteration as stop:
            return stop.value
        value = yield item


async def _coroutine(peer: Peer, number: int) -> Any:
    return peer.ask("await", number, (), {})


_STAND_INS: dict[str, Callable[[Peer, int], Any]] = {
    "M": Remote,
    "P": lambda peer, number: Remote(peer, number, plain=True),
    "G": _generator,
    "A": _coroutine,
}


def _snapshot(value: Any) -> list[Any]:
    return [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)


def _same(old: list[Any], new: list[Any]) -> bool:
    return len(old) == len(new) and all(map(operator.is_, old, new))
