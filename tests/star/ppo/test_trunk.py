"""A shared trunk changes no number: it is run once a micro-batch, never trained, and never another batch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import ValidationError

from data.errors import UserError
from star.checkpoints import LoadedModel
from star.ppo.batches import MicroBatch, collate, prepare
from star.ppo.config import PpoConfig
from star.ppo.layouts import HydraLayout
from star.ppo.trunk import Trunk
from tests.star.ppo.killed_ppo import trainer
from tests.star.ppo.samples import fresh, judged
from tests.star.ppo.test_update import config, train, weights_of

UPPER = "model.layers.1."
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def cut(loaded: LoadedModel, trained_layers: int = 1, *, shared: bool = True) -> HydraLayout:
    """Adapters on the upper layers, none of which is still at its start; or the same with every pass whole."""
    layout = HydraLayout(fresh(loaded), rank=4, seed=1, trained_layers=trained_layers)
    if not shared:
        layout._trunk = Trunk(loaded.model, 0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in [*layout.actor_weights.values(), *layout.critic_weights.values()]:
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return layout


def outputs(layout: HydraLayout, part: MicroBatch) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return layout.actor(*part.inputs), layout.critic(*part.inputs), layout.reference(*part.inputs)


def lower_runs(layout: HydraLayout) -> list[int]:
    """Grows by one with each batch that passes through the lowest layer."""
    seen: list[int] = []
    model: Any = layout.sampler().model
    model.model.layers[0].mlp.register_forward_hook(lambda _, __, output: seen.append(len(output)))
    return seen


def test_every_role_gives_what_it_gives_in_whole_passes(small: LoadedModel) -> None:
    part = collate(judged(small, 6), pad=0)
    layout, expected = cut(small), outputs(cut(small, shared=False), part)
    for _ in range(2):
        assert all(torch.equal(one, other) for one, other in zip(outputs(layout, part), expected, strict=True))
    # Adapters of the layout that trains all layers, without those of the lower one.
    whole = HydraLayout(fresh(small), rank=4, seed=1)
    with torch.no_grad():
        for weights in ((layout.actor_weights, whole.actor_weights), (layout.critic_weights, whole.critic_weights)):
            for name, weight in weights[0].items():
                weights[1][name].copy_(weight)
    for one, other in zip(outputs(whole, part), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(expected[0], expected[2], atol=0.1)


def test_the_adapters_gradients_are_those_of_whole_passes(small: LoadedModel) -> None:
    part, found = collate(judged(small, 6), pad=0), []
    for layout in (cut(small), cut(small, shared=False)):
        outputs(layout, part)
        # One after the other: a role's weights take gradients only while it is the active one.
        layout.actor(*part.inputs).log_softmax(-1).square().mean().backward()
        layout.critic(*part.inputs).square().mean().backward()
        both = {**layout.actor_weights, **layout.critic_weights}
        found.append({name: weight.grad for name, weight in both.items()})
    for name, gradient in found[0].items():
        assert gradient is not None
        assert gradient.abs().max() > 0
        assert torch.allclose(gradient, found[1][name], rtol=0, atol=1e-6), name


def test_updates_are_those_of_whole_passes_and_the_trunk_runs_once_a_micro_batch(small: LoadedModel) -> None:
    rows, settings, trained = judged(small, 8), config(epochs=3), []
    for shared, passes in ((True, 1), (False, 3 + 2 * 3)):
        layout = cut(small, shared=shared)
        runs = lower_runs(layout)
        stats, batches = train(layout, rows, settings)
        assert stats.steps == 6
        assert len(runs) == passes * sum(map(len, batches))
        trained.append(weights_of(layout))
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_no_weight_below_the_border_is_trained_and_the_reference_stays_the_base(small: LoadedModel) -> None:
    layout, rows = HydraLayout(fresh(small), rank=4, seed=1, trained_layers=1), judged(small, 8)
    head = {"weight", "bias"}
    assert all(UPPER in name for name in {**layout.actor_weights, **layout.critic_weights}.keys() - head)
    part = collate(rows, pad=0)
    with torch.no_grad():
        base = small.model(input_ids=part.ids, attention_mask=part.attention, position_ids=part.positions).logits
    before = weights_of(layout)
    assert torch.equal(layout.reference(*part.inputs), base)
    train(layout, rows, config(epochs=5))
    assert torch.equal(layout.reference(*part.inputs), base)
    assert torch.equal(layout.reference(*collate(rows, pad=0).inputs), base)
    assert any(not torch.equal(before[name], weight) for name, weight in layout.actor_weights.items())
    model: Any = layout.sampler().model
    assert set(model.model.layers[0].state_dict()) == set(small.model.model.layers[0].state_dict())
    for name, weight in small.model.model.layers[0].state_dict().items():
        assert torch.equal(weight, model.model.layers[0].state_dict()[name])
    assert all(weight.grad is None for weight in [*model.model.layers[0].parameters(), model.lm_head.weight])


def test_what_is_kept_is_never_that_of_other_inputs(small: LoadedModel) -> None:
    layout, whole = cut(small), cut(small, shared=False)
    part = collate(judged(small, 6), pad=0)
    # Copies, none of which was ever changed in place.
    part.ids, part.attention, part.positions = (tensor.clone() for tensor in part.inputs)

    def same() -> bool:
        pairs = zip(outputs(layout, part), outputs(whole, part), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    assert same()
    part.attention = part.attention * (part.positions > 1)
    assert same()
    part.positions = part.positions * 2
    assert same()
    for tensor in part.inputs:
        tensor[:, 0] = 7
        assert same()


def test_what_is_kept_goes_with_its_micro_batch(small: LoadedModel) -> None:
    layout, settings = cut(small), config()
    _, batches = train(layout, judged(small, 8), settings)
    assert len(layout._trunk._kept) == sum(map(len, batches))
    del batches
    assert not layout._trunk._kept


def test_the_policy_draws_and_is_saved_as_it_is_trained(small: LoadedModel) -> None:
    layout, part = cut(small), collate(judged(small, 4), pad=0)
    actor = outputs(layout, part)[0]
    expected = cut(small, shared=False)
    prompt = {"input_ids": part.ids[:1, :4], "attention_mask": part.attention[:1, :4]}
    drawn = [one.sampler().model.generate(**prompt, max_new_tokens=12, do_sample=False) for one in (layout, expected)]
    assert torch.equal(*drawn)
    assert torch.equal(outputs(layout, part)[0], actor)
    plain = layout.merged().model
    assert all(map(torch.equal, plain.model.layers[0].parameters(), small.model.model.layers[0].parameters()))
    with torch.no_grad():
        logits = plain(input_ids=part.ids, attention_mask=part.attention, position_ids=part.positions).logits
    assert torch.allclose(logits, actor, atol=1e-4)


def test_a_forward_of_the_layers_own_is_put_back_even_after_an_error(small: LoadedModel) -> None:
    layout, part = cut(small), collate(judged(small, 2), pad=0)
    model: Any = layout.sampler().model
    lowest = model.model.layers[0]
    calls: list[int] = []
    plain = lowest.forward

    def hooked(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return plain(*arguments, **named)

    lowest.forward = hooked
    outputs(layout, part)
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError), layout._trunk.shared(*part.inputs):
        raise ZeroDivisionError
    assert vars(lowest)["forward"] is hooked
    del lowest.forward
    with pytest.raises(ZeroDivisionError), layout._trunk.shared(*part.inputs):
        raise ZeroDivisionError
    assert "forward" not in vars(lowest)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    "settings",
    [
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=4, n_head=4, n_positions=64, initializer_range=0.2),
        transformers.Gemma3TextConfig(**SIZES, sliding_window=4),
        transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=2),
    ],
    ids=lambda settings: settings.model_type,
)
def test_positions_scales_and_sliding_windows_stay_the_architectures_own(settings: Any) -> None:
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(settings).requires_grad_(False).eval()
    layout, whole = (cut(LoadedModel(model, None, "m", "m"), 2, shared=shared) for shared in (True, False))
    ids = torch.randint(64, (2, 12))
    part = MicroBatch([], ids, torch.ones_like(ids), torch.arange(12).expand(2, 12), *3 * (torch.zeros(2, 12),))
    expected = outputs(whole, part)
    for _ in range(2):
        assert all(torch.equal(one, other) for one, other in zip(outputs(layout, part), expected, strict=True))


def test_an_architecture_whose_layers_share_more_than_their_output_is_refused() -> None:
    settings = transformers.Gemma4TextConfig(
        **SIZES,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=4,
        global_head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=64,
    )
    model = transformers.Gemma4ForCausalLM(settings).requires_grad_(False).eval()
    with pytest.raises(UserError, match="upper layers need more"):
        HydraLayout(LoadedModel(model, None, "m", "m"), rank=2, seed=0, trained_layers=2)


def test_more_layers_than_the_model_has_are_refused_and_as_many_are_all(small: LoadedModel) -> None:
    with pytest.raises(UserError, match="3, and the model has 2"):
        HydraLayout(fresh(small), rank=2, seed=0, trained_layers=3)
    names = [list(HydraLayout(fresh(small), rank=2, seed=0, trained_layers=n).actor_weights) for n in (0, 2)]
    assert names[0] == names[1]
    with pytest.raises(ValidationError, match="layout: hydra"):
        PpoConfig(layout="full", trained_layers=1)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tiny: LoadedModel, tmp_path: Path) -> None:
    whole = trainer(fresh(tiny), tmp_path / "whole", iterations=2, trained_layers=1)
    whole.run()
    trainer(fresh(tiny), tmp_path / "cut", iterations=1, trained_layers=1).run()
    resumed = trainer(fresh(tiny), tmp_path / "cut", iterations=2, trained_layers=1)
    resumed.run()
    expected = weights_of(whole.layout)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights_of(resumed.layout).items())


def test_preparing_again_with_other_adapters_is_not_served_old_numbers(small: LoadedModel) -> None:
    """What is kept hangs on the frozen trunk alone."""
    layout, part, settings = cut(small), collate(judged(small, 4), pad=0), config()
    prepare([[part]], layout, settings, temperature=1.0, kl_coefficient=0.0)
    first = part.old
    with torch.no_grad():
        for weight in layout.actor_weights.values():
            weight.mul_(1.5)
    prepare([[part]], layout, settings, temperature=1.0, kl_coefficient=0.0)
    assert not torch.allclose(first, part.old, atol=1e-3)
    assert torch.equal(outputs(layout, part)[2], outputs(cut(small, shared=False), part)[2])
