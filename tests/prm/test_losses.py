"""Losses against values worked out by hand, and the properties that training rests on."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from prm.losses import class_weights, log_odds, outcome_loss, ranking_loss, step_cross_entropy


def test_soft_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0], [5.0, -5.0]])
    targets = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    weights = torch.tensor([1.0, 2.0, 0.0])
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) + 2 * math.log(2)
    assert step_cross_entropy(logits, targets, weights).item() == pytest.approx(expected, rel=1e-6)


def test_with_two_classes_it_is_the_binary_cross_entropy_of_the_log_odds() -> None:
    torch.manual_seed(0)
    logits, values = torch.randn(50, 2), torch.rand(50)
    soft = step_cross_entropy(logits, torch.stack([1 - values, values], 1), torch.ones(50))
    binary = functional.binary_cross_entropy_with_logits(log_odds(logits), values, reduction="sum")
    assert soft.item() == pytest.approx(binary.item(), rel=1e-5)


def test_a_soft_label_is_not_rounded() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    step_cross_entropy(logits, torch.tensor([[0.25, 0.75]]), torch.ones(1)).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.25, -0.25]]


def test_a_step_of_weight_zero_has_no_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    step_cross_entropy(logits, torch.eye(3)[:2], torch.tensor([1.0, 0.0])).backward()
    assert logits.grad is not None
    assert logits.grad[1].abs().max() == 0 < logits.grad[0].abs().max()


def test_neutral_counts_as_not_wrong() -> None:
    logits = torch.tensor([[0.3, -1.0, 0.7]])
    assert log_odds(logits).sigmoid().item() == pytest.approx(1 - logits.softmax(-1)[0, 0].item())


def test_class_weights_give_each_class_the_same_share() -> None:
    targets = torch.tensor([[0.0, 1.0]] * 9 + [[1.0, 0.0]])
    weights = torch.ones(10)
    found = class_weights(targets, weights)
    assert found.tolist() == pytest.approx([5.0, 10 / 18])
    assert (targets @ found * weights).sum().item() == pytest.approx(10.0)
    assert class_weights(targets[:9], weights[:9]).tolist() == [0.0, 1.0]


def test_the_ranking_loss_by_hand() -> None:
    # c_0 = 0, right 1.0, wrong 0.5, right 2.0, and a step without a label.
    q = torch.tensor([[1.0, 0.5, 2.0, 9.0]])
    right = torch.tensor([[True, False, True, False]])
    wrong = torch.tensor([[False, True, False, False]])
    bad = math.exp(0.5 + 4)
    terms = [
        math.log(1 / (1 + bad)),
        math.log(math.e / (1 + math.e + bad)),
        math.log(math.exp(2) / (1 + math.e + math.exp(2) + bad)),
    ]
    assert ranking_loss(q, right, wrong).tolist() == pytest.approx([-sum(terms) / 3], rel=1e-6)


def test_the_ranking_loss_of_all_wrong_and_of_unlabelled_solutions_is_finite() -> None:
    q = torch.tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True)
    nothing, everything = torch.zeros(2, 2, dtype=torch.bool), torch.tensor([[True, True], [False, False]])
    loss = ranking_loss(q, nothing, everything)
    loss.sum().backward()
    bad = math.log(1 + math.exp(5.0) + math.exp(2.0))
    assert loss.tolist() == pytest.approx([bad, 0.0])
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()


def test_the_ranking_loss_falls_as_a_wrong_step_falls_and_knows_nothing_of_unlabelled_ones() -> None:
    right, wrong = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    low, high = (ranking_loss(torch.tensor([[2.0, q, 0.0]]), right, wrong).item() for q in (-6.0, 1.0))
    assert low < high
    far = ranking_loss(torch.tensor([[2.0, -6.0, 50.0]]), right, wrong).item()
    assert far == pytest.approx(low)


def test_the_outcome_term_is_the_likelihood_of_all_steps_right() -> None:
    p = torch.tensor([[0.9, 0.5], [0.9, 0.1]])
    mask = torch.tensor([[True, True], [True, False]])
    found = outcome_loss(torch.logit(p), mask, torch.tensor([True, False]))
    assert found.tolist() == pytest.approx([-math.log(0.45), -math.log(0.1)], rel=1e-5)


def test_certainty_in_a_wrong_solution_costs_a_finite_amount() -> None:
    q = torch.full((1, 3), 60.0, requires_grad=True)
    loss = outcome_loss(q, torch.ones(1, 3, dtype=torch.bool), torch.tensor([False]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()
