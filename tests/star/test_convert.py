"""GGUF conversion: special tokens agree with the chat template, and the whole way on a real file where there is one."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest

from data.errors import UserError
from star.checkpoints import LoadedModel, load_checkpoint
from star.convert import convert_gguf, settle_special_tokens
from star.encoding import encode_prompt

TEMPLATE = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
GGUF = os.environ.get("STEPSTAR_SMOLLM2_GGUF", "")


def test_the_end_of_a_turn_becomes_the_end_of_sequence_and_padding_is_another_token(tiny: LoadedModel) -> None:
    tokenizer, model = copy.deepcopy(tiny.tokenizer), copy.deepcopy(tiny.model)
    tokenizer.chat_template, tokenizer.eos_token, tokenizer.pad_token = TEMPLATE, "<s>", "</s>"
    settle_special_tokens(tokenizer, model)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "<unk>")
    for config in (model.config, model.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.unk_token_id)


def test_a_turn_that_ends_in_several_tokens_is_refused(tiny: LoadedModel) -> None:
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.chat_template = TEMPLATE.replace("</s>", "[END]")
    with pytest.raises(UserError, match=r"\[END\]"):
        settle_special_tokens(tokenizer, copy.deepcopy(tiny.model))


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_text('{"question": "1+1"}')
    with pytest.raises(UserError, match="not a GGUF file"):
        convert_gguf(file, tmp_path / "m")


@pytest.mark.slow
@pytest.mark.skipif(not GGUF, reason="STEPSTAR_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct.Q4_1.gguf")
def test_smollm2_becomes_a_plain_checkpoint_with_a_working_chat(tmp_path: Path) -> None:
    folder = convert_gguf(Path(GGUF), tmp_path / "m")
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    loaded = load_checkpoint(str(folder))
    assert loaded.tokenizer.eos_token == "<|im_end|>"
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id
    prompt = encode_prompt(loaded.tokenizer, "What is the capital of France?")
    import torch

    answer = loaded.model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(answer[0, len(prompt) :])
