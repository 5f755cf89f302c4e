"""Messages over a stream socket: a 4-byte length, then JSON; descriptors may ride along.

Text that UTF-8 refuses (lone surrogates) passes unchanged. Whatever arrives is bounded in size before it is kept, and a
message that is not JSON, or is nested too deeply to be read, is a `ProtocolError`.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any

MAX_BYTES = 8 << 20
"""Longest message of a program or its checker."""
_CHUNK = 1 << 16
_MAX_DESCRIPTORS = 4


class ProtocolError(BaseException):
    """The other side broke the protocol. No `Exception`: tests that catch everything must not catch this."""


class Channel:
    """One end of a stream socket.

    Args:
        end: the socket; the channel closes it.
        limit: longest message that is accepted or sent, in bytes.
    """

    def __init__(self, end: socket.socket, limit: int = MAX_BYTES) -> None:
        self.socket = end
        self._limit = limit
        self._buffer = b""
        self._descriptors: list[int] = []

    def send(self, message: Any, descriptors: tuple[int, ...] = ()) -> None:
        """Send one message.

        Raises:
            ProtocolError: it is longer than the limit.
            OSError: the other end is gone, or the socket's time-out passed.
        """
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        if len(body) > self._limit:
            raise ProtocolError("too_large")
        raw = len(body).to_bytes(4, "big") + body
        if descriptors:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            raw = raw[self.socket.sendmsg([raw[:_CHUNK]], rights) :]
        self.socket.sendall(raw)

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other end is closed.
            ProtocolError: what came is no message.
            OSError: the socket's time-out passed.
        """
        self._fill(4)
        length = int.from_bytes(self._buffer[:4], "big")
        if length > self._limit:
            raise ProtocolError("too_large")
        self._fill(4 + length)
        body, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
        try:
            return json.loads(body.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError, MemoryError) as error:
            raise ProtocolError("not_json") from error

    def take_descriptors(self) -> list[int]:
        """The descriptors that came since the last call; the caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _fill(self, size: int) -> None:
        if len(self._buffer) >= size:
            return
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            chunk = self._read()
            if not chunk:
                raise EOFError
            parts.append(chunk)
            have += len(chunk)
        self._buffer = b"".join(parts)

    def _read(self) -> bytes:
        return self.socket.recv(_CHUNK)


class ControlChannel(Channel):
    """A channel between the parent and a server, which trust each other: no limit on size, descriptors accepted."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(end, limit=(1 << 32) - 1)

    def _read(self) -> bytes:
        chunk, descriptors, _, _ = socket.recv_fds(self.socket, _CHUNK, _MAX_DESCRIPTORS)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        return chunk
