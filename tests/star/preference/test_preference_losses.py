"""Preference losses: values known by hand, and what DPO, CPL and Bradley-Terry have in common."""

from __future__ import annotations

import math

import pytest
import torch

from star.preference.losses import bradley_terry_loss, cpl_loss, discounts, dpo_loss


def scores(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = -10 * torch.rand(2, n, generator=generator, dtype=torch.float64)
    return chosen, rejected


def test_dpo_is_log_2_where_policy_and_reference_agree() -> None:
    chosen, rejected = scores()
    assert dpo_loss(chosen, rejected, chosen, rejected, beta=0.3).tolist() == pytest.approx([math.log(2)] * 6)


def test_dpo_by_hand() -> None:
    found = dpo_loss(*(torch.tensor([value]) for value in (-1.0, -4.0, -2.0, -3.0)), beta=0.5)
    # The chosen one gained 1 nat, the rejected one lost 1: a margin of 2, times beta.
    assert found.item() == pytest.approx(math.log(1 + math.exp(-1.0)))


def test_dpo_pulls_the_chosen_up_and_the_rejected_down_by_equal_amounts() -> None:
    chosen, rejected = (side.requires_grad_() for side in scores())
    dpo_loss(chosen, rejected, chosen.detach(), rejected.detach(), beta=0.3).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    # At the start the gradient is -beta / 2, whatever the scores are.
    assert chosen.grad.tolist() == pytest.approx([-0.15] * 6)
    assert torch.allclose(chosen.grad, -rejected.grad)


def test_cpl_with_everything_at_one_is_dpo_without_a_reference() -> None:
    chosen, rejected = scores()
    nothing = torch.zeros_like(chosen)
    assert torch.equal(
        cpl_loss(chosen, rejected, alpha=0.2, conservatism=1.0), dpo_loss(chosen, rejected, nothing, nothing, beta=0.2)
    )


def test_cpl_is_the_softmax_over_the_two_segments() -> None:
    chosen, rejected = scores()
    alpha, conservatism = 0.7, 0.4
    up, down = (alpha * chosen).exp(), (alpha * conservatism * rejected).exp()
    assert torch.allclose(cpl_loss(chosen, rejected, alpha=alpha, conservatism=conservatism), -(up / (up + down)).log())


def test_conservative_cpl_is_not_won_by_making_both_unlikely() -> None:
    chosen, rejected = scores()
    plain = cpl_loss(chosen, rejected, alpha=1.0, conservatism=1.0)
    assert torch.allclose(cpl_loss(chosen - 5, rejected - 5, alpha=1.0, conservatism=1.0), plain)
    assert (cpl_loss(chosen - 5, rejected - 5, alpha=1.0, conservatism=0.5)
            > cpl_loss(chosen, rejected, alpha=1.0, conservatism=0.5)).all()  # fmt: skip


def test_bradley_terry_over_all_pairs_of_a_prompt_is_the_sum_of_single_comparisons() -> None:
    rewards = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64, requires_grad=True)
    better = [(0, 1), (0, 2), (3, 1), (3, 2)]
    losses = bradley_terry_loss(rewards, better)
    values = rewards.tolist()
    expected = [math.log(1 + math.exp(values[worse] - values[best])) for best, worse in better]
    assert losses.tolist() == pytest.approx(expected)
    losses.sum().backward()
    assert rewards.grad is not None
    # Only differences count: a reward that all share has no gradient.
    assert rewards.grad.sum().item() == pytest.approx(0.0, abs=1e-12)
    assert bradley_terry_loss(rewards + 7, better).tolist() == pytest.approx(expected)


def test_a_token_is_discounted_by_the_steps_before_its_own() -> None:
    # Steps end at tokens 1, 4 and 5; the end-of-sequence token at 6 belongs to the last.
    assert discounts(7, [1, 4, 5], 0.5) == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert discounts(7, [1, 4, 5], 1.0) == [1.0] * 7
