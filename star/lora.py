"""What of a model is trained: all of it, or LoRA adapters, small matrices beside frozen layers, merged at the end.

Checkpoints are saved merged, as plain models: every engine loads them, each round trains from the base anyway, and a
kept adapter would tie the dataset's provenance to two files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import UserError

if TYPE_CHECKING:
    from star.sft import SftConfig


def trainable(model: Any, config: SftConfig) -> Any:
    """The model in training mode, with new adapters if they are asked for.

    Raises:
        UserError: the model has no layer of a name in `lora_targets`.
    """
    if config.lora_rank:
        model = with_adapters(model, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets)
    else:
        model.requires_grad_(True)
    model.train()
    if config.gradient_checkpointing:
        _checkpointing(model, "enable")({"use_reentrant": False})
    return model


def plain(model: Any, config: SftConfig) -> Any:
    """A trained model as it is saved: merged, frozen, in evaluation mode; None if it is in another process."""
    if model is None:
        return None
    if config.gradient_checkpointing:
        _checkpointing(model, "disable")()
    model = model.merge_and_unload() if config.lora_rank else model
    return model.requires_grad_(False).eval()


def _checkpointing(model: Any, what: str) -> Any:
    """The model's method that enables or disables recomputation; transformers renamed it in the course of version 5."""
    return getattr(model, f"activation_checkpointing_{what}", None) or getattr(model, f"gradient_checkpointing_{what}")


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
