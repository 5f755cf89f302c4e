"""What stands in for an object of the other side: it looks like the object, and trusts it with nothing.

Operators must not let the other side see what it is compared with, and then say what is wanted. So `==` and `<` reach
it only between two objects of its own; an operator with a plain value may give an object, which then tells no plain
value by operators, truth or text (`abs(result - 3.5) < 0.1`); `in` looks through the items here; `result.startswith(x)`
and its like are refused. A call, an attribute, an item, the length or an iteration say what the object *is*, and may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

_ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
)
_T = TypeVar("_T")
_ORDER = ("lt", "le", "gt", "ge")
_UNARY = ("neg", "pos", "abs", "invert")
_TELLING = {"startswith", "endswith", "issubset", "issuperset", "isdisjoint", "__contains__"}
"""What plain types answer yes or no to, given a value to compare with."""


class Asker(Protocol):
    """The connection to the other side."""

    def ask(self, op: str, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have an operation done on the object with this number."""


class Remote:
    """An object of the other side. The same object is always the same `Remote`."""

    __slots__ = ("__weakref__", "_remote_asker", "_remote_handle", "_remote_mixed", "_remote_plain")

    def __init__(self, asker: Asker, handle: int, *, plain: bool = False) -> None:
        object.__setattr__(self, "_remote_asker", asker)
        object.__setattr__(self, "_remote_handle", handle)
        object.__setattr__(self, "_remote_plain", plain)
        object.__setattr__(self, "_remote_mixed", False)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        return _ask(self, "call", *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _TELLING:
            raise AttributeError(f"an object of the program has no '{name}'")
        return _ask(self, "attr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        _ask(self, "delattr", name)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        _ask(self, "delitem", key)

    def __iter__(self) -> Iterator[Any]:
        iterator: Iterator[Any] = _ask(self, "iter")
        return iterator if isinstance(iterator, Remote) else iter(iterator)

    def __next__(self) -> Any:
        return _ask(self, "next")

    def __reversed__(self) -> Any:
        return _ask(self, "reversed")

    def __len__(self) -> int:
        return _exact(_ask(self, "len"), int)

    def __bool__(self) -> bool:
        return _exact(_ask(_unmixed(self), "bool"), bool)

    def __str__(self) -> str:
        return _exact(_ask(_unmixed(self), "str"), str)

    def __repr__(self) -> str:
        return _exact(_ask(_unmixed(self), "repr"), str)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Remote):
            return _exact(_ask(self, "eq", other), bool)
        # A list or dict with methods of its own is compared by what it holds, here.
        return bool(_ask(self, "plain") == other) if self._remote_plain else NotImplemented

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Remote) and _exact(_ask(self, "isinstance", instance), bool)

    def __subclasscheck__(self, subclass: object) -> bool:
        return isinstance(subclass, Remote) and _exact(_ask(self, "issubclass", subclass), bool)

    def __enter__(self) -> Any:
        return _ask(self, "attr", "__enter__")()

    def __exit__(self, *error: object) -> bool:
        return bool(_ask(self, "attr", "__exit__")(*error))


class RemoteError(Exception):
    """Text and attributes are those of the exception on the other side."""

    remote: Remote

    def __str__(self) -> str:
        return str(self.remote) if "remote" in self.__dict__ else super().__str__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "remote" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.remote, name)


def handle_of(value: Remote) -> int:
    """The number of the object on its own side."""
    handle: int = object.__getattribute__(value, "_remote_handle")
    return handle


def _ask(value: Remote, op: str, /, *args: Any, **kwargs: Any) -> Any:
    asker: Asker = object.__getattribute__(value, "_remote_asker")
    return asker.ask(op, handle_of(value), args, kwargs)


def _exact(value: Any, kind: type[_T]) -> _T:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value


def _unmixed(value: Remote) -> Remote:
    if object.__getattribute__(value, "_remote_mixed"):
        raise TypeError("an operator joined a plain value with an object of the program")
    return value


def _operator(name: str) -> Callable[[Remote, Any], Any]:
    def apply(self: Remote, other: Any) -> Any:
        result = _ask(self, name, other)
        if isinstance(result, Remote):
            if not isinstance(other, Remote):
                object.__setattr__(result, "_remote_mixed", True)
            return result
        _unmixed(self)
        if isinstance(other, Remote):
            _unmixed(other)
            return result
        raise TypeError(f"unsupported operand for {name}: an object of the program and a plain value")

    return apply


def _comparison(name: str) -> Callable[[Remote, Any], Any]:
    def compare(self: Remote, other: Any) -> Any:
        return _exact(_ask(self, name, other), bool) if isinstance(other, Remote) else NotImplemented

    return compare


def _unary(name: str) -> Callable[[Remote], Any]:
    return lambda self: _ask(_unmixed(self), name)


for _name in _ARITHMETIC:
    setattr(Remote, f"__{_name}__", _operator(_name))
    setattr(Remote, f"__r{_name}__", _operator(f"r{_name}"))
for _name in _ORDER:
    setattr(Remote, f"__{_name}__", _comparison(_name))
for _name in _UNARY:
    setattr(Remote, f"__{_name}__", _unary(_name))
