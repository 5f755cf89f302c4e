"""A world where a PRM can be hacked: four real steps solve a problem, and the PRM likes filler better than work.

A tabular policy chooses among work, mistake, filler and stop, at most 14 times; an answer is right after four times
work and no mistake. The PRM gives work 0.8, a mistake 0.1, filler 0.9, and stopping 0.8, or 0.45 where it is too early.
The policy is trained with the library's credit forms, placement, advantages and clipped loss; all seeds at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from data.run_records import PpoIteration
from star.ppo.advantages import gae, whiten
from star.ppo.config import GuardConfig
from star.ppo.credit import CreditConfig, Form, step_rewards
from star.ppo.guards import Alarm, Watch
from star.ppo.losses import policy_loss
from star.ppo.placement import place_rewards

WORK, MISTAKE, FILLER, STOP = range(4)
NEEDED, CAP = 4, 14


@dataclass(frozen=True)
class Episodes:
    """Actions [N, 14], the states [N, 14] they were chosen in, lengths [N], and which were solved [N]."""

    actions: torch.Tensor
    states: torch.Tensor
    lengths: torch.Tensor
    solved: torch.Tensor

    def of(self, row: int) -> list[int]:
        return self.actions[row, : self.lengths[row]].tolist()


def play(logits: torch.Tensor, n: int, generator: torch.Generator) -> Episodes:
    """Play n episodes; a state is the work done, 0 to 4, and 5 more after a mistake."""
    work, spoiled, over = (torch.zeros(n, dtype=torch.long) for _ in range(3))
    solved, lengths = torch.zeros(n, dtype=torch.bool), torch.full((n,), CAP)
    actions, states = torch.zeros(n, CAP, dtype=torch.long), torch.zeros(n, CAP, dtype=torch.long)
    for at in range(CAP):
        states[:, at] = work + 5 * spoiled
        actions[:, at] = torch.multinomial(logits[states[:, at]].softmax(-1), 1, generator=generator).squeeze(-1)
        choice, live = actions[:, at], over == 0
        stops = live & (choice == STOP)
        solved |= stops & (work == NEEDED) & (spoiled == 0)
        lengths[stops] = at + 1
        over |= stops.long()
        work = (work + (live & (choice == WORK)).long()).clamp(max=NEEDED)
        spoiled |= (live & (choice == MISTAKE)).long()
    return Episodes(actions, states, lengths, solved)


def prm_scores(actions: list[int]) -> list[float]:
    """What the flawed PRM thinks of each step."""
    early = actions.count(WORK) < NEEDED
    return [{WORK: 0.8, MISTAKE: 0.1, FILLER: 0.9, STOP: 0.45 if early else 0.8}[action] for action in actions]


def rewards_of(episodes: Episodes, credit: CreditConfig, process_weight: float) -> tuple[torch.Tensor, float]:
    """Rewards [N, 14] and the mean of what the PRM's opinion came to."""
    rewards, proxy = torch.zeros(episodes.actions.shape), 0.0
    for row, solved in enumerate(episodes.solved.tolist()):
        actions = episodes.of(row)
        process = step_rewards(prm_scores(actions), credit, solved=solved)
        weighted = [process_weight * reward for reward in process]
        placed = place_rewards(len(actions), list(range(len(actions))), weighted, float(solved))
        rewards[row, : len(actions)] = torch.tensor(placed)
        proxy += sum(process)
    return rewards, proxy / len(rewards)


def signals_of(episodes: Episodes, proxy: float, kl: float, iteration: int) -> PpoIteration:
    n_steps = episodes.lengths.float().mean().item()
    mask = torch.arange(CAP) < episodes.lengths.unsqueeze(-1)
    filler = ((episodes.actions == FILLER) & mask).sum().item() / mask.sum().item()
    return PpoIteration(
        iteration=iteration,
        kl=kl,
        proxy=proxy,
        gold=episodes.solved.float().mean().item(),
        tokens=n_steps,
        steps=n_steps,
        repeated=filler,
        filler=filler,
        unseparated=(episodes.lengths == 1).float().mean().item(),
    )


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    gold: list[float]
    """Share of solved episodes in each iteration."""
    length: float
    """Mean number of steps in the last ten iterations."""
    alarms: list[tuple[int, Alarm]]
    logits: torch.Tensor


def train(
    form: Form,
    seed: int,
    *,
    iterations: int = 250,
    rollouts: int = 64,
    process_weight: float = 1.0,
    start: torch.Tensor | None = None,
) -> Outcome:
    """Train a tabular policy by REINFORCE with whitened returns, i.e. PPO of one epoch with lambda 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.zeros(10, 4) if start is None else start.clone()).requires_grad_()
    before = logits.detach().log_softmax(-1)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    watch, gold, lengths, alarms = Watch(GuardConfig()), list[float](), list[float](), list[tuple[int, Alarm]]()
    for iteration in range(iterations):
        episodes = play(logits.detach(), rollouts, generator)
        rewards, proxy = rewards_of(episodes, CreditConfig(form=form), process_weight)
        mask = torch.arange(CAP) < episodes.lengths.unsqueeze(-1)
        returns, _ = gae(rewards, torch.zeros_like(rewards), mask, gamma=1.0, lam=1.0)
        logprobs = logits.log_softmax(-1)[episodes.states, episodes.actions]
        old = logprobs.detach()
        kl = ((old - before[episodes.states, episodes.actions]) * mask).sum().item() / rollouts
        now = signals_of(episodes, proxy, kl, iteration)
        alarms += [(iteration, alarm) for alarm in watch.update(now)]
        gold.append(now.gold)
        lengths.append(now.steps)
        loss = policy_loss(
            logprobs, old, whiten(returns, mask), mask, clip_low=0.2, clip_high=0.2, n_tokens=int(mask.sum())
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Outcome(gold, sum(lengths[-10:]) / 10, alarms, logits.detach())
