"""The whole update against a known answer: the KL-regularized bandit, whose optimum has a closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from star.checkpoints import LoadedModel
from star.ppo.batches import minibatches, prepare
from star.ppo.config import PpoConfig
from star.ppo.judging import Judged
from star.ppo.update import Faults, make_optimizer, update
from tests.star.ppo.samples import judged

REWARDS = torch.tensor([1.0, 0.2, 0.0, 0.7, -0.5])
BETA = 0.5


class Bandit:
    """One choice of five: a layout whose policy is a row of logits, without any state."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.logits = torch.nn.Parameter(torch.tensor([0.0, 1.0, -1.0, 0.5, 0.0]))
        self.value = torch.nn.Parameter(torch.zeros(()))
        self.start = self.logits.detach().clone()
        self.actor_weights, self.critic_weights = {"logits": self.logits}, {"value": self.value}

    def actor(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        return self.logits.expand(len(ids), keep, -1)

    def reference(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        return self.start.expand(len(ids), keep, -1)

    def critic(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self.value.expand(ids.shape)

    def sampler(self) -> LoadedModel:
        raise NotImplementedError("the test draws")

    merged = sampler


def drawn(template: Judged, policy: torch.Tensor, n: int) -> list[Judged]:
    """Responses of one token, as often as the policy says: systematic sampling, almost without noise."""
    cumulative = policy.double().cumsum(0)
    tokens = torch.searchsorted(cumulative, (torch.arange(n) + 0.5) / n * cumulative[-1]).tolist()
    return [
        replace(
            template,
            rollout=replace(template.rollout, prompt_ids=(0,), token_ids=(token,), sampler_logprobs=(0.0,)),
            rewards=(REWARDS[token].item(),),
        )
        for token in tokens
    ]


def test_the_closed_form_optimum_of_a_kl_regularized_bandit_is_reached(small: LoadedModel) -> None:
    bandit, template = Bandit(), judged(small, 2)[0]
    goal = (bandit.start.log_softmax(-1) + REWARDS / BETA).softmax(-1)
    config = PpoConfig(
        epochs=1,
        minibatch_size=200,
        micro_batch_size=200,
        learning_rate=0.05,
        critic_learning_rate=0.05,
        importance_cap=0,
        max_update_kl=10,
    )
    optimizer = make_optimizer(bandit, config)
    for iteration in range(110):
        # The advantages are whitened, so steps shrink with the learning rate alone.
        optimizer.param_groups[0]["lr"] = 0.1 * 0.95**iteration
        batches = minibatches(drawn(template, bandit.logits.detach().softmax(-1), 200), config, pad=0, seed=iteration)
        prepare(batches, bandit, config, temperature=1.0, kl_coefficient=BETA)
        update(
            bandit,
            optimizer,
            batches,
            config,
            Faults(Path("unused")),
            temperature=1.0,
            kl_coefficient=BETA,
            seed=iteration,
        )
    policy = bandit.logits.detach().softmax(-1)
    assert (bandit.start.softmax(-1) - goal).abs().sum() > 0.4
    assert policy.tolist() == pytest.approx(goal.tolist(), abs=0.01)
    regularized = (policy * (REWARDS - BETA * (policy.log() - bandit.start.log_softmax(-1)))).sum()
    assert regularized.item() == pytest.approx(
        BETA * (bandit.start.log_softmax(-1) + REWARDS / BETA).logsumexp(-1).item(), abs=1e-3
    )
    assert bandit.value.item() == pytest.approx(regularized.item(), abs=0.05)
