"""Model folders: what a name means, what a folder must hold, and the revision of its weights. Needs no torch.

A model is an ordinary transformers folder: config, safetensors, tokenizer. What it lacks is named before anything is
loaded, and its revision is a hash of what it computes with, so equal revisions mean equal weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.errors import UserError


def is_local(path: str) -> bool:
    """Whether a name means a folder rather than a hub id (`owner/name`)."""
    return Path(path).exists() or path.startswith((".", "/", "~")) or path.count("/") != 1


def check_folder(folder: Path) -> None:
    """Raise a UserError that names what a model folder lacks."""
    if not folder.is_dir():
        raise UserError(f"no model at '{folder}'.", "Give a folder, a hub id such as owner/name, or 'embedded'.")
    if (folder / "checkpoints").is_dir() and (folder / "manifest.json").is_file():
        raise UserError(f"'{folder}' is a run, not a model.", f"Give one of its models, '{folder}/checkpoints/NAME'.")
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(folder.glob("*.safetensors")):
        missing.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        missing.append("a tokenizer (tokenizer.json)")
    if missing:
        raise UserError(
            f"the model folder '{folder}' lacks {', '.join(missing)}.",
            "Save it again with `save_pretrained`, model and tokenizer both.",
        )
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    """Raise a UserError if a weights file is cut off: its header says how long it must be."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(file), framework="np"):
                pass
        except SafetensorError as error:
            raise UserError(f"the weights '{file}' are damaged ({error}).", "Copy or download them again.") from error


def weights_revision(folder: Path) -> str:
    """Hash over all weight files and the tokenizer of a folder, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer.json")]):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
