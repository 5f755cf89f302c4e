"""A read-out without its network gives, from the network's states, the scores of the whole model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from data.errors import UserError
from data.sources.base import RowError
from prm.model import load_prm, step_states
from prm.model_config import ModelForm
from prm.scoring.local import TransformersScorer
from prm.scoring.published import PUBLISHED, load_published
from prm.scoring.readout import load_readout
from tests.prm.scoring.checkpoints import (
    PROBLEM,
    STEPS,
    own_checkpoint,
    qwen_checkpoint,
    rlhflow_checkpoint,
    shepherd_checkpoint,
    skywork_checkpoint,
)


def gpt2_checkpoint(folder: Path) -> None:
    """A causal LM whose output embedding is its input embedding, by another name than elsewhere."""
    tokenizer, _ = rlhflow_checkpoint(folder)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        ("stepstar", own_checkpoint(ModelForm())),
        ("stepstar", own_checkpoint(ModelForm(head="mlp", classes=3))),
        ("stepstar", own_checkpoint(ModelForm(form="tokens"))),
        ("qwen_prm", qwen_checkpoint),
        ("math_shepherd", shepherd_checkpoint),
        ("skywork_prm", skywork_checkpoint),
        ("rlhflow_prm", rlhflow_checkpoint),
        ("rlhflow_prm", gpt2_checkpoint),
    ],
)
def test_states_become_the_scores_of_the_whole_model(
    tmp_path: Path, layout: str, make: Callable[[Path], object]
) -> None:
    folder = tmp_path / "prm"
    make(folder)
    if layout in PUBLISHED:
        loaded = load_published(PUBLISHED[layout], str(folder), device="cpu", dtype="float32")
    else:
        loaded = load_prm(str(folder))
    readout = load_readout(str(folder), layout)
    row = readout.encoder.encode(PROBLEM, STEPS)
    assert row == loaded.encoder.encode(PROBLEM, STEPS)
    assert readout.config == loaded.config
    with torch.inference_mode():
        states = step_states(loaded.model.decoder, [row])
    scores = TransformersScorer(loaded).score(PROBLEM, STEPS).scores
    found = map(readout.config.calibration.apply, readout.probabilities(states, row))
    assert list(found) == pytest.approx(scores, abs=1e-5)
    everywhere = torch.zeros(len(row.ids), states.shape[1])
    everywhere[row.step_ends] = states
    assert readout.probabilities(everywhere, row) == pytest.approx(readout.probabilities(states, row), abs=1e-6)
    for wrong in (states[:-1], states[:, :-1], states[0]):
        with pytest.raises(RowError, match="numbers of shape"):
            readout.probabilities(wrong, row)


def test_what_cannot_be_read_out_elsewhere_is_refused(tmp_path: Path) -> None:
    rlhflow_checkpoint(tmp_path)
    with pytest.raises(UserError, match="implicit_prm"):
        load_readout(str(tmp_path), "implicit_prm")
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(facts | {"final_logit_softcapping": 30.0}))
    with pytest.raises(UserError, match="final_logit_softcapping"):
        load_readout(str(tmp_path), "rlhflow_prm")
    (tmp_path / "config.json").write_text(json.dumps(facts | {"tie_word_embeddings": True}))
    gpt2_checkpoint(tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(facts | {"tie_word_embeddings": False}))
    with pytest.raises(UserError, match="no output embedding"):
        load_readout(str(tmp_path), "rlhflow_prm")
