"""Published PRMs: tiny random checkpoints in their layouts give the scores of the code that their cards print.

The reference below is written after the model cards: whole text, tokenizer, model, read-out at the step tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

from data.errors import UserError
from prm import load_scorer
from prm.scoring.base import ScoreItem

PROBLEM = "Sue has 3 pens, she buys 4 more.\nHow many? ½ 漢"
STEPS = ("Step 1: She has 3 + 4 = 7 pens.", "Step 2: So 7 - 0 is 7.\nIndeed", "Step 3: The answer is 7")
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>"]
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("S", "t"), ("St", "e"), ("Ste", "p"), (".", "Ċ")]
    symbols = [*alphabet, *(one + other for one, other in merges)]
    backend = Tokenizer(models.BPE({symbol: at for at, symbol in enumerate(symbols)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": QWEN_SPECIAL})
    tokenizer.chat_template = QWEN_CHAT
    return tokenizer


def qwen_checkpoint(folder: Path) -> tuple[Any, Any, Any]:
    """A checkpoint of `Qwen2ForProcessRewardModel`, with the remote code's entry in its configuration."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**SIZE, vocab_size=len(tokenizer))
    backbone = Qwen2Model(config).eval()
    head = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    backbone.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {f"model.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_file(
        weights | {f"score.{name}": tensor for name, tensor in head.state_dict().items()}, folder / "model.safetensors"
    )
    facts = json.loads((folder / "config.json").read_text()) | {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "auto_map": {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"},
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return tokenizer, backbone, head


def test_qwen_prm_scores_as_its_card_says(tmp_path: Path) -> None:
    tokenizer, backbone, head = qwen_checkpoint(tmp_path)
    turns = [
        {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
        {"role": "user", "content": PROBLEM},
        {"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    with torch.inference_mode():
        chances = head(backbone(ids).last_hidden_state).softmax(-1)
    expected = chances[ids == tokenizer.encode("<extra_0>")[0]][:, 1].tolist()
    scorer = load_scorer(str(tmp_path))
    assert len(expected) == len(STEPS)
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)
    many = scorer.score_batch([ScoreItem(PROBLEM, STEPS[:n]) for n in (1, 2, 3)])
    assert [one.scores for one in many] == [pytest.approx(expected[:n], abs=1e-5) for n in (1, 2, 3)]


def test_a_qwen_layout_without_its_head_or_its_tag_is_refused(tmp_path: Path) -> None:
    _, backbone, _ = qwen_checkpoint(tmp_path)
    backbone.save_pretrained(tmp_path / "headless")
    qwen_tokenizer().save_pretrained(tmp_path / "headless")
    with pytest.raises(UserError, match="does not fit the form"):
        load_scorer(str(tmp_path / "headless"), layout="qwen_prm")
    tokenizer = (tmp_path / "tokenizer.json").read_text().replace("<extra_0>", "<other>")
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    config = (tmp_path / "tokenizer_config.json").read_text().replace("<extra_0>", "<other>")
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(UserError, match="<extra_0>"):
        load_scorer(str(tmp_path))


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


def test_math_shepherd_scores_as_its_card_says(tmp_path: Path) -> None:
    tokenizer, model = shepherd_checkpoint(tmp_path)
    labels = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    ids = torch.tensor([tokenizer.encode(f"{PROBLEM} " + "\n".join(f"{step} ки" for step in STEPS))])
    with torch.inference_mode():
        chances = model(ids).logits[:, :, labels].softmax(-1)[:, :, 0]
    expected = chances[ids == tag].tolist()
    scorer = load_scorer(str(tmp_path), layout="math_shepherd")
    assert len(expected) == len(STEPS)
    assert scorer.loaded.encoder.encode(PROBLEM, STEPS).ids == ids[0].tolist()
    assert scorer.score(PROBLEM, STEPS).scores == pytest.approx(expected, abs=1e-5)


def test_math_shepherd_must_be_named_and_must_have_its_labels(tmp_path: Path) -> None:
    shepherd_checkpoint(tmp_path, labels="+*")
    with pytest.raises(UserError, match="math_shepherd"):
        load_scorer(str(tmp_path))
    with pytest.raises(UserError, match="label token '-'"):
        load_scorer(str(tmp_path), layout="math_shepherd")


def test_a_step_that_holds_the_tag_is_refused_by_name(tmp_path: Path) -> None:
    shepherd_checkpoint(tmp_path)
    scorer = load_scorer(str(tmp_path), layout="math_shepherd")
    with pytest.raises(UserError, match="separator_in_step"):
        scorer.score(PROBLEM, ["a ки", "b"])
