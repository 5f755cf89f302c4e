"""What one side may ask of the objects of the other, by name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from verifiers.sandbox.value_types import BASES

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift")
ATTRIBUTES = {"attr", "setattr", "delattr"}
"""Operations whose first argument is the name of an attribute."""


def _plain(value: Any) -> Any:
    """The content of an object whose class inherits from a plain type."""
    return next(read(value) for base, read in BASES if isinstance(value, base))


def _run_to_end(awaitable: Any) -> Any:
    import asyncio  # Few programs need it, and every fork would pay for it.

    async def finish() -> Any:
        return await awaitable

    return asyncio.run(finish())


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    apply = getattr(operator, name)
    return lambda one, other: apply(other, one)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, /, *args, **kwargs: target(*args, **kwargs),
    "attr": getattr, "setattr": setattr, "delattr": delattr,
    "item": operator.getitem, "setitem": operator.setitem, "delitem": operator.delitem,
    "iter": iter, "next": next, "reversed": reversed, "len": len, "bool": bool, "str": str, "repr": repr,
    "isinstance": lambda target, value: isinstance(value, target),
    "issubclass": lambda target, value: issubclass(value, target),
    "eq": operator.eq, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "neg": operator.neg, "pos": operator.pos, "abs": abs, "invert": operator.invert,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "rand": lambda one, other: other & one, "ror": lambda one, other: other | one,
    "rxor": lambda one, other: other ^ one,
    **{name: getattr(operator, name) for name in _BINARY},
    **{f"r{name}": _reflected(name) for name in _BINARY},
    "send": lambda target, value: target.send(value),
    "await": _run_to_end,
    "plain": _plain,
    "global": operator.getitem,
}  # fmt: skip
