"""A model smaller than the embedded one, for tests of the updates: 30,000 random weights in two layers."""

from __future__ import annotations

import pytest

from star.checkpoints import LoadedModel


@pytest.fixture(scope="session")
def small(tiny: LoadedModel) -> LoadedModel:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=len(tiny.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=tiny.tokenizer.bos_token_id,
        eos_token_id=tiny.tokenizer.eos_token_id,
        pad_token_id=tiny.tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).requires_grad_(False).eval()
    return LoadedModel(model, tiny.tokenizer, "small", "small")
