"""Tiny randomly initialised checkpoints of published PRMs: their architectures, tensor names, tokenizers, templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

from prm.calibration import Calibration
from prm.model import build_prm, save_prm
from prm.model_config import ModelForm, PrmConfig
from star.checkpoints import EMBEDDED

PROBLEM = "Sue has 3 pens, she buys 4 more.\nHow many? ½ 漢"
STEPS = ("Step 1: She has 3 + 4 = 7 pens.", "Step 2: So 7 - 0 is 7.\nIndeed", "Step 3: The answer is 7")
SIZE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
}
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


LLAMA_SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
LLAMA_CHAT = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def own_checkpoint(form: ModelForm) -> Callable[[Path], PrmConfig]:
    """Saves a PRM of ours whose head says something: a new one says 1/2 to everything."""

    def make(folder: Path) -> PrmConfig:
        loaded = build_prm(str(EMBEDDED), form)
        generator = torch.Generator().manual_seed(0)
        for weight in loaded.model.head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 4)
        loaded.config = loaded.config.model_copy(update={"calibration": Calibration(temperature=1.5)})
        return save_prm(loaded, folder)

    return make


def byte_level(merges: list[tuple[str, str]]) -> Tokenizer:
    """Byte-level BPE that cuts words as Qwen2.5 and Llama 3 do: line ends stay with the signs before them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(one + other for one, other in merges)]
    backend = Tokenizer(models.BPE({symbol: at for at, symbol in enumerate(symbols)}, merges))
    words = Regex(r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def qwen_tokenizer(**special: str) -> Any:
    backend = byte_level([("S", "t"), ("St", "e"), ("Ste", "p"), (".", "Ċ"), ("Ċ", "Ċ"), (".", "ĊĊ")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", **special
    )
    tokenizer.add_special_tokens({"additional_special_tokens": QWEN_SPECIAL})
    tokenizer.chat_template = QWEN_CHAT
    return tokenizer


def qwen_checkpoint(folder: Path) -> tuple[Any, Any, Any]:
    """A checkpoint of `Qwen2ForProcessRewardModel`, with the remote code's entry in its configuration."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**SIZE, vocab_size=len(tokenizer))
    backbone = Qwen2Model(config).eval()
    head = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    backbone.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {f"model.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_file(
        weights | {f"score.{name}": tensor for name, tensor in head.state_dict().items()}, folder / "model.safetensors"
    )
    facts = json.loads((folder / "config.json").read_text()) | {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
            "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return tokenizer, backbone, head


def shepherd_tokenizer(labels: str = "+-") -> Any:
    """SentencePiece BPE in Mistral's manner; ` ки` and the labels are one token each."""
    letters = sorted({*"".join(STEPS), *PROBLEM, *labels, *"ки▁"} - {" ", "\n", "½"})
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("к", "и"), ("▁", "ки"), *(("▁", label) for label in labels), ("S", "t"), ("▁", "St")]
    pieces += [one + other for one, other in merges]
    backend = Tokenizer(
        models.BPE(
            {piece: at for at, piece in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def shepherd_checkpoint(folder: Path, labels: str = "+-") -> tuple[Any, Any]:
    torch.manual_seed(0)
    tokenizer = shepherd_tokenizer(labels)
    model = MistralForCausalLM(MistralConfig(**SIZE, vocab_size=len(tokenizer), sliding_window=4096)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, model


def skywork_checkpoint(folder: Path) -> tuple[Any, Any, Any]:
    """A checkpoint of `Qwen2ForPrmModel`: a causal LM and a value head in one weights file."""
    torch.manual_seed(2)
    tokenizer = qwen_tokenizer(bos_token="<|endoftext|>")
    model = Qwen2ForCausalLM(Qwen2Config(**SIZE, vocab_size=len(tokenizer), initializer_range=0.5)).eval()
    value = torch.nn.Linear(64, 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = dict(model.state_dict()) | {f"v_head.summary.{name}": one for name, one in value.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    facts = json.loads((folder / "config.json").read_text()) | {"architectures": ["Qwen2ForPrmModel"]}
    (folder / "config.json").write_text(json.dumps(facts))
    return tokenizer, model, value


def rlhflow_checkpoint(folder: Path, chat: str = LLAMA_CHAT, merges: list[tuple[str, str]] | None = None) -> Any:
    """A checkpoint of RLHFlow's Llama3.1-8B-PRM: a causal LM with Llama 3.1's conversation."""
    torch.manual_seed(3)
    backend = byte_level(merges or [("Ċ", "Ċ"), ("?", "Ċ")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    tokenizer.add_special_tokens({"additional_special_tokens": LLAMA_SPECIAL})
    tokenizer.chat_template = chat
    model = LlamaForCausalLM(LlamaConfig(**SIZE, vocab_size=len(tokenizer), initializer_range=0.5)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, model


def causal_checkpoint(folder: Path, seed: int) -> tuple[Any, Any]:
    """A causal LM with Qwen's chat template: either half of an implicit PRM."""
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    model = Qwen2ForCausalLM(Qwen2Config(**SIZE, vocab_size=len(tokenizer), initializer_range=0.5)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, model
