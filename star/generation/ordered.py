"""Work that runs elsewhere, handed back in the order it was asked for: what the `http` and `vllm` engines share.

Requests are drawn from their stream only as answers are taken, so neither an endless stream nor a caller that pauses
fills the memory. A caller that stops early has what is still running cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from star.generation.base import Completion, Request

T = TypeVar("T")

READ_AHEAD = 4
"""Requests drawn for each one that runs, so that one slow sample does not idle the others."""


def ended(future: Future[Any], *, within_s: float) -> bool:
    """Wait for a future for a while and say whether it ended; `concurrent.futures.wait` takes twice the time."""
    try:
        future.exception(within_s)
    except TimeoutError:
        return False
    except CancelledError:
        return True
    return True


def in_order(
    requests: Iterable[Request],
    start: Callable[[Request], Future[T]],
    finish: Callable[[Request, Future[T]], Completion],
    *,
    at_once: int,
) -> Iterator[Completion]:
    """Yield one completion for each request, in order.

    Args:
        requests: drawn at most `READ_AHEAD * at_once` ahead of what was yielded.
        start: sets a request going.
        finish: waits for its result.
        at_once: how many run together.
    """
    ahead: deque[tuple[Request, Future[T]]] = deque()
    try:
        for request in requests:
            ahead.append((request, start(request)))
            while ahead and (ahead[0][1].done() or len(ahead) >= READ_AHEAD * at_once):
                yield finish(*ahead.popleft())
        while ahead:
            yield finish(*ahead.popleft())
    finally:
        for _, future in ahead:
            future.cancel()
