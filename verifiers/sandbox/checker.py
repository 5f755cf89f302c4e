"""The child that runs the tests: the program's names are objects of another process, which it asks and never trusts.

A test program passes when it ends without an exception and has asked the program for something. What goes wrong before
it asks anything is an error of the problem.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import random
import socket
import sys
from collections.abc import Callable
from typing import Any

from verifiers.sandbox.frames import Channel, ProtocolError
from verifiers.sandbox.operations import ATTRIBUTES
from verifiers.sandbox.peer import Ended, Peer
from verifiers.sandbox.remote import Remote
from verifiers.sandbox.values import Codec

_MODULE = "tests"
_OF_ANY_OBJECT = {"iter", "next", "send", "reversed", "len", "bool"}
_NEVER = {"global", "await", "plain"}
Finding = tuple[str, str]
"""Verdict and detail."""


class ProblemError(Exception):
    """Setup or tests cannot be used, whatever the program is."""


class _CheckerPeer(Peer):
    """Sends functions and classes of the standard library by name: the program then uses its own."""

    def export(self, value: Any) -> list[Any]:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        named = isinstance(module, str) and isinstance(name, str) and module in sys.stdlib_module_names
        if named and getattr(sys.modules.get(str(module)), str(name), None) is value:
            return ["S", module, name]
        return super().export(value)


class _Names(dict[str, Any]):
    """The names that the tests see: their own, the setup's, built-ins, and then the program's, fetched at each use.

    A name of a built-in or of a module of the standard library is never the program's, unless it is an entry point.
    """

    def __init__(self, entry_points: frozenset[str]) -> None:
        super().__init__(__name__=_MODULE, __builtins__=builtins)
        self.peer: Peer | None = None
        self.fetched = 0
        self._entry_points = entry_points

    def __missing__(self, name: str) -> Any:
        if name not in self._entry_points:
            if hasattr(builtins, name) or name.startswith("__"):
                raise KeyError(name)
            if name in sys.stdlib_module_names:
                return importlib.import_module(name)
        if self.peer is None:
            raise KeyError(name)
        try:
            self.fetched += 1
            value = self.peer.ask("global", 0, (name,), {})
        except KeyError:
            raise NameError(f"name '{name}' is not defined", name=name) from None
        self.peer.asked += not isinstance(value, Remote)
        return value


def check(tests: str, setup: str, entry_points: list[str], descriptor: int) -> Finding:
    """Run the tests.

    Args:
        tests: source text of the test program.
        setup: source text of trusted helpers; stubs in it (functions with only a docstring) define nothing.
        entry_points: names that are the program's even where a built-in has the same name.
        descriptor: the socket to the candidate.

    Returns:
        Verdict and detail.
    """
    peer = _CheckerPeer(Channel(socket.socket(fileno=descriptor)), _may)
    names = _Names(frozenset(entry_points))
    random.seed(hashlib.sha256(tests.encode("utf-8", "surrogatepass")).digest())
    try:
        code = _compiled("tests", tests)
        _run("setup", _without_stubs(setup), names)
    except ProblemError as error:
        return "problem_error", str(error)
    loading = _outcome(peer, lambda: peer.await_reply(Codec(peer)))
    if loading or peer.broken:
        return loading or _ended(peer.broken)
    peer.asked = 0
    names.peer = peer
    finding = _outcome(peer, lambda: exec(code, names))  # noqa: S102 - the place that is made for it
    if peer.broken:
        return _ended(peer.broken)
    if finding is None:
        return ("passed", "") if peer.asked else ("problem_error", "untested")
    return finding if names.fetched else ("problem_error", f"tests:{finding[1]}")


def _outcome(peer: Peer, work: Callable[[], Any]) -> Finding | None:
    """What the work's exception means; None if it raised none."""
    try:
        work()
    except (Ended, ProtocolError) as error:
        peer.broken = peer.broken or str(error) or "protocol"
    except SystemExit as error:
        return None if error.code in (None, 0, False) else ("failed", "SystemExit")
    except AssertionError:
        return "failed", "assertion"
    except SyntaxError:
        return "failed", "syntax"
    except MemoryError:
        return "memory", "MemoryError"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the verdict
        return "failed", type(error).__name__
    return None


def _ended(reason: str) -> Finding:
    if reason == "memory":
        return "memory", "MemoryError"
    return "failed", "ended_early" if reason == "ended_early" else "protocol"


def _may(op: str, target: Any, first: Any) -> bool:
    """What the program may do with an object of the tests that it was given."""
    if op in _NEVER:
        return False
    if op == "call":
        return callable(target)
    if op in _OF_ANY_OBJECT:
        return True
    own = getattr(target if isinstance(target, type) else type(target), "__module__", None) == _MODULE
    return own and (op not in ATTRIBUTES or (type(first) is str and not first.startswith("_")))


def _compiled(name: str, source: str | ast.Module) -> Any:
    try:
        return compile(source, f"{name}.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProblemError(f"{name}:syntax") from error


def _without_stubs(setup: str) -> ast.Module:
    try:
        tree = ast.parse(setup)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProblemError("setup:syntax") from error
    tree.body = [node for node in tree.body if not _is_stub(node)]
    return tree


def _is_stub(node: ast.stmt) -> bool:
    """Whether it is a function without a body: nothing but a docstring, `...`, `pass` or imports."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    nothing = ast.Pass | ast.Import | ast.ImportFrom
    return all(isinstance(line, nothing) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
               for line in node.body)  # fmt: skip


def _run(name: str, source: ast.Module, names: _Names) -> None:
    code = _compiled(name, source)
    try:
        exec(code, names)  # noqa: S102 - the place that is made for it
    except Exception as error:
        raise ProblemError(f"{name}:{type(error).__name__}") from error
