"""Losses and KL: golden values, and the cut into micro-batches that changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from star.ppo.kl import AdaptiveKl, kl_k1, kl_k3
from star.ppo.losses import importance_weights, policy_loss, value_loss


def tokens(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("logprobs", "old", "advantages", "values", "before", "returns")
    found = {name: torch.randn(6, 9, generator=generator, dtype=torch.float64) for name in names}
    return found | {"mask": torch.rand(6, 9, generator=generator) < 0.6}


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.0, 2.0, -2.0), (1.5, 2.0, -2.4), (1.5, -2.0, 3.0), (0.5, 2.0, -1.0), (0.5, -2.0, 1.4), (1.15, 2.0, -2.3)],
)
def test_the_clip_bounds_gains_and_never_losses(ratio: float, advantage: float, loss: float) -> None:
    found = policy_loss(
        torch.tensor([[math.log(ratio)]]),
        torch.zeros(1, 1),
        torch.tensor([[advantage]]),
        torch.ones(1, 1, dtype=torch.bool),
        clip_low=0.3,
        clip_high=0.2,
        n_tokens=1,
    )
    assert found.loss.item() == pytest.approx(loss)


def test_equal_policies_have_ratio_one_kl_zero_and_the_plain_gradient() -> None:
    part = tokens()
    logprobs = part["old"].clone().requires_grad_()
    n = int(part["mask"].sum())
    found = policy_loss(
        logprobs, part["old"], part["advantages"], part["mask"], clip_low=0.2, clip_high=0.2, n_tokens=n
    )
    assert found.ratio.item() == n
    assert found.kl.item() == 0
    assert found.clipped.item() == 0
    (gradient,) = torch.autograd.grad(found.loss, logprobs)
    assert torch.allclose(gradient, torch.where(part["mask"], -part["advantages"] / n, 0.0))


def test_sums_over_micro_batches_are_the_loss_of_the_whole() -> None:
    part = tokens(1)
    n = int(part["mask"].sum())
    whole, cut = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for total, pieces in ((whole, [slice(0, 6)]), (cut, [slice(0, 1), slice(1, 5), slice(5, 6)])):
        for rows in pieces:
            one = {name: tensor[rows] for name, tensor in part.items()}
            total[0] += policy_loss(
                one["logprobs"], one["old"], one["advantages"], one["mask"], clip_low=0.2, clip_high=0.2, n_tokens=n
            ).loss
            total[1] += value_loss(one["values"], one["before"], one["returns"], one["mask"], clip=0.2, n_tokens=n)
    assert torch.allclose(whole, cut, atol=1e-12)


def test_masked_positions_have_neither_loss_nor_gradient() -> None:
    part = tokens(2)
    logprobs, values = (part[name].clone().requires_grad_() for name in ("logprobs", "values"))
    nan = float("nan")
    old, advantages = part["old"].masked_fill(~part["mask"], nan), part["advantages"].masked_fill(~part["mask"], nan)
    loss = policy_loss(logprobs, old, advantages, part["mask"], clip_low=0.2, clip_high=0.2, n_tokens=10).loss
    loss = loss + value_loss(values, part["before"], part["returns"], part["mask"], clip=0.2, n_tokens=10)
    for gradient in torch.autograd.grad(loss, [logprobs, values]):
        assert not gradient[~part["mask"]].any()
        assert gradient[part["mask"]].any()


@pytest.mark.parametrize(
    ("value", "old", "target", "clip", "loss"),
    [(1.0, 0.0, 0.0, 0.2, 0.5), (1.0, 0.0, 2.0, 0.2, 1.62), (0.1, 0.0, 2.0, 0.2, 1.805), (1.0, 0.0, 2.0, 0.0, 0.5)],
)
def test_a_clipped_value_keeps_the_larger_error(
    value: float, old: float, target: float, clip: float, loss: float
) -> None:
    found = value_loss(
        torch.tensor([[value]]),
        torch.tensor([[old]]),
        torch.tensor([[target]]),
        torch.ones(1, 1, dtype=torch.bool),
        clip=clip,
        n_tokens=1,
    )
    assert found.item() == pytest.approx(loss)


def test_importance_weights_are_capped_and_pass_no_gradient() -> None:
    trainer = torch.tensor([0.0, -1.0, -1.0], requires_grad=True)
    weights = importance_weights(trainer, torch.tensor([0.0, -4.0, -0.5]), cap=2.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0, math.exp(-0.5)])
    assert not weights.requires_grad


def test_weights_scale_each_token_of_the_policy_loss() -> None:
    part = tokens(3)
    arguments = (part["logprobs"], part["old"], part["advantages"], part["mask"])
    plain = policy_loss(*arguments, clip_low=0.2, clip_high=0.2, n_tokens=7).loss
    double = policy_loss(
        *arguments, weights=torch.full_like(part["old"], 2.0), clip_low=0.2, clip_high=0.2, n_tokens=7
    ).loss
    assert double.item() == pytest.approx(2 * plain.item())


def test_both_kl_estimators_average_to_the_exact_kl() -> None:
    generator = torch.Generator().manual_seed(0)
    policy, reference = (torch.randn(5, generator=generator).log_softmax(-1) for _ in range(2))
    exact = (policy.exp() * (policy - reference)).sum().item()
    for estimate in (kl_k1, kl_k3):
        assert (policy.exp() * estimate(policy, reference)).sum().item() == pytest.approx(exact, abs=1e-6)
    assert kl_k3(policy, reference).min() >= 0
    assert not kl_k1(policy, policy).any()
    assert not kl_k3(policy, policy).any()


@pytest.mark.parametrize(("kl", "factor"), [(6.0, 1.0), (60.0, 1.002), (6.6, 1.001), (0.0, 0.998), (-5.0, 0.998)])
def test_the_controller_moves_by_the_clipped_error(kl: float, factor: float) -> None:
    controller = AdaptiveKl(coefficient=0.1, target=6.0, horizon=10_000)
    controller.update(kl, 100)
    assert controller.coefficient == pytest.approx(0.1 * factor)


def test_the_controller_without_a_target_stays_and_never_turns_negative() -> None:
    fixed, eager = AdaptiveKl(0.1, 0.0, 100), AdaptiveKl(0.1, 6.0, 100)
    fixed.update(50.0, 1000)
    eager.update(0.0, 1000)
    assert (fixed.coefficient, eager.coefficient) == (0.1, 0.0)
