"""Fine-tuning: the loss sees the completion only, and how a batch is cut changes nothing."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import UserError
from prm.training_state import TrainingState
from star.checkpoints import LoadedModel
from star.encoding import decode_tokens, encode_completion, encode_prompt
from star.packing import Layout, attention_for, completion_loss, forward_passes
from star.sft import Row, SftConfig, batch_order, fine_tune, learning_rate_at


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
    assert [SftConfig(steps=40).steps_of_round(round_) for round_ in range(1, 11)] == [
        40, 48, 57, 69, 82, 99, 119, 143, 171, 206,
    ]  # fmt: skip
    assert SftConfig(steps=100, growth=1.15).steps_of_round(2) == 115


def test_the_loss_is_the_sum_over_completion_tokens_alone(tiny: LoadedModel) -> None:
    batch = rows(tiny)
    expected = 0.0
    for row in batch:
        logits = tiny.model(torch.tensor([row.prompt + row.completion])).logits[0]
        logprobs = torch.log_softmax(logits, -1)
        for place, token in enumerate(row.completion):
            expected -= logprobs[len(row.prompt) + place - 1, token].item()
    assert completion_loss(tiny.model, [[row] for row in batch], 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_content_of_padding_changes_nothing(tiny: LoadedModel) -> None:
    losses = {completion_loss(tiny.model, [[row] for row in rows(tiny)], pad).item() for pad in (0, 2, 50)}
    assert max(losses) - min(losses) < 1e-4


def gradients(model: Any, batch: list[Row], layout: Layout, size: int) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a batch, accumulated over forward passes of at most `size` rows."""
    model.requires_grad_(True).zero_grad()
    total = 0.0
    with attention_for(model, layout):
        for lines in forward_passes(batch, layout, size):
            loss = completion_loss(model, lines, 0, layout) / sum(row.n_targets for row in batch)
            loss.backward()
            total += loss.item()
    return total, torch.cat([weight.grad.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("layout", list(Layout))
def test_accumulated_loss_and_gradient_are_those_of_the_whole_batch(tiny: LoadedModel, layout: Layout) -> None:
    model, batch = copy.deepcopy(tiny.model), rows(tiny) * 2
    loss, gradient = gradients(model, batch, Layout.PADDED, 6)
    for size in (1, 2, 4):
        loss_of_parts, gradient_of_parts = gradients(model, batch, layout, size)
        assert loss_of_parts == pytest.approx(loss, abs=1e-6)
        assert (gradient_of_parts - gradient).abs().max().item() < 1e-6


def test_the_head_computes_target_positions_only(tiny: LoadedModel) -> None:
    seen: list[tuple[int, ...]] = []
    model, batch = copy.deepcopy(tiny.model), rows(tiny)
    model.lm_head.register_forward_hook(lambda _, __, logits: seen.append(tuple(logits.shape)))
    completion_loss(model, [[row] for row in batch], 0)
    assert seen == [(sum(len(row.completion) for row in batch), model.config.vocab_size)]


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


def test_lora_trains_the_named_layers_alone(tiny: LoadedModel) -> None:
    config = SftConfig(batch_size=3, lora_rank=2, lora_alpha=1, lora_targets=["q_proj"], max_epochs=100)
    model, _ = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=3, pad=0, seed=0)
    before = dict(tiny.model.named_parameters())
    changed = {
        name.split(".")[-2] for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert changed == {"q_proj"}


def test_lora_on_a_layer_that_is_not_there_is_a_clear_error(tiny: LoadedModel) -> None:
    config = SftConfig(lora_rank=2, lora_targets=["no_such_layer"])
    with pytest.raises(UserError, match="lora_targets"):
        fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=1, pad=0, seed=0)


@pytest.mark.parametrize("rank", [0, 4])
def test_gradient_checkpointing_changes_no_bit(tiny: LoadedModel, rank: int) -> None:
    models = []
    for checkpointing in (False, True):
        config = SftConfig(batch_size=3, max_epochs=100, lora_rank=rank, gradient_checkpointing=checkpointing)
        models.append(fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=3, pad=0, seed=0)[0])
    assert all(torch.equal(*pair) for pair in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert not models[1].is_gradient_checkpointing


def test_bfloat16_trains_float32_weights_with_nearly_the_same_loss(tiny: LoadedModel) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = SftConfig(batch_size=3, max_epochs=100, precision=precision)
        model, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=4, pad=0, seed=0)
        losses[precision] = report.losses
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.05)


def test_every_row_is_seen_once_a_pass_the_last_small_batch_included() -> None:
    order = batch_order(7, batch_size=3, steps=3, seed=0)
    assert sorted(row for batch in order for row in batch) == list(range(7))
    assert batch_order(7, 3, 6, 0) != batch_order(7, 3, 6, 1)


def test_epochs_are_capped_for_a_tiny_round(tiny: LoadedModel) -> None:
    config = SftConfig(batch_size=3, max_epochs=2)
    _, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny), config, steps=500, pad=0, seed=0)
    assert report.steps == 2


