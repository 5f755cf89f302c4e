"""Where a training stands, in one safetensors file, for exact resume: weights, moments, position, and the best so far.

The order of the batches is drawn from the seed before the first step and nothing else is random, so weights, moments
and the number of steps done are the whole state: a training that goes on from it ends with the bits of one that never
stopped. The file is whole or absent; one that belongs to another training, or is damaged, is not used.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Progress:
    """What a training has done so far."""

    losses: list[float] = field(default_factory=list)
    """Loss of each optimizer step."""
    evaluations: list[tuple[int, float, float]] = field(default_factory=list)
    """(steps done, first-error F1 on the dev rows, dev loss) of each evaluation."""
    best: dict[str, Any] = field(default_factory=dict)
    """Weights at the best evaluation, on the CPU, by name; empty before the first."""


class TrainingState:
    """The state file of one training.

    Args:
        file: where it lies; its folder is made.
        key: hash of what the training depends on.
        every_s: seconds between two saves; 0 saves after each step.
    """

    def __init__(self, file: Path, *, key: str, every_s: float) -> None:
        self.file = file
        self.key = key
        self.every_s = every_s
        self._saved = time.monotonic()

    def restore(self, weights: dict[str, Any], optimizer: Any) -> Progress:
        """Load the state into weights and optimizer, in place, and return the progress; or nothing, and none."""
        from safetensors import SafetensorError, safe_open

        if not self.file.is_file():
            return Progress()
        try:
            with safe_open(str(self.file), framework="pt") as stream:
                facts = json.loads((stream.metadata() or {}).get("training", "{}"))
                if facts.get("key") != self.key:
                    return Progress()
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError:
            return Progress()
        self._apply(weights, optimizer, tensors, len(facts["losses"]))
        best = {name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")}
        return Progress(list(facts["losses"]), [tuple(row) for row in facts["evaluations"]], best)

    def _apply(self, weights: dict[str, Any], optimizer: Any, tensors: dict[str, Any], steps: int) -> None:
        import torch

        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                optimizer.state[weight] = {
                    "step": torch.tensor(float(steps)),
                    "exp_avg": tensors[f"mean.{name}"].to(weight.device),
                    "exp_avg_sq": tensors[f"square.{name}"].to(weight.device),
                }

    def save(self, weights: dict[str, Any], optimizer: Any, progress: Progress) -> None:
        """Save the state if it is time to."""
        from safetensors.torch import save_file

        if time.monotonic() - self._saved < self.every_s:
            return
        tensors: dict[str, Any] = {f"best.{name}": tensor for name, tensor in progress.best.items()}
        for name, weight in weights.items():
            moments = optimizer.state[weight]
            tensors |= {f"weight.{name}": weight.detach(), f"mean.{name}": moments["exp_avg"]}
            tensors[f"square.{name}"] = moments["exp_avg_sq"]
        facts = {"key": self.key, "losses": progress.losses, "evaluations": progress.evaluations}
        partial = self.file.with_name(self.file.name + ".partial")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, str(partial), metadata={"training": json.dumps(facts)})
        os.replace(partial, self.file)
        self._saved = time.monotonic()

    def clear(self) -> None:
        """Remove the file: the training is over."""
        self.file.unlink(missing_ok=True)
