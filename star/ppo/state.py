"""Where a PPO run stands, in one safetensors file, for exact resume: a killed run ends with the same weights.

Every draw of a run derives from (seed, iteration), so weights, moments, the KL weight, what the guards remember and the
number of iterations done are the whole state. It is replaced atomically after each iteration; an iteration that was
killed is drawn again, to the bit. A file of another run, or a damaged one, is refused and not overwritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data.errors import RunFolderError
from data.store import replacing


@dataclass(slots=True)
class Progress:
    """What a run remembers beside its weights; plain JSON."""

    iteration: int = 0
    """Iterations done."""
    kl_coefficient: float = 0.0
    gate: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    """`PpoIteration` of each iteration that was not skipped."""
    counts: dict[str, int] = field(default_factory=dict)
    """Responses and steps that were left out, by reason."""
    skipped_in_a_row: int = 0
    stopped: str = ""
    """Why the run is over before its last iteration; empty if it is not."""


class PpoState:
    """The state file of one run.

    Args:
        file: where it lies; its folder is made.
        key: hash of what the run depends on.
    """

    def __init__(self, file: Path, *, key: str) -> None:
        self.file = file
        self.key = key

    def save(
        self,
        progress: Progress,
        weights: dict[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        best: dict[str, torch.Tensor],
    ) -> None:
        """Replace the file.

        Args:
            progress: what to remember.
            weights: all that are trained, by name.
            optimizer: AdamW over them.
            best: the actor's weights at the best measurement, by name.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        from safetensors.torch import save_file

        tensors = {f"best.{name}": tensor for name, tensor in best.items()}
        for name, weight in weights.items():
            tensors[f"weight.{name}"] = weight.detach()
            # A weight that no step was taken with has no moments.
            tensors |= {f"{key}.{name}": value for key, value in optimizer.state.get(weight, {}).items()}
        facts = json.dumps({"key": self.key, **{name: getattr(progress, name) for name in Progress.__slots__}})
        with replacing(self.file) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(partial), {"ppo": facts})

    def restore(
        self, weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> tuple[Progress, dict[str, torch.Tensor]] | None:
        """Load the state into weights and optimizer, in place.

        Returns:
            What was remembered and the best weights; None where there is no file.

        Raises:
            RunFolderError: the file belongs to another run or is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not self.file.is_file():
            return None
        try:
            with safe_open(str(self.file), framework="pt") as stream:
                facts = json.loads((stream.metadata() or {}).get("ppo", "{}"))
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise RunFolderError(f"'{self.file}' is damaged ({error}).", "Remove it to begin anew.") from error
        if facts.pop("key", None) != self.key:
            raise RunFolderError(
                f"'{self.file}' belongs to a PPO run with another model, config or problems.",
                "Use another folder, or remove it to begin anew.",
            )
        _load(weights, optimizer, tensors)
        best = {name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")}
        return Progress(**facts), best


def _load(weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, tensors: dict[str, Any]) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weight.{name}"])
            if f"exp_avg.{name}" in tensors:
                # AdamW counts its steps on the CPU.
                optimizer.state[weight] = {
                    "step": tensors[f"step.{name}"],
                    "exp_avg": tensors[f"exp_avg.{name}"].to(weight.device),
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(weight.device),
                }
