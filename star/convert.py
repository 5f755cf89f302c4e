"""GGUF to a plain checkpoint.

Dequantized weights as safetensors, a config without the quantization entry, and a tokenizer whose end-of-sequence and
padding tokens agree with its chat template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import DependencyError, UserError
from star.checkpoints import LoadedModel, check_target, save_checkpoint


def convert_gguf(file: Path, folder: Path) -> Path:
    """Convert a GGUF file and return the folder.

    Raises:
        UserError: no such file, it is not of that format, the folder holds something else, or its tokenizer has no
            token that ends a chat turn.
        DependencyError: the package `gguf` is missing.
    """
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise DependencyError("gguf", "gguf")
    if not file.is_file():
        raise UserError(f"no file '{file}'.", "Give the path of a .gguf file.")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UserError(f"'{file}' is not a GGUF file.", "Give the path of a .gguf file.")
    check_target(folder)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = str(file.parent)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file.name)
    model = _plain(AutoModelForCausalLM.from_pretrained(source, gguf_file=file.name, dtype=torch.float32))
    settle_special_tokens(tokenizer, model)
    facts = {"made_by": "stepstar convert", "source_file": file.name, "source_bytes": file.stat().st_size}
    save_checkpoint(LoadedModel(model, tokenizer, file.stem, ""), folder, provenance=facts)
    return folder


def _plain(quantized: Any) -> Any:
    """The same weights in a model that knows nothing of quantization, which can be saved."""
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(quantized)(config)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    return model


def settle_special_tokens(tokenizer: Any, model: Any) -> None:
    """Make end-of-sequence the token that ends a chat turn, and padding a token of its own."""
    if tokenizer.chat_template:
        turn = tokenizer.apply_chat_template(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], tokenize=False
        )
        ending = turn.rstrip().rsplit("b", 1)[-1]
        ids = tokenizer(ending, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise UserError(
                f"the chat template ends a turn with {ending!r}, which is {len(ids)} tokens.",
                "Give a model whose chat turns end with one special token.",
            )
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ids[0])
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id) and tokenizer.unk_token:
        # A pad that equals the end of sequence makes other tools mask the real end away.
        tokenizer.pad_token = tokenizer.unk_token
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
