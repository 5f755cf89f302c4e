"""Packing: an example in company computes what it computes alone, and a training with it is the same training."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from star.checkpoints import LoadedModel
from star.packing import (
    Layout,
    attention_for,
    choose_layout,
    collate,
    completion_loss,
    first_fit,
    forward_passes,
    target_logits,
)
from star.sft import Row, SftConfig, fine_tune

PACKED = (Layout.SPLIT, Layout.MASKED)
SIZE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def draw_rows(n: int, seed: int, longest: int = 40) -> list[Row]:
    """Rows of random tokens; the first three have no prompt, a prompt of one token, a completion of one token."""
    rng = random.Random(seed)
    sizes = [(0, 4), (1, 3), (5, 1), *((rng.randint(1, 9), rng.randint(1, longest)) for _ in range(n - 3))]
    return [Row(*([rng.randint(3, 59) for _ in range(size)] for size in pair)) for pair in sizes[:n]]


def on_lines(rows: Sequence[Row], layout: Layout) -> list[list[Row]]:
    """All rows in one forward pass, in order, on one line or two."""
    middle = len(rows) // 2
    return [[*rows]] if layout is Layout.SPLIT else [[*rows[:middle]], [*rows[middle:]]]


def logits_of(model: Any, lines: list[list[Row]], layout: Layout) -> Any:
    """Logits at the targets of each row, rows in order."""
    with attention_for(model, layout):
        logits = target_logits(model, collate(lines, 0, "cpu"), layout)
    return logits.split([row.n_targets for line in lines for row in line])


def random_model(kind: str, **changes: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZE | changes)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 80))
def test_first_fit_places_each_example_once_and_overfills_no_pack(lengths: list[int], capacity: int) -> None:
    packs = first_fit(lengths, capacity)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    loads = [sum(lengths[index] for index in pack) for pack in packs]
    assert all(load <= capacity or len(pack) == 1 for load, pack in zip(loads, packs, strict=True))
    # No two packs would fit into one: what any-fit packing guarantees.
    assert all(one + other > capacity for at, one in enumerate(loads) for other in loads[at + 1 :])


@given(st.integers(3, 30), st.integers(0, 9), st.integers(1, 8), st.sampled_from(list(Layout)))
def test_forward_passes_hold_each_row_once_within_the_size_asked_for(
    n: int, seed: int, size: int, layout: Layout
) -> None:
    rows = draw_rows(n, seed)
    longest = max(len(row.prompt) + len(row.completion) for row in rows)
    passes = forward_passes(rows, layout, size)
    assert sorted(map(id, rows)) == sorted(id(row) for lines in passes for line in lines for row in line)
    assert all(collate(lines, 0, "cpu").ids.numel() <= size * longest for lines in passes)


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 12), st.integers(0, 1000), st.sampled_from(PACKED))
def test_positions_restart_and_no_token_is_to_predict_the_next_example(n: int, seed: int, layout: Layout) -> None:
    rows = draw_rows(n, seed)
    lines = on_lines(rows, layout)
    batch = collate(lines, 0, "cpu")
    expected = [token for row in rows for token in (row.prompt + row.completion)[max(len(row.prompt), 1) :]]
    assert batch.targets.tolist() == expected
    for line, positions in zip(lines, batch.positions.tolist(), strict=True):
        wanted = [place for row in line for place in range(len(row.prompt) + len(row.completion))]
        assert positions[: len(wanted)] == wanted


@pytest.mark.parametrize("layout", PACKED)
@pytest.mark.parametrize("seed", range(3))
def test_an_example_in_company_has_the_logits_that_it_has_alone(tiny: LoadedModel, layout: Layout, seed: int) -> None:
    rows = draw_rows(9, seed)
    packed = logits_of(tiny.model, on_lines(rows, layout), layout)
    for row, logits in zip(rows, packed, strict=True):
        alone = tiny.model(torch.tensor([row.prompt + row.completion])).logits[0, -row.n_targets - 1 : -1]
        assert (logits - alone).abs().max().item() < 1e-5 * alone.abs().max().item()


@pytest.mark.parametrize("layout", PACKED)
def test_changing_an_example_changes_no_bit_of_the_others_logits_and_gradients(
    tiny: LoadedModel, layout: Layout
) -> None:
    model, rows = copy.deepcopy(tiny.model).requires_grad_(True), draw_rows(8, 1)
    changed = [*rows]
    changed[4] = Row([9] * len(rows[4].prompt), [7] * len(rows[4].completion))
    results = []
    for batch in (rows, changed):
        logits = logits_of(model, on_lines(batch, layout), layout)
        others = torch.cat([part for at, part in enumerate(logits) if at != 4])
        model.zero_grad()
        others.square().sum().backward()
        results.append((others, [weight.grad for weight in model.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert (one - other).abs().max() <= 1e-6 * one.abs().max()
    # A token of the changed example alone, seen by nobody else, gets no gradient through the others.
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    changed[4] = Row([60, 61], [62] * 3)
    model.zero_grad()
    logits = logits_of(model, on_lines(changed, layout), layout)
    torch.cat([part for at, part in enumerate(logits) if at != 4]).square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert not gradient[60:63].any()
    assert gradient[changed[5].prompt].any()


@pytest.mark.parametrize("layout", PACKED)
def test_the_loss_of_packs_is_that_of_the_padded_batch(tiny: LoadedModel, layout: Layout) -> None:
    rows = draw_rows(10, 5)
    n_targets = sum(row.n_targets for row in rows)
    padded = completion_loss(tiny.model, [[row] for row in rows], 0).item() / n_targets
    with attention_for(tiny.model, layout):
        packed = completion_loss(tiny.model, on_lines(rows, layout), 0, layout).item() / n_targets
    assert packed == pytest.approx(padded, abs=1e-6)


def test_packed_and_padded_training_have_the_same_loss_curve(tiny: LoadedModel) -> None:
    curves = []
    for packing in (True, False):
        config, curve = SftConfig(batch_size=6, micro_batch_size=3, packing=packing), list[float]()
        fine_tune(
            copy.deepcopy(tiny.model),
            draw_rows(24, 2),
            config,
            steps=24,
            pad=0,
            seed=4,
            on_step=lambda _, __, loss, curve=curve: curve.append(loss),
        )
        curves.append(curve)
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "changes", "layout"),
    [
        ("Llama", {}, Layout.SPLIT),
        ("Qwen2", {}, Layout.SPLIT),
        # A window is counted inside the example; transformers' mask knows it.
        ("Mistral", {"sliding_window": 3}, Layout.MASKED),
        # Distances are counted along the line, whatever the position ids say.
        ("Bloom", {"n_head": 4}, Layout.PADDED),
        # A state runs on from one example into the next.
        ("Mamba", {"state_size": 4}, Layout.PADDED),
    ],
)
def test_a_model_is_packed_as_it_can_be_and_padding_is_told(kind: str, changes: dict[str, Any], layout: Layout) -> None:
    model = random_model(kind, **changes)
    before = model.config._attn_implementation
    chosen, note = choose_layout(model, packing=True)
    assert chosen is layout
    assert bool(note) == (layout is Layout.PADDED)
    assert choose_layout(model, packing=False) == (Layout.PADDED, "")
    rows = draw_rows(7, 3)
    lines = [[row] for row in rows] if chosen is Layout.PADDED else on_lines(rows, chosen)
    for row, logits in zip(rows, logits_of(model, lines, chosen), strict=True):
        alone = model(torch.tensor([row.prompt + row.completion])).logits[0, -row.n_targets - 1 : -1]
        assert torch.allclose(logits, alone, atol=1e-5)
    assert model.config._attn_implementation == before
    assert not model.training


def test_a_training_tells_that_its_model_was_padded() -> None:
    model = random_model("Bloom", n_head=4)
    _, report = fine_tune(model, draw_rows(4, 0), SftConfig(batch_size=4), steps=1, pad=0, seed=0)
    assert report.note.startswith("BloomForCausalLM is trained with padding: ")
