"""Shards on their way through a policy: what was drawn before is passed on, the rest is drawn in order, a few ahead.

No more than the shards in between are in memory. A shard is always one batch, so who draws it changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from data.records import Problem
from pipelines.progress import say
from pipelines.stages.policy import Policy
from star.generation import Completion, Request


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard of work."""

    unit: str
    """Its name in the run folder."""
    key: str
    """Hash of what it depends on."""
    problems: Sequence[Problem]
    """Empty if nothing is left to do."""
    is_drawn: bool
    """Whether its completions are stored."""


def draw_shards(
    policy: Policy, shards: Iterable[Shard], requests: Callable[[Shard], Sequence[Request]]
) -> Iterator[tuple[Shard, list[Completion]]]:
    """Each shard in order, with its completions if they were not drawn before.

    Args:
        policy: what draws; its executor asks for shards ahead as its workers get free.
        shards: in order.
        requests: of a shard that is to be drawn.
    """
    waiting: deque[Shard] = deque()

    def missing() -> Iterator[Sequence[Request]]:
        for shard in shards:
            waiting.append(shard)
            if not shard.is_drawn:
                yield requests(shard)

    for completions in _told(policy.draw(missing())):
        while waiting[0].is_drawn:
            yield waiting.popleft(), []
        yield waiting.popleft(), completions
    while waiting:
        yield waiting.popleft(), []


def complete(policy: Policy, requests: Sequence[Request]) -> list[Completion]:
    """All completions of one batch; the first error among them is told."""
    return next(_told(policy.draw([requests])))


def _told(batches: Iterator[list[Completion]]) -> Iterator[list[Completion]]:
    for completions in batches:
        failed = [completion.error for completion in completions if completion.error]
        if failed:
            say(f"{len(failed)} of {len(completions)} samples failed; the first: {failed[0]}")
        yield completions
