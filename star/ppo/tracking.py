"""What an iteration reports, under the names that TRL's and OpenAI's PPO use, and TensorBoard files if wanted."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from data.errors import DependencyError
from data.run_records import PpoIteration
from star.ppo.batches import MicroBatch
from star.ppo.update import UpdateStats


class TensorBoard:
    """Writes scalars as TensorBoard events.

    Args:
        folder: where the event files go.
        first_step: of this attempt; what an attempt before it wrote from there on is hidden.

    Raises:
        DependencyError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise DependencyError("tensorboard", "track") from error
        self._writer: Any = SummaryWriter(log_dir=str(folder), purge_step=first_step)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one iteration."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the accelerator where there is one, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Linux counts in kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _mean(parts: Sequence[MicroBatch], name: str) -> float:
    return float(torch.cat([getattr(part, name)[part.chosen] for part in parts]).mean())


def scalars(
    parts: Sequence[MicroBatch], signals: PpoIteration, stats: UpdateStats, *, kl_coefficient: float, seconds: float
) -> dict[str, float]:
    """The numbers of one iteration.

    Args:
        parts: all micro-batches, prepared; of several processes those of the first.
        signals: what the guards saw.
        stats: what the updates did.
        kl_coefficient: weight of the KL.
        seconds: that the iteration took, drawing included.
    """
    n_rows, n_tokens = sum(len(part.rows) for part in parts), sum(part.n_tokens for part in parts)
    total = sum(sum(row.rewards) for part in parts for row in part.rows) / n_rows
    mismatch = torch.cat([(part.untempered - part.sampler)[part.chosen] for part in parts]).abs()
    updates = {
        "loss/policy_avg": stats.policy_loss,
        "loss/value_avg": stats.value_loss,
        "policy/approxkl_avg": stats.kl,
        "policy/clipfrac_avg": stats.clip_share,
        "val/ratio": stats.ratio,
    }
    return {
        "objective/kl": signals.kl,
        "objective/kl_coef": kl_coefficient,
        "objective/entropy": _mean(parts, "entropy"),
        "objective/scores": total,
        "objective/non_score_reward": -kl_coefficient * signals.kl,
        "objective/rlhf_reward": total - kl_coefficient * signals.kl,
        "objective/proxy": signals.proxy,
        "objective/gold": signals.gold,
        **{name: fmean(values) for name, values in updates.items() if values},
        "val/value": _mean(parts, "values"),
        "val/return": _mean(parts, "returns"),
        "policy/ratio_first": stats.ratio[0] if stats.ratio else 1.0,
        "policy/stopped_early": float(stats.stopped_early),
        "sampler/mismatch_mean": float(mismatch.mean()),
        "sampler/mismatch_max": float(mismatch.max()),
        "response/tokens": signals.tokens,
        "response/steps": signals.steps,
        "response/truncated": sum(row.rollout.truncated for part in parts for row in part.rows) / n_rows,
        "guard/repeated": signals.repeated,
        "guard/filler": signals.filler,
        "guard/unseparated": signals.unseparated,
        "perf/tokens_per_second": n_tokens / seconds,
        "perf/peak_memory_bytes": float(peak_memory(parts[0].ids.device)),
    }
