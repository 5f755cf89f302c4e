"""Loading what a PRM is made of: a network from a folder or the hub, on a device that is there, a head, label tokens.

Weights are only ever read from safetensors, and remote code is never run. What a user got wrong is one line each.
"""

from __future__ import annotations

from typing import Any

import torch

from data.errors import UserError
from data.model_folder import check_folder, weights_revision
from prm.model_config import ModelForm, local_folder
from prm.network import keep_layers


def load_network(path: str, form: ModelForm, *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any, str]:
    """Backbone (a causal LM for form `tokens`), tokenizer and revision; remote code is never run.

    Raises:
        UserError: it cannot be loaded, or there is no such device or dtype.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = local_folder(path)
    check_folder(folder)
    place = _device(device)
    precision = _precision(dtype, place)
    kind = AutoModel if form.form == "head" else AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    network = kind.from_pretrained(folder, dtype=precision, use_safetensors=True, trust_remote_code=False)
    if form.layers:
        keep_layers(network, form.layers)
    network.requires_grad_(False).eval().to(place)
    return network, tokenizer, weights_revision(folder)


def _device(name: str) -> torch.device:
    """A device by name; a UserError if this machine has none of that name."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"there is no device '{name}' here.", "Use auto, cpu, or cuda where torch finds one."
        ) from error


def _precision(name: str, place: torch.device) -> torch.dtype:
    """A dtype by name; a UserError if weights cannot have it."""
    if name == "auto":
        return torch.float32 if place.type == "cpu" else torch.bfloat16
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UserError(f"there is no dtype '{name}' for weights.", "Use auto, float32, bfloat16 or float16.")
    return found


def load_head(head: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Put tensors into a head; a UserError if they are not those of its form."""
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{where} does not fit the form of the head.", "Save the checkpoint again.") from error


def label_ids(tokenizer: Any, form: ModelForm) -> tuple[int, int]:
    """Ids of the wrong and the right label token.

    Raises:
        UserError: a label is not one token, is unknown to the tokenizer, or both are the same one.
    """
    found = []
    for label in (form.wrong_token, form.right_token):
        ids = tokenizer.encode(label, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise UserError(
                f"the label token {label!r} is {len(ids)} tokens of this tokenizer, ids {ids}, not one known token.",
                "Choose labels that are one token each.",
            )
        found.append(int(ids[0]))
    if found[0] == found[1]:
        raise UserError(
            f"the label tokens {form.wrong_token!r} and {form.right_token!r} are one and the same, id {found[0]}.",
            "Choose two labels that the tokenizer tells apart.",
        )
    return found[0], found[1]
