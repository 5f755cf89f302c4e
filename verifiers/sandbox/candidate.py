"""The child that runs the program: loads it as a module, then answers for its objects, or runs it as a script.

Everything here may be taken over by the program. Nothing here knows the tests: it answers calls, and that is all.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import socket
import sys
import traceback
import types
from typing import Any

from verifiers.sandbox.frames import Channel, ProtocolError
from verifiers.sandbox.peer import Ended, Peer
from verifiers.sandbox.values import Codec

_MODULE = "program"


class _CandidatePeer(Peer):
    """Takes what the tests pass of the standard library by its name, and uses its own."""

    def resolve(self, message: list[Any]) -> Any:
        if message[0] == "S":
            return getattr(importlib.import_module(message[1]), message[2])
        return super().resolve(message)


def answer(program: str, descriptor: int) -> None:
    """Load the program and serve the checker until it hangs up.

    Args:
        program: source text.
        descriptor: the socket to the checker.
    """
    _converse(program, descriptor)
    _flush()


def _flush() -> bool:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _converse(program: str, descriptor: int) -> None:
    peer = _CandidatePeer(Channel(socket.socket(fileno=descriptor)), lambda op, target, first: True)
    module = _new_module(_MODULE)
    peer.hold(module.__dict__)
    try:
        peer.reply(Codec(peer), lambda: _execute(program, module))
        peer.serve()
    except ProtocolError as reason:
        peer.channel.send(["x", str(reason)])
    except MemoryError:
        peer.channel.send(["x", "memory"])
    except Ended:
        return
    except BaseException:  # noqa: BLE001 - SystemExit and its like end the conversation
        peer.channel.send(["x", "ended_early"])


def run_script(program: str) -> int:
    """Run the program as `__main__`.

    Returns:
        The exit status that Python would give it.
    """
    module = _new_module("__main__")
    try:
        _execute(program, module)
        status = 0
    except SystemExit as end:
        status = _exit_status(end.code)
    except BaseException:  # noqa: BLE001 - told on standard error, as the interpreter does
        traceback.print_exc(limit=-8)
        status = 1
    return status if _flush() else status or 1


def _exit_status(code: object) -> int:
    if code is None or isinstance(code, int):
        return int(code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1


def _new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = __builtins__
    sys.modules[name] = module
    sys.argv = [f"{name}.py"]
    return module


def _execute(program: str, module: types.ModuleType) -> None:
    # The same program draws the same numbers in every run, so its verdict does not change from run to run.
    random.seed(hashlib.sha256(program.encode("utf-8", "surrogatepass")).digest())
    os.environ["HOME"] = os.environ["TMPDIR"] = os.getcwd()
    try:
        code = compile(program, f"{module.__name__}.py", "exec", dont_inherit=True)
    except ValueError as error:  # A null byte, or a text that is no UTF-8; later versions of Python say SyntaxError.
        raise SyntaxError(str(error)) from None
    exec(code, module.__dict__)  # noqa: S102 - the place that is made for it
