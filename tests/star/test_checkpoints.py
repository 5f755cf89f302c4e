"""Model folders: what is missing is named, what is saved loads again, and nothing is half there."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from pipelines.stages.policy import base_policy
from star.checkpoints import (
    EMBEDDED,
    PROVENANCE,
    LoadedModel,
    check_folder,
    load_checkpoint,
    save_checkpoint,
    weights_revision,
)


def read_provenance(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / PROVENANCE).read_text()))


@pytest.mark.parametrize(
    ("gone", "named"),
    [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer"), ("config.json", "config.json")],
)
def test_a_folder_that_lacks_a_part_names_it(tmp_path: Path, gone: str, named: str) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    (folder / gone).unlink()
    with pytest.raises(UserError, match=named):
        load_checkpoint(str(folder))


def test_a_process_reward_model_is_no_generator(tmp_path: Path) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    (folder / "prm.json").write_text("{}")
    with pytest.raises(UserError, match="process reward model"):
        load_checkpoint(str(folder))
    with pytest.raises(UserError, match="process reward model"):
        base_policy(str(folder), hub_revision=None, engine="vllm", batch_size=1)


def test_a_model_without_the_head_that_writes_is_no_generator(tiny: LoadedModel, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    config = copy.deepcopy(tiny.model.config)
    config.tie_word_embeddings = False
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no language model.*lm_head"):
        load_checkpoint(str(tmp_path))


def test_a_checkpoint_loads_as_it_was_saved_with_parent_and_revision(tiny: LoadedModel, tmp_path: Path) -> None:
    revision = save_checkpoint(tiny, tmp_path / "c", provenance={"parent": tiny.revision})
    again = load_checkpoint(str(tmp_path / "c"))
    assert again.revision == revision == weights_revision(EMBEDDED)
    assert read_provenance(tmp_path / "c") == {"parent": tiny.revision, "revision": revision}
    assert again.tokenizer.get_vocab() == tiny.tokenizer.get_vocab()
    for one, other in zip(tiny.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_revision_follows_the_weights(tiny: LoadedModel, tmp_path: Path) -> None:
    save_checkpoint(tiny, tmp_path / "c", provenance={})
    before = weights_revision(tmp_path / "c")
    file = tmp_path / "c/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert weights_revision(tmp_path / "c") != before


def test_a_save_that_was_cut_off_leaves_the_old_checkpoint_and_is_cleared(tiny: LoadedModel, tmp_path: Path) -> None:
    save_checkpoint(tiny, tmp_path / "c", provenance={"parent": "old"})
    (tmp_path / "c.partial").mkdir()
    (tmp_path / "c.partial/model.safetensors").write_bytes(b"half")
    assert read_provenance(tmp_path / "c")["parent"] == "old"
    save_checkpoint(tiny, tmp_path / "c", provenance={"parent": "new"})
    assert read_provenance(tmp_path / "c")["parent"] == "new"
    assert not (tmp_path / "c.partial").exists()


def test_pickled_weights_are_not_read(tiny: LoadedModel, tmp_path: Path) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save(tiny.model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_checkpoint(str(folder))


def test_the_embedded_model_records_how_it_was_made_and_is_small() -> None:
    facts = read_provenance(EMBEDDED)
    assert facts["made_by"] == "python -m star.embedded"
    assert facts["revision"] == weights_revision(EMBEDDED)
    assert {"seed", "losses", "plain_examples", "hinted_examples", "training"} <= set(facts)
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) < 4 << 20


def test_the_embedded_model_has_seen_no_test_problem() -> None:
    from data.sources.arithmetic import read_arithmetic
    from star.embedded import worked_examples

    seen = {prompt.split("=?")[0] for prompt, _ in worked_examples()}
    test = {
        row.prompt.split("=?")[0] for row in read_arithmetic({"n": 100, "difficulty": [1, 2, 3], "seed": 2}, "test")
    }
    assert not seen & test


def test_a_folder_of_something_else_is_never_replaced(tiny: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "years.tex").write_text("of work")
    with pytest.raises(UserError, match="thesis"):
        save_checkpoint(tiny, folder, provenance={})
    assert (folder / "years.tex").read_text() == "of work"
    file = tmp_path / "notes.txt"
    file.write_text("a file where a folder is meant")
    with pytest.raises(UserError, match="no checkpoint"):
        save_checkpoint(tiny, file, provenance={})


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "m")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_checkpoint("~/m").revision == weights_revision(EMBEDDED)


@pytest.mark.parametrize("kept", [0, 5, 100_000])
def test_weights_that_are_cut_off_are_named_before_anything_runs(tmp_path: Path, kept: int) -> None:
    folder = shutil.copytree(EMBEDDED, tmp_path / "m")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model\.safetensors' are damaged"):
        check_folder(folder)
