"""What a round drew for each problem, gone through in the order of the problems, a problem at a time.

Every draw stores its rationales in the order of its problems, so that of a million no more than a few are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from data.records import Problem, Rationale, Verdict


@dataclass(slots=True)
class Group:
    """A problem with its rationales."""

    problem: Problem
    rationales: list[Rationale] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By rationale id."""


def by_problem(problems: Iterable[Problem], *draws: Iterable[tuple[Rationale, Verdict]]) -> Iterator[Group]:
    """Each problem with its rows of all draws.

    Args:
        problems: in the order that the draws follow; a draw may leave some out.
        draws: rationales with their verdicts.

    Raises:
        ValueError: a draw follows another order, or holds rows of other problems.
    """
    streams = [iter(draw) for draw in draws]
    heads = [next(stream, None) for stream in streams]
    for problem in problems:
        group = Group(problem)
        for place, stream in enumerate(streams):
            while (head := heads[place]) is not None and head[0].problem_id == problem.id:
                group.rationales.append(head[0])
                group.verdicts[head[0].id] = head[1]
                heads[place] = next(stream, None)
        yield group
    if any(heads):
        raise ValueError("rationales do not follow the order of the problems")
