"""A process reward model: a transformers backbone read at the last token of each step, one forward pass a solution.

Two forms, one interface: a classifier on the hidden state (`head`), or the language model's own probabilities of two
label tokens (`tokens`). An outcome reward model is the same model trained on the last step alone. Saved, it is an
ordinary transformers folder plus `step_head.safetensors` (form `head`) and `prm.json`; see `prm.model_config`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError
from data.model_folder import check_folder, weights_revision
from prm.encode import EncoderConfig, StepEncoder
from prm.model_config import (
    HEAD,
    ModelForm,
    PrmConfig,
    local_folder,
    read_config,
    write_config,
)
from prm.network import ClassHead, StepModel, TokenHead, keep_layers, step_probabilities, step_states

__all__ = [
    "ClassHead",
    "LoadedPrm",
    "StepModel",
    "assemble",
    "build_prm",
    "label_ids",
    "load_head",
    "load_network",
    "load_prm",
    "save_prm",
    "step_probabilities",
    "step_states",
]


@dataclass(slots=True)
class LoadedPrm:
    """A PRM with all that scoring needs."""

    model: StepModel
    tokenizer: Any
    encoder: StepEncoder
    config: PrmConfig
    name: str


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


def build_prm(
    base: str, form: ModelForm | None = None, encoder: EncoderConfig | None = None, *, seed: int = 0
) -> LoadedPrm:
    """An untrained PRM on a causal language model.

    Args:
        base: folder or hub id of the language model.
        form: head or tokens.
        encoder: how steps are encoded; without it, the defaults of `EncoderConfig`.
        seed: of the head's weights.

    Raises:
        UserError: the base cannot be loaded, or does not fit the form.
    """
    form = form or ModelForm()
    torch.manual_seed(seed)
    network, tokenizer, revision = load_network(base, form)
    config = PrmConfig(model=form, encoder=encoder or EncoderConfig(), base_model=base, base_revision=revision)
    return assemble(network, tokenizer, config, base)


def load_prm(path: str, *, device: str = "auto", dtype: str = "auto") -> LoadedPrm:
    """Load a PRM checkpoint for scoring or further training.

    Args:
        path: its folder, or a hub id.
        device: `auto` (an accelerator if there is one) or a torch device.
        dtype: `auto` (bfloat16 on an accelerator, float32 elsewhere) or a torch dtype by name.

    Raises:
        UserError: the folder is incomplete, or has no `prm.json`.
    """
    from safetensors.torch import load_file

    folder = local_folder(path)
    check_folder(folder)
    config = read_config(folder)
    network, tokenizer, _ = load_network(str(folder), config.model, device=device, dtype=dtype)
    loaded = assemble(network, tokenizer, config, path)
    if config.model.form == "head":
        if not (folder / HEAD).is_file():
            raise UserError(f"the PRM '{folder}' lacks its head, {HEAD}.", "Save it again, all of it.")
        load_head(loaded.model.head, load_file(str(folder / HEAD)), f"'{folder / HEAD}'")
    return loaded


def load_head(head: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Put tensors into a head; a UserError if they are not those of its form."""
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{where} does not fit the form of the head.", "Save the checkpoint again.") from error


def load_network(path: str, form: ModelForm, *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any, str]:
    """Backbone (a causal LM for form `tokens`), tokenizer and revision; remote code is never run.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = local_folder(path)
    check_folder(folder)
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = (torch.float32 if place == "cpu" else torch.bfloat16) if dtype == "auto" else getattr(torch, dtype)
    kind = AutoModelForCausalLM if form.form == "tokens" else AutoModel
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    network = kind.from_pretrained(folder, dtype=precision, use_safetensors=True, trust_remote_code=False)
    if form.layers:
        keep_layers(network, form.layers)
    network.requires_grad_(False).eval().to(place)
    return network, tokenizer, weights_revision(folder)


def assemble(network: Any, tokenizer: Any, config: PrmConfig, name: str) -> LoadedPrm:
    """Put the read-out on a network.

    Raises:
        UserError: the label tokens do not fit the tokenizer, or the network changes its logits after its head.
    """
    if config.model.form == "tokens":
        for setting in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(network.config, setting, None) not in (None, 1, 1.0):
                raise UserError(f"label tokens cannot be read from a model with {setting}.", "Use the form 'head'.")
        head: torch.nn.Module = TokenHead(network, label_ids(tokenizer, config.model))
    else:
        head = ClassHead(network.config.get_text_config().hidden_size, config.model).to(network.device)
    head.requires_grad_(False)
    return LoadedPrm(StepModel(network, head), tokenizer, StepEncoder(tokenizer, config.encoder), config, name)


def save_prm(loaded: LoadedPrm, folder: Path) -> PrmConfig:
    """Save a PRM; the folder appears whole or not at all.

    Args:
        loaded: what to save; adapters must have been merged.
        folder: target; replaced if it is a PRM checkpoint.

    Returns:
        The configuration with the revision of the saved weights, which `loaded` gets too.

    Raises:
        UserError: the folder holds something else.
    """
    from safetensors.torch import save_file

    if folder.exists() and any(folder.iterdir()) and not (folder / "prm.json").is_file():
        raise UserError(f"'{folder}' holds something that is no PRM checkpoint.", "Choose another folder.")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    loaded.model.network.save_pretrained(partial, safe_serialization=True)
    loaded.tokenizer.save_pretrained(partial)
    if loaded.config.model.form == "head":
        tensors = {name: tensor.contiguous() for name, tensor in loaded.model.head.state_dict().items()}
        save_file(tensors, str(partial / HEAD))
    loaded.config = loaded.config.model_copy(update={"revision": weights_revision(partial)})
    write_config(partial, loaded.config)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return loaded.config
