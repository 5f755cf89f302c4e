"""Advantages against a brute force over ragged masks with holes, and whitening that masked values cannot touch."""

from __future__ import annotations

import pytest
import torch

from star.ppo.advantages import gae, masked_mean, whiten


def ragged(seed: int, rows: int = 6, width: int = 17) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards, values and a mask with prompts in front, padding behind and holes between; one row is all false."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(rows, width, generator=generator) < 0.7
    for row in range(rows):
        mask[row, : row % 4] = False
        mask[row, width - row :] = False
    mask[-1] = False
    return rewards, values, mask


def brute_force(
    rewards: list[float], values: list[float], mask: list[bool], gamma: float, lam: float
) -> dict[int, float]:
    """A_t = sum over l of (gamma lam)^l delta_t+l over the true positions alone, in O(T^2)."""
    places = [place for place, here in enumerate(mask) if here]
    found = {}
    for first in range(len(places)):
        total = 0.0
        for later in range(first, len(places)):
            following = values[places[later + 1]] if later + 1 < len(places) else 0.0
            delta = rewards[places[later]] + gamma * following - values[places[later]]
            total += (gamma * lam) ** (later - first) * delta
        found[places[first]] = total
    return found


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.97, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("seed", range(5))
def test_gae_equals_the_brute_force_on_ragged_masks_with_holes(seed: int, gamma: float, lam: float) -> None:
    rewards, values, mask = ragged(seed)
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for row in range(len(rewards)):
        expected = brute_force(rewards[row].tolist(), values[row].tolist(), mask[row].tolist(), gamma, lam)
        for place in range(rewards.shape[1]):
            assert advantages[row, place].item() == pytest.approx(expected.get(place, 0.0), abs=1e-12)
            wanted = expected[place] + values[row, place].item() if place in expected else 0.0
            assert returns[row, place].item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_lambda_one_gives_monte_carlo_returns(seed: int) -> None:
    rewards, values, mask = ragged(seed)
    _, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    to_go = (rewards * mask).flip(-1).cumsum(-1).flip(-1)
    assert torch.allclose(returns, torch.where(mask, to_go, torch.zeros_like(to_go)), atol=1e-12)


def test_lambda_zero_gives_the_temporal_difference() -> None:
    rewards, values, _ = ragged(1)
    mask = torch.ones_like(rewards, dtype=torch.bool)
    advantages, _ = gae(rewards, values, mask, gamma=0.9, lam=0.0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], -1)
    assert torch.allclose(advantages, rewards + 0.9 * following - values, atol=1e-12)


def test_what_lies_at_masked_positions_changes_no_advantage() -> None:
    rewards, values, mask = ragged(2)
    plain = gae(rewards, values, mask, gamma=0.99, lam=0.9)
    spoiled = gae(rewards.masked_fill(~mask, float("nan")), values.masked_fill(~mask, 1e9), mask, gamma=0.99, lam=0.9)
    assert torch.equal(plain[0], spoiled[0])
    assert torch.equal(plain[1], spoiled[1])


def test_whitening_sees_the_true_positions_alone() -> None:
    values, _, mask = ragged(3)
    spoiled = values.masked_fill(~mask, float("nan"))
    whitened = whiten(spoiled, mask)
    assert masked_mean(whitened, mask).item() == pytest.approx(0.0, abs=1e-9)
    assert whitened[mask].std(correction=0).item() == pytest.approx(1.0, abs=1e-6)
    assert not whitened[~mask].any()


def test_whitening_rewards_keeps_their_mean_and_sign() -> None:
    values, _, mask = ragged(4)
    values = values.abs() + 1
    scaled = whiten(values, mask, shift_mean=False)
    assert scaled[mask].min() > 0
    assert (scaled[mask] / values[mask]).std().item() == pytest.approx(0.0, abs=1e-9)


def test_whitening_one_value_is_no_division_by_zero() -> None:
    assert whiten(torch.tensor([3.0, 9.0]), torch.tensor([True, False])).tolist() == [0.0, 0.0]
