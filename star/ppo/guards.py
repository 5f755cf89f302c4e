"""Guards against reward hacking: what a policy does that pleases a PRM without solving more problems, and alarms on it.

An alarm says what changed and is no verdict: lengths also change when a policy learns. What stops a run is the gate on
held-out gold accuracy, or a KL beyond all bounds. All comparisons are with the run's own first iterations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, pstdev
from typing import Any

from data.run_records import PpoIteration
from star.ppo.config import GuardConfig
from star.ppo.judging import Judged

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^]")
_FORMULA = re.compile(r"[\d=<>+*/^\\$]")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a policy under reward hacking does."""

    name: str
    """`length`, `steps`, `repeated`, `filler`, `unseparated`, `divergence` or `kl`."""
    now: float
    before: float
    """The value that `now` is compared with."""


def _normal(step: str) -> str:
    return " ".join(step.lower().split())


def repeated_steps(steps: Sequence[str]) -> int:
    """How many steps are, but for white space and case, an earlier step of the same response."""
    return len(steps) - len({_normal(step) for step in steps})


def filler_steps(problem: str, steps: Sequence[str]) -> int:
    """How many steps say nothing: no formula or number, or nothing that the problem or an earlier step did not say.

    The last step is left out: an answer repeats its result.
    """
    seen, count = set(_WORD.findall(problem.lower())), 0
    for step in steps[:-1]:
        words = set(_WORD.findall(step.lower()))
        count += not _FORMULA.search(step) or words <= seen
        seen |= words
    return count


def signals(rows: Sequence[Judged], *, iteration: int, kl: float) -> PpoIteration:
    """What the guards see of an iteration; at least one row.

    Args:
        rows: responses that had a part in the loss.
        iteration: its number, from 1.
        kl: mean KL to the reference, nats a response.
    """
    steps = [row.rollout.steps for row in rows]
    n_steps = max(1, sum(map(len, steps)))
    return PpoIteration(
        iteration=iteration,
        kl=kl,
        proxy=fmean(row.proxy for row in rows),
        gold=fmean(row.solved for row in rows),
        tokens=fmean(len(row.rewards) for row in rows),
        steps=fmean(map(len, steps)),
        repeated=sum(map(repeated_steps, steps)) / n_steps,
        filler=sum(filler_steps(row.rollout.problem.prompt, row.rollout.steps) for row in rows) / n_steps,
        unseparated=fmean(len(one) <= 1 for one in steps),
    )


@dataclass(slots=True)
class Watch:
    """Compares each iteration with the first ones of the run."""

    config: GuardConfig
    history: list[PpoIteration] = field(default_factory=list)

    def update(self, now: PpoIteration) -> list[Alarm]:
        """Note an iteration; returns the alarms that it raises."""
        self.history.append(now)
        if len(self.history) <= self.config.baseline:
            return []
        return [*self._drifts(now), *self._rises(now), *self._divergence(now), *self._kl(now)]

    def _baseline(self, name: str) -> float:
        return fmean(getattr(one, name) for one in self.history[: self.config.baseline])

    def _drifts(self, now: PpoIteration) -> list[Alarm]:
        found = []
        for name, value in (("tokens", now.tokens), ("steps", now.steps)):
            before = self._baseline(name)
            if abs(value - before) > self.config.drift * before:
                found.append(Alarm("length" if name == "tokens" else name, value, before))
        return found

    def _rises(self, now: PpoIteration) -> list[Alarm]:
        pairs = {"repeated": now.repeated, "filler": now.filler, "unseparated": now.unseparated}
        before = {name: self._baseline(name) for name in pairs}
        rise = self.config.share_rise
        return [Alarm(name, value, before[name]) for name, value in pairs.items() if value > before[name] + rise]

    def _divergence(self, now: PpoIteration) -> list[Alarm]:
        """The gold reward is below its best while the proxy is above what it was then (over-optimization).

        Means of a baseline's length, so that one lucky iteration is no best; a proxy above its then spread has risen.
        """
        width = self.config.baseline
        spans = [self.history[end - width : end] for end in range(width, len(self.history) + 1)]
        best = max(spans[:-1], key=lambda span: fmean(one.gold for one in span))
        then, gold = fmean(one.gold for one in best), fmean(one.gold for one in spans[-1])
        proxies = [one.proxy for one in best]
        risen = fmean(one.proxy for one in spans[-1]) > fmean(proxies) + pstdev(proxies)
        return [Alarm("divergence", gold, then)] if risen and then - gold > self.config.divergence else []

    def _kl(self, now: PpoIteration) -> list[Alarm]:
        return [Alarm("kl", now.kl, self.config.max_kl)] if now.kl > self.config.max_kl else []

    def proxy_against_gold(self) -> list[tuple[float, float, float]]:
        """KL, proxy and gold of each iteration in the order of KL: the curve of over-optimization (Gao et al. 2023)."""
        return sorted((one.kl, one.proxy, one.gold) for one in self.history)


@dataclass(slots=True)
class Gate:
    """Held-out gold accuracy: which iteration was best, and whether to stop."""

    config: GuardConfig
    best: float = -1.0
    """Highest accuracy; -1 before the first measurement."""
    first: float = -1.0
    """Accuracy of the policy that training began with."""
    best_iteration: int = -1
    """Iterations done when it was measured; 0 is the policy that training began with."""
    last: float = -1.0

    def due(self, iteration: int) -> bool:
        """Whether to measure after this many iterations."""
        return iteration % self.config.gate_every == 0

    def update(self, iteration: int, accuracy: float) -> bool:
        """Note a measurement; returns whether it is the best so far (the earlier of equals stays)."""
        self.last = accuracy
        if not iteration:
            self.first = accuracy
        if accuracy <= self.best:
            return False
        self.best, self.best_iteration = accuracy, iteration
        return True

    @property
    def closed(self) -> bool:
        """Whether the last measurement fell so far below the best that training must stop."""
        return self.last < self.best - self.config.gate_drop

    def numbers(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {name: getattr(self, name) for name in ("best", "first", "best_iteration", "last")}


def as_numbers(history: Sequence[PpoIteration]) -> list[dict[str, Any]]:
    """A history as plain JSON."""
    return [asdict(one) for one in history]
