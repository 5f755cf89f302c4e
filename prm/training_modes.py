"""What learns: every weight, adapters, or the head alone, on states that a frozen backbone computes once a solution.

A language model's hidden states have a few dimensions that are hundreds of times larger than the rest. A head that
learns from them as they are learns those dimensions; so each is brought to mean 0 and standard deviation 1 over the
training rows. The scale is then folded into the head's first layer: what is saved reads plain hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prm.encode import EncodedSteps
from prm.model import LoadedPrm
from prm.network import step_states
from prm.training_config import PrmTrainingConfig
from prm.training_rows import token_batches

_Key = tuple[tuple[int, ...], tuple[int, ...]]


def make_trainable(loaded: LoadedPrm, config: PrmTrainingConfig) -> Any:
    """Switch on the gradients that the mode asks for; returns the adapters' wrapper, if any."""
    model, adapted = loaded.model, None
    model.requires_grad_(False)
    if config.mode == "full":
        model.network.requires_grad_(True)
    elif config.mode == "lora":
        from peft import LoraConfig, get_peft_model

        targets = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear")
        adapted = get_peft_model(model.network, targets)
    model.head.requires_grad_(True)
    model.eval()
    return adapted


class FrozenStates:
    """States at the ends of steps, kept in memory; several trainings on one backbone may share them.

    Args:
        decoder: the backbone, which must not change from now on.
        batch_tokens: tokens of one forward pass, padding included.
    """

    def __init__(self, decoder: Any, batch_tokens: int = 8192) -> None:
        self.decoder = decoder
        self.batch_tokens = batch_tokens
        self.known: dict[_Key, torch.Tensor] = {}
        """[K, H] by token ids and step ends."""

    def read(self, rows: Sequence[EncodedSteps]) -> torch.Tensor:
        """States [N, H] of all steps of all rows, in order; what is not known yet is computed."""
        keys = [(tuple(row.ids), tuple(row.step_ends)) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.known}
        order = sorted(missing, key=lambda key: len(key[0]))
        for part in token_batches([len(ids) for ids, _ in order], range(len(order)), self.batch_tokens):
            batch = [order[index] for index in part]
            with torch.no_grad():
                states = step_states(self.decoder, [missing[key] for key in batch])
            self.known |= dict(zip(batch, torch.split(states, [len(ends) for _, ends in batch]), strict=True))
        return torch.cat([self.known[key] for key in keys])


class StateScale:
    """Mean and standard deviation of each dimension of some states.

    Args:
        states: [N, H].
    """

    def __init__(self, states: torch.Tensor) -> None:
        self.mean = states.float().mean(0)
        # A dimension that is constant over the rows says nothing, and must not be blown up.
        self.deviation = states.float().std(0, correction=0).clamp(min=1e-4)

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """The states [N, H] with mean 0 and deviation 1."""
        return (states.float() - self.mean) / self.deviation

    @torch.no_grad()
    def fold_into(self, head: Any) -> None:
        """Change a `ClassHead` that learned from scaled states so that it says the same of plain ones."""
        first = head.score[0]
        first.weight /= self.deviation
        first.bias -= first.weight @ self.mean