def test_a_loss_that_is_no_number_stops_before_the_update_and_names_the_row(tiny: LoadedModel) -> None:
    model, batch = copy.deepcopy(tiny.model), rows(tiny)
    # A token of its own, with an embedding of its own, spoils one row and no other.
    bad = Row([batch[0].prompt[0], 3], [3, 3], name="spoilt")
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = math.inf
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(UserError, match=r"became nan at step 1, on 1 of its 4 rows: spoilt"):
        fine_tune(model, [*batch, bad], SftConfig(batch_size=4), steps=1, pad=0, seed=0)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert model.config._attn_implementation == tiny.model.config._attn_implementation


def test_a_gradient_that_is_no_number_stops_before_the_update(tiny: LoadedModel) -> None:
    model = copy.deepcopy(tiny.model)
    model.model.norm.register_full_backward_hook(lambda _, gradients, __: tuple(math.inf * part for part in gradients))
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises(UserError, match="gradient is no longer finite at step 1"):
        fine_tune(model, rows(tiny), SftConfig(batch_size=3), steps=1, pad=0, seed=0)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


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


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("rank", [0, 4])
def test_a_training_that_was_stopped_goes_on_to_equal_bits(
    tiny: LoadedModel, tmp_path: Path, rank: int, packing: bool
) -> None:
    # With dropout, the bits depend on the state of the random number generator too.
    base = copy.deepcopy(tiny.model)
    for layer in base.model.layers:
        layer.self_attn.attention_dropout = 0.1
    config = SftConfig(batch_size=2, max_epochs=100, lora_rank=rank, packing=packing, save_every_s=0)
    whole, report = fine_tune(copy.deepcopy(base), rows(tiny), config, steps=9, pad=0, seed=3)
    state = TrainingState(tmp_path / "t.safetensors", key="k", every_s=0)

    def stop(step: int, _: int, __: float) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(copy.deepcopy(base), rows(tiny), config, steps=9, pad=0, seed=3, state=state, on_step=stop)
    seen: list[int] = []
    resumed, again = fine_tune(
        copy.deepcopy(base),
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


def run_out(model: Any, *, above: int = 1 << 30, at_pass: int = 0) -> None:
    """Let passes over more than `above` tokens, or the pass of a number, run out of memory."""
    passes = 0

    def check(_: Any, __: Any, given: dict[str, Any]) -> None:
        nonlocal passes
        if not torch.is_grad_enabled():
            return  # The trial of the packed layout is no pass.
        passes += 1
        if given["input_ids"].numel() > above or passes == at_pass:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.register_forward_pre_hook(check, with_kwargs=True)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("limit", [{"above": 60}, {"at_pass": 4}])
def test_passes_that_do_not_fit_into_memory_are_halved_and_said_so_with_the_same_result(
    tiny: LoadedModel, packing: bool, limit: dict[str, int]
) -> None:
    config = SftConfig(batch_size=6, micro_batch_size=3, max_epochs=100, packing=packing)
    short = copy.deepcopy(tiny.model)
    run_out(short, **limit)
    model, report = fine_tune(short, rows(tiny) * 2, config, steps=4, pad=0, seed=0)
    other, plain = fine_tune(copy.deepcopy(tiny.model), rows(tiny) * 2, config, steps=4, pad=0, seed=0)
    assert report.note == "memory ran out: forward passes of 1 rows instead of 3; the loss is the same"
    assert plain.note == ""
    assert report.losses == pytest.approx(plain.losses, abs=1e-5)
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        assert (one - another).abs().max().item() < 1e-5


def test_a_row_that_does_not_fit_into_memory_is_a_clear_error(tiny: LoadedModel) -> None:
    model = copy.deepcopy(tiny.model)
    run_out(model, above=20)
    with pytest.raises(UserError, match=r"not enough memory .* `sft.micro_batch_size` 1\. Set `sft\.gradient_check"):
        fine_tune(model, rows(tiny), SftConfig(batch_size=3), steps=2, pad=0, seed=0)
    assert all(map(torch.equal, model.parameters(), tiny.model.parameters()))


def test_a_resumed_training_keeps_the_smaller_passes_and_so_the_bits(tiny: LoadedModel, tmp_path: Path) -> None:
    config, ends = SftConfig(batch_size=6, micro_batch_size=6, max_epochs=100), []
    for stop_at in (0, 3):
        state = TrainingState(tmp_path / f"{stop_at}.safetensors", key="k", every_s=0)

        def stop(step: int, _: int, __: float, stop_at: int = stop_at) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        short = copy.deepcopy(tiny.model)
        run_out(short, at_pass=2)
        options: Any = {"steps": 5, "pad": 0, "seed": 0, "state": state}
        with suppress(KeyboardInterrupt):
            model, _ = fine_tune(short, rows(tiny) * 2, config, on_step=stop, **options)
        if stop_at:
            model, report = fine_tune(copy.deepcopy(tiny.model), rows(tiny) * 2, config, **options)
            assert "forward passes of 3 rows" in report.note
        ends.append(model)
    assert all(map(torch.equal, ends[0].parameters(), ends[1].parameters()))
