"""A process reward model: a transformers backbone read at the last token of each step, one forward pass a solution.

Three forms, one interface: a classifier on the hidden state (`head`), the language model's own probabilities of two
label tokens (`tokens`), or its log-ratio to a reference (`implicit`). An outcome reward model is the same model trained
on the last step alone. Saved, it is an ordinary transformers folder plus `step_head.safetensors` (form `head`) or the
folder `reference` (form `implicit`), and `prm.json`; see `prm.model_config`.
"""

from __future__ import annotations

import copy
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError
from data.ids import content_id
from data.model_folder import check_folder, weights_revision
from data.store import writing
from prm.encode import EncoderConfig, StepEncoder
from prm.loading import label_ids, load_head, load_network
from prm.model_config import (
    HEAD,
    REFERENCE,
    ModelForm,
    PrmConfig,
    local_folder,
    read_config,
    write_config,
)
from prm.network import ClassHead, LogRatioHead, StepModel, TokenHead, step_probabilities, step_states

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


def build_prm(
    base: str,
    form: ModelForm | None = None,
    encoder: EncoderConfig | None = None,
    *,
    seed: int = 0,
    revision: str | None = None,
    dtype: str = "float32",
) -> LoadedPrm:
    """An untrained PRM on a causal language model.

    Args:
        base: folder or hub id of the language model.
        form: head, tokens or implicit.
        encoder: how steps are encoded; without it, the defaults of `EncoderConfig`.
        seed: of the head's weights.
        revision: hub commit, tag or branch of the base.
        dtype: of the weights; training in less than float32 loses small updates.

    Raises:
        UserError: the base cannot be loaded, or does not fit the form.
    """
    form = form or ModelForm()
    torch.manual_seed(seed)
    folder = str(local_folder(base, revision))
    network, tokenizer, weights = load_network(folder, form, dtype=dtype)
    config = PrmConfig(model=form, encoder=encoder or EncoderConfig(), base_model=base, base_revision=weights)
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
    reference = None
    if config.model.form == "implicit":
        reference, _, _ = load_network(str(folder / REFERENCE), config.model, device=device, dtype=dtype)
    loaded = assemble(network, tokenizer, config, path, reference=reference)
    if config.model.form == "head":
        if not (folder / HEAD).is_file():
            raise UserError(f"the PRM '{folder}' lacks its head, {HEAD}.", "Save it again, all of it.")
        load_head(loaded.model.head, load_file(str(folder / HEAD)), f"'{folder / HEAD}'")
    return loaded


def assemble(network: Any, tokenizer: Any, config: PrmConfig, name: str, *, reference: Any = None) -> LoadedPrm:
    """Put the read-out on a network.

    Args:
        network: a backbone for form `head`, else a causal language model.
        tokenizer: its own.
        config: form and encoder.
        name: of the model.
        reference: for form `implicit`, the language model to compare with; without it a copy of the network.

    Raises:
        UserError: the label tokens do not fit the tokenizer, the network changes its logits after its head, or the form
            has no third class.
    """
    form = config.model
    if form.form == "head":
        head: torch.nn.Module = ClassHead(network.config.get_text_config().hidden_size, form).to(network.device)
    else:
        for setting in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(network.config, setting, None) not in (None, 1, 1.0):
                raise UserError(f"tokens cannot be read from a model with {setting}.", "Use the form 'head'.")
        if form.classes == 3:
            raise UserError(f"the form '{form.form}' knows right and wrong alone.", "Use the form 'head'.")
        head = (
            TokenHead(network, label_ids(tokenizer, form))
            if form.form == "tokens"
            else LogRatioHead(network, copy.deepcopy(network) if reference is None else reference, form)
        )
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
        UserError: the folder holds something else, the disk is full, or it cannot be written.
    """
    from safetensors.torch import save_file

    if folder.exists() and any(folder.iterdir()) and not (folder / "prm.json").is_file():
        raise UserError(f"'{folder}' holds something that is no PRM checkpoint.", "Choose another folder.")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    with writing(folder):
        partial.mkdir(parents=True)
        loaded.model.network.save_pretrained(partial, safe_serialization=True)
        loaded.tokenizer.save_pretrained(partial)
        if loaded.config.model.form == "head":
            tensors = {name: tensor.contiguous() for name, tensor in loaded.model.head.state_dict().items()}
            save_file(tensors, str(partial / HEAD))
        revision = weights_revision(partial)
        if isinstance(loaded.model.head, LogRatioHead):
            loaded.model.head.reference.save_pretrained(partial / REFERENCE, safe_serialization=True)
            loaded.tokenizer.save_pretrained(partial / REFERENCE)
            form = loaded.config.model.model_dump_json(include={"beta", "per_step"})
            revision = content_id("implicit", revision, weights_revision(partial / REFERENCE), form)
        loaded.config = loaded.config.model_copy(update={"revision": revision})
        write_config(partial, loaded.config)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    return loaded.config
