"""Model folders: loading with errors that say what is missing, saving with provenance and parent.

A checkpoint is an ordinary transformers folder (safetensors, tokenizer) plus `provenance.json`. Weights are only ever
read from safetensors, remote code is never run. `embedded` and `embedded-addition` name models that ship with the
package.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.model_folder import check_folder, is_local, weights_revision
from data.store import writing
from prm.model_config import FILE as PRM_FILE

EMBEDDED = Path(__file__).parent / "assets" / "tiny"
"""Folder of the embedded model; made by `python -m star.embedded`."""
_SHIPPED = {"embedded": EMBEDDED, "embedded-addition": EMBEDDED.with_name("addition")}
"""Model names that mean a folder of this package."""

PROVENANCE = "provenance.json"


@dataclass(slots=True)
class LoadedModel:
    """A causal LM with its tokenizer."""

    model: Any
    tokenizer: Any
    name: str
    revision: str
    """First 16 hexadecimal digits of the hash over the weight files, or the hub commit."""


def resolve(name: str) -> str:
    """A model name as a path or hub id: that of an embedded model becomes its folder."""
    return str(_SHIPPED[name]) if name in _SHIPPED else os.path.expanduser(name)


def check_generator(folder: Path) -> None:
    """As `check_folder`, and a UserError if the folder is a PRM's: many a PRM is a language model that would draw."""
    check_folder(folder)
    if (folder / PRM_FILE).is_file():
        raise UserError(f"'{folder}' is a process reward model, which scores steps.", "Give a model that writes them.")


def load_checkpoint(
    name: str, *, revision: str | None = None, dtype: str = "auto", device: str = "auto"
) -> LoadedModel:
    """Load a causal LM for inference or training.

    Args:
        name: `embedded`, `embedded-addition`, a local folder, or a hub id.
        revision: hub commit, tag or branch.
        dtype: `float32`, `bfloat16`, or `auto` (bfloat16 on a GPU, float32 elsewhere).
        device: a torch device, or `auto` (an accelerator if there is one).

    Raises:
        UserError: the folder is incomplete or no language model's, or the hub cannot be reached.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    # Our own progress lines say what goes on; a bar for each load would tear them.
    logging.disable_progress_bar()
    path = resolve(name)
    if is_local(path):
        check_generator(Path(path))
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = {"auto": torch.bfloat16 if place == "cuda" else torch.float32}.get(dtype) or getattr(torch, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        model, report = AutoModelForCausalLM.from_pretrained(
            path, revision=revision, dtype=precision, use_safetensors=True, output_loading_info=True
        )
    except OSError as error:
        raise _not_loaded(name, error) from error
    if absent := sorted(report["missing_keys"]):
        # Drawn at random they would be: a classifier's or a reward model's folder has no head that writes.
        raise UserError(
            f"'{name}' is no language model: it has no weights for {absent[0]} ({len(absent)} absent).",
            "Give a model that writes text, with all its files.",
        )
    tokenizer.padding_side = "left"
    model.requires_grad_(False).eval().to(place)
    commit = getattr(model.config, "_commit_hash", None)
    return LoadedModel(model, tokenizer, name, commit or weights_revision(Path(path)))


def save_checkpoint(loaded: LoadedModel, folder: Path, *, provenance: dict[str, Any]) -> str:
    """Save model, tokenizer and provenance; the folder appears whole or not at all.

    Args:
        loaded: what to save; adapters must have been merged.
        folder: target; replaced if it is a checkpoint.
        provenance: parent, data hash, training settings; plain JSON.

    Returns:
        The revision of the saved weights.

    Raises:
        UserError: the folder holds something else, the disk is full, or it cannot be written.
    """
    check_target(folder)
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        remove_tree(partial)
    with writing(folder):
        partial.mkdir(parents=True)
        loaded.model.save_pretrained(partial, safe_serialization=True)
        loaded.tokenizer.save_pretrained(partial)
        revision = weights_revision(partial)
        (partial / PROVENANCE).write_text(json.dumps({**provenance, "revision": revision}, indent=1, sort_keys=True))
        if folder.exists():
            remove_tree(folder)
        os.replace(partial, folder)
    return revision


def check_target(folder: Path) -> None:
    """Raise a UserError if a checkpoint must not be saved there: asked before what takes long, and when it is saved."""
    if folder.is_file() or (folder.exists() and any(folder.iterdir()) and not (folder / PROVENANCE).is_file()):
        raise UserError(f"'{folder}' holds something that is no checkpoint of stepstar.", "Choose another folder.")


def hub_commit(name: str, revision: str | None) -> str:
    """The commit that a hub model's branch or tag points to now.

    Raises:
        UserError: the hub cannot be reached, or has no such model.
    """
    from transformers import AutoConfig

    try:
        # The configuration is small, is needed anyway, and carries the commit that it came from.
        return str(AutoConfig.from_pretrained(name, revision=revision)._commit_hash)
    except OSError as error:
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: OSError) -> UserError:
    return UserError(
        f"cannot load the model '{name}': {str(error).splitlines()[0]}",
        "Check the name and the network, or download it and give its folder.",
    )


def remove_tree(folder: Path) -> None:
    """Delete a folder that this project made."""
    import shutil

    shutil.rmtree(folder)
