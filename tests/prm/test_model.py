"""The model: what is saved is what is loaded, read at the ends of steps, and nothing ambiguous is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from prm.encode import EncoderConfig
from prm.model import LoadedPrm, build_prm, label_ids, load_prm, save_prm, step_probabilities, step_states
from prm.model_config import ModelForm
from star.checkpoints import EMBEDDED

PROBLEM, STEPS = "12+3-4=?", ["12+3=15", "15-4=11", "#### 11"]


def built(seed: int = 0, **form: object) -> LoadedPrm:
    torch.set_num_threads(1)
    return build_prm(str(EMBEDDED), ModelForm(**form), seed=seed)  # type: ignore[arg-type]


def scores(loaded: LoadedPrm) -> torch.Tensor:
    with torch.inference_mode():
        return step_probabilities(loaded.model([loaded.encoder.encode(PROBLEM, STEPS)]))


FORMS = [{}, {"head": "mlp", "classes": 3}, {"form": "tokens"}]


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_gives_the_scores_of_the_one_that_was_saved(tmp_path: Path, form: dict[str, object]) -> None:
    loaded = built(**form)
    if loaded.config.model.form == "head":
        torch.manual_seed(1)
        for weight in loaded.model.head.parameters():
            weight.normal_()
    config = save_prm(loaded, tmp_path / "prm")
    again = load_prm(str(tmp_path / "prm"))
    assert torch.equal(scores(again), scores(loaded))
    assert again.config == config == loaded.config
    assert len(config.revision) == 16
    assert config.base_revision == json.loads((EMBEDDED / "provenance.json").read_text())["revision"]


def test_a_shortened_backbone_is_its_first_layers_and_stays_so_when_saved(tmp_path: Path) -> None:
    whole, short = built(), built(layers=2)
    row = whole.encoder.encode(PROBLEM, STEPS)
    with torch.inference_mode():
        inner = whole.model.decoder(torch.tensor([row.ids]), output_hidden_states=True).hidden_states[2]
        expected = whole.model.decoder.norm(inner)[0, row.step_ends]
        assert (step_states(short.model.decoder, [row]) - expected).abs().max() < 1e-5
        save_prm(short, tmp_path / "prm")
        again = load_prm(str(tmp_path / "prm"))
        assert (step_states(again.model.decoder, [row]) - expected).abs().max() < 1e-5
    with pytest.raises(UserError, match="3 layers"):
        built(layers=4)


def test_an_untrained_head_says_one_half_for_two_classes() -> None:
    assert scores(built()).tolist() == [0.5, 0.5, 0.5]


def test_the_backbone_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    loaded = built(form="tokens")
    save_prm(loaded, tmp_path / "prm")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "prm")
    row = loaded.encoder.encode(PROBLEM, STEPS)
    logits = plain(torch.tensor([row.ids])).logits[0, row.step_ends]
    wrong, right = label_ids(loaded.tokenizer, loaded.config.model)
    expected = logits[:, [right, wrong]].softmax(-1)[:, 0]
    assert (scores(loaded) - expected).abs().max() < 1e-6


def test_left_padding_gives_the_states_of_right_padding() -> None:
    loaded = built()
    rows = [loaded.encoder.encode(PROBLEM, STEPS[:n]) for n in (1, 3, 2)]
    with torch.inference_mode():
        left, right = (step_states(loaded.model.decoder, rows, side) for side in ("left", "right"))
        single = torch.cat([step_states(loaded.model.decoder, [row]) for row in rows])
    assert (left - right).abs().max() < 1e-4
    assert (single - right).abs().max() < 1e-4


def test_a_checkpoint_without_its_description_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"no prm\.json") as error:
        load_prm(str(EMBEDDED))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("unknown key", "surprise: Extra"),
        ("no head", "lacks its head"),
        ("other head", "does not fit"),
        ("no folder", "no model"),
    ],
)
def test_a_damaged_checkpoint_says_what_is_wrong(tmp_path: Path, harm: str, message: str) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "prm"
    save_prm(built(), folder)
    if harm == "unknown key":
        content = json.loads((folder / "prm.json").read_text()) | {"surprise": 1}
        (folder / "prm.json").write_text(json.dumps(content))
    elif harm == "no head":
        (folder / "step_head.safetensors").unlink()
    elif harm == "other head":
        save_file({"score.0.weight": torch.zeros(1)}, str(folder / "step_head.safetensors"))
    else:
        folder = tmp_path / "nothing"
    with pytest.raises(UserError, match=message):
        load_prm(str(folder))


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("++", "-"), "'\\+\\+' is 2 tokens"), (("+", "+"), "one and the same"), (("é", "-"), "'é' is 1 tokens")],
)
def test_label_tokens_that_are_not_one_distinct_id_each_are_refused_by_name(
    labels: tuple[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        built(form="tokens", right_token=labels[0], wrong_token=labels[1])


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no PRM checkpoint"):
        save_prm(built(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_encoder_of_the_training_is_the_encoder_of_the_scoring(tmp_path: Path) -> None:
    loaded = build_prm(str(EMBEDDED), encoder=EncoderConfig(separator=" #", max_tokens=99))
    save_prm(loaded, tmp_path / "prm")
    again = load_prm(str(tmp_path / "prm"))
    assert again.encoder.encode(PROBLEM, ["a", "b"]) == loaded.encoder.encode(PROBLEM, ["a", "b"])
    assert again.encoder.config.max_tokens == 99


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"device": "cuda:9"}, "no device 'cuda:9'"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"dtype": "float17"}, "no dtype 'float17'"),
        ({"dtype": "int8"}, "no dtype 'int8'"),
    ],
)
def test_a_device_or_dtype_that_is_not_there_is_named(tmp_path: Path, place: dict[str, str], message: str) -> None:
    save_prm(built(), tmp_path / "prm")
    with pytest.raises(UserError, match=message):
        load_prm(str(tmp_path / "prm"), **place)


def test_a_name_that_is_no_folder_is_said_to_be_none() -> None:
    with pytest.raises(UserError, match="no model folder 'embedded'") as caught:
        load_prm("embedded")
    assert "'embedded'" not in str(caught.value).partition("folder 'embedded'")[2]
