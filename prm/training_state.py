"""Where a training stands, in one safetensors file, for exact resume: weights, moments, position, and the best so far.

The order of the batches is drawn from the seed before the first step, and whatever a step draws from the seed and its
number, so weights, moments and the number of steps done are the whole state: a training that goes on from it ends with
the bits of one that never stopped. The file is whole or absent; one that belongs to another training, or is damaged, is
not used. Serves PRM and fine-tuning both, weights that are sharded over processes included.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.store import discard, replacing


@dataclass(slots=True)
class Progress:
    """What a training has done so far."""

    losses: list[float] = field(default_factory=list)
    """Loss of each optimizer step."""
    evaluations: list[tuple[int, float, float]] = field(default_factory=list)
    """(steps done, first-error F1 on the dev rows, dev loss) of each evaluation."""
    best: dict[str, Any] = field(default_factory=dict)
    """Weights at the best evaluation, on the CPU, by name; empty before the first."""
    micro_batch_size: int = 0
    """Rows of a forward pass since memory ran out; 0: as many as configured. Other passes sum in another order."""


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
                if facts.pop("key", None) != self.key:
                    return Progress()
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError:
            return Progress()
        self._apply(weights, optimizer, tensors, len(facts["losses"]))
        best = {name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")}
        evaluations = [tuple(row) for row in facts.get("evaluations", [])]
        return Progress(facts["losses"], evaluations, best, facts.get("micro_batch_size", 0))

    def _apply(self, weights: dict[str, Any], optimizer: Any, tensors: dict[str, Any], steps: int) -> None:
        import torch

        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(_placed(tensors[f"weight.{name}"], weight))
                optimizer.state[weight] = {
                    "step": torch.tensor(float(steps)),
                    "exp_avg": _placed(tensors[f"mean.{name}"], weight),
                    "exp_avg_sq": _placed(tensors[f"square.{name}"], weight),
                }

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self.every_s

    def save(self, weights: dict[str, Any], optimizer: Any, progress: Progress) -> None:
        """Save the state if it is time to."""
        if self.due():
            self.write(state_tensors(weights, optimizer), progress)

    def write(self, tensors: dict[str, Any], progress: Progress) -> None:
        """Replace the file.

        Args:
            tensors: `state_tensors`, whole ones.
            progress: what was done.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        from safetensors.torch import save_file

        tensors = tensors | {f"best.{name}": tensor for name, tensor in progress.best.items()}
        facts: dict[str, Any] = {"key": self.key, "losses": progress.losses, "evaluations": progress.evaluations}
        if progress.micro_batch_size:
            facts["micro_batch_size"] = progress.micro_batch_size
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        with replacing(self.file) as partial:
            save_file(contiguous, str(partial), metadata={"training": json.dumps(facts)})
        self._saved = time.monotonic()

    def clear(self) -> None:
        """Remove the file: the training is over."""
        discard(self.file)


def state_tensors(weights: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """Weights and AdamW's moments under the names that the file gives them."""
    tensors: dict[str, Any] = {}
    for name, weight in weights.items():
        moments = optimizer.state[weight]
        tensors |= {f"weight.{name}": weight.detach(), f"mean.{name}": moments["exp_avg"]}
        tensors[f"square.{name}"] = moments["exp_avg_sq"]
    return tensors


def _placed(tensor: Any, weight: Any) -> Any:
    """A whole tensor where a weight is: on its device and, if the weight is sharded, this process's part of it."""
    tensor = tensor.to(weight.device)
    if not hasattr(weight, "device_mesh"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same file: nothing is sent.
    return distribute_tensor(tensor, weight.device_mesh, weight.placements, src_data_rank=None)
