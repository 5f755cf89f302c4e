"""Fine-tuning: the loss sees the completion only, and how a batch is cut changes nothing."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from star.checkpoints import LoadedModel
from star.encoding import decode_tokens, encode_completion, encode_prompt, pad_id
from star.sft import Row, SftConfig, batch_order, completion_loss, fine_tune, learning_rate_at
from star.training_state import TrainingState


def rows(tiny: LoadedModel) -> list[Row]:
    pairs = [
        ("12+3=?\n", "12+3=15\n#### 15"),
        ("40-5+2=?\n", "40-5=35\n35+2=37\n#### 37"),
        ("9+9=?\n", "9+9=18\n#### 18"),
    ]
    return [
        Row(encode_prompt(tiny.tokenizer, prompt), encode_completion(tiny.tokenizer, text)) for prompt, text in pairs
    ]


def test_the_step_schedule_is_that_of_the_paper() -> None:
    assert [SftConfig(steps=40).steps_of_round(round_) for round_ in (1, 2, 3, 4)] == [40, 48, 57, 69]


def test_the_loss_is_the_sum_over_completion_tokens_alone(tiny: LoadedModel) -> None:
    batch = rows(tiny)
    expected = 0.0
    for row in batch:
        logits = tiny.model(torch.tensor([row.prompt + row.completion])).logits[0]
        logprobs = torch.log_softmax(logits, -1)
        for place, token in enumerate(row.completion):
            expected -= logprobs[len(row.prompt) + place - 1, token].item()
    assert completion_loss(tiny.model, batch, 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_content_of_padding_changes_nothing(tiny: LoadedModel) -> None:
    losses = {completion_loss(tiny.model, rows(tiny), pad).item() for pad in (0, 2, 50)}
    assert max(losses) - min(losses) < 1e-4


def test_micro_batches_give_the_weights_of_the_whole_batch(tiny: LoadedModel) -> None:
    trained = []
    for size in (3, 1):
        config = SftConfig(batch_size=3, micro_batch_size=size, max_epochs=100)
        model, _ = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=3, pad=pad_id(tiny.tokenizer), seed=1)
        trained.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert (trained[0] - trained[1]).abs().max().item() < 1e-4


def test_training_twice_gives_equal_bits(tiny: LoadedModel) -> None:
    config = SftConfig(batch_size=2, max_epochs=100)
    models = [fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=4, pad=0, seed=3)[0] for _ in range(2)]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_lora_trains_and_merges_into_a_plain_model(tiny: LoadedModel) -> None:
    config = SftConfig(batch_size=3, lora_rank=4, max_epochs=100, learning_rate=1e-2)
    model, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=8, pad=0, seed=0)
    assert type(model) is type(tiny.model)
    assert set(model.state_dict()) == set(tiny.model.state_dict())
    assert report.losses[-1] < report.losses[0]


def test_every_row_is_seen_once_a_pass_the_last_small_batch_included() -> None:
    order = batch_order([3, 1, 4, 1, 5, 9, 2], batch_size=3, steps=3, seed=0)
    assert sorted(row for batch in order for row in batch) == list(range(7))
    assert batch_order([1] * 7, 3, 6, 0) != batch_order([1] * 7, 3, 6, 1)


def test_epochs_are_capped_for_a_tiny_round(tiny: LoadedModel) -> None:
    config = SftConfig(batch_size=3, max_epochs=2)
    _, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=500, pad=0, seed=0)
    assert report.steps == 2


def test_a_loss_that_is_no_number_stops_before_the_update(tiny: LoadedModel) -> None:
    model = copy.deepcopy(tiny.model)
    with torch.no_grad():
        next(model.parameters())[0, 0] = math.nan
    before = [weight.clone() for weight in list(model.parameters())[1:]]
    batch = [Row([0], [0, 0])]
    with pytest.raises(UserError, match="learning_rate"):
        fine_tune(model, batch, SftConfig(), steps=1, pad=0, seed=0)
    assert all(torch.equal(old, new) for old, new in zip(before, list(model.parameters())[1:], strict=True))


def test_no_rows_is_a_clear_error(tiny: LoadedModel) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        fine_tune(copy.deepcopy(tiny.model), [], SftConfig(), steps=1, pad=0, seed=0)


def test_the_learning_rate_rises_then_falls_to_a_tenth() -> None:
    config = SftConfig(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate_at(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.1)


def test_prompt_and_completion_round_trip_through_the_tokenizer(tiny: LoadedModel) -> None:
    text = "12+3=15\n#### 15"
    ids = encode_completion(tiny.tokenizer, text)
    assert ids[-1] == tiny.tokenizer.eos_token_id
    assert decode_tokens(tiny.tokenizer, ids) == text
    assert encode_prompt(tiny.tokenizer, "1+1=?\n")[0] == tiny.tokenizer.bos_token_id


@pytest.mark.parametrize("rank", [0, 4])
def test_a_training_that_was_stopped_goes_on_to_equal_bits(tiny: LoadedModel, tmp_path: Path, rank: int) -> None:
    config = SftConfig(batch_size=2, max_epochs=100, lora_rank=rank, save_every_s=0)
    whole, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=9, pad=0, seed=3)
    state = TrainingState(tmp_path / "t.safetensors", key="k", every_s=0)

    def stop(step: int, _: int, __: float) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=9, pad=0, seed=3, state=state, on_step=stop)
    seen: list[int] = []
    resumed, again = fine_tune(
        copy.deepcopy(tiny.model),
        rows(tiny),
        config,
        steps=9,
        pad=0,
        seed=3,
        state=state,
        on_step=lambda step, _, __: seen.append(step),
    )
    assert seen == [5, 6, 7, 8, 9]
    assert again.losses == report.losses
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("harm", ["other key", "cut off"])
def test_a_state_of_another_training_or_a_damaged_one_is_not_used(tiny: LoadedModel, tmp_path: Path, harm: str) -> None:
    config, file = SftConfig(batch_size=2, max_epochs=100), tmp_path / "t.safetensors"
    fine_tune(
        copy.deepcopy(tiny.model),
        rows(tiny),
        config,
        steps=3,
        pad=0,
        seed=3,
        state=TrainingState(file, key="k", every_s=0),
    )
    if harm == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    state = TrainingState(file, key="k" if harm == "cut off" else "other", every_s=0)
    model, _ = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=3, pad=0, seed=3, state=state)
    plain, _ = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=3, pad=0, seed=3)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
