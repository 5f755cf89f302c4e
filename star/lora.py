"""LoRA adapters for fine-tuning: small trainable matrices beside frozen layers, merged when the training is over.

Checkpoints are saved merged, as plain models: every engine loads them, each round trains from the base anyway, and a
kept adapter would tie the dataset's provenance to two files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.errors import UserError


def with_adapters(model: Any, *, rank: int, alpha: float = 0, targets: Sequence[str] = ()) -> Any:
    """The model with new adapters, which alone are trainable; drawn from torch's global generator.

    Args:
        model: a causal LM; its linear layers are wrapped in place.
        rank: columns of the adapters, at least 1.
        alpha: the adapters' product is scaled by alpha / rank; 0 means twice the rank.
        targets: names of layers; empty means all linear ones but the head.

    Raises:
        UserError: the model has no layer of such a name.
    """
    from peft import LoraConfig, get_peft_model

    names = list(targets) or "all-linear"
    try:
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=names))
    except ValueError as error:
        raise UserError(f"sft.lora_targets: {str(error).splitlines()[0]}", "Name layers that the model has.") from error
