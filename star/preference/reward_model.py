"""A reward model from pairwise comparisons, and its opinion as a step scorer for PPO: the classic pipeline.

All responses to a prompt pass through the model once and all of their pairs are in one batch: a batch of single pairs
would see each response many times and overfit (Ouyang et al. 2022, section 3.5). Rewards are shifted so that those of
the reference's own responses have mean 0. It is stored as an ordinary transformers sequence classifier with one label.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from data.batching import batched
from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Problem
from star.checkpoints import PROVENANCE
from star.encoding import encode_completion, encode_prompt, pad_id
from star.preference.config import RewardModelConfig
from star.preference.losses import bradley_terry_loss
from star.preference.training import guarded_step
from star.sft import Row, batch_order

if TYPE_CHECKING:
    import torch

    from star.ppo.judging import Solutions, StepScorer


@dataclass(frozen=True, slots=True)
class Group:
    """All responses to one prompt."""

    rows: Sequence[Row]
    right: Sequence[bool]
    """Of each response: whether its answer is right."""

    @property
    def better(self) -> list[tuple[int, int]]:
        """Indices of (right, wrong) responses, all of them."""
        wrong = [place for place, solved in enumerate(self.right) if not solved]
        return [(place, other) for place, solved in enumerate(self.right) if solved for other in wrong]


def response_row(tokenizer: Any, template: PromptTemplate, problem: Problem, text: str) -> Row:
    """A response as the reward model reads it; its reward is read at the end-of-sequence token."""
    return Row(encode_prompt(tokenizer, template.render(problem)), encode_completion(tokenizer, text), name=problem.id)


@dataclass(slots=True)
class RewardModel:
    """A scalar reward of whole responses."""

    model: Any
    """A transformers sequence classifier with one label."""
    tokenizer: Any
    mean: float = 0.0
    """Mean of the raw rewards of the reference's responses; taken off every reward."""

    def rewards(self, rows: Sequence[Row]) -> torch.Tensor:
        """[N]."""
        import torch

        width = max(row.n_tokens for row in rows)
        tokens = [[*row.prompt, *row.completion] for row in rows]
        pad = pad_id(self.tokenizer)
        ids = torch.tensor([[*one, *[pad] * (width - len(one))] for one in tokens], device=self.model.device)
        # Read by place: the classifier's own pooling looks for the padding's id, which may be that of the end.
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        last = torch.tensor([len(one) - 1 for one in tokens], device=ids.device)
        states = hidden[torch.arange(len(rows), device=ids.device), last]
        found: torch.Tensor = self.model.score(states)[:, 0].float() - self.mean
        return found

    def normalize(self, rows: Sequence[Row], *, batch_size: int = 32) -> None:
        """Shift rewards so that those of these responses have mean 0."""
        import torch

        with torch.no_grad():
            raw = [value for part in batched(rows, batch_size) for value in self.rewards(part).tolist()]
        self.mean += fmean(raw)

    def step_scorer(self, template: PromptTemplate, problems: Mapping[str, Problem]) -> StepScorer:
        """The reward of a response as a step scorer of PPO: on its last step, 0 on the others; for form `implicit`.

        Args:
            template: of the prompts.
            problems: by their text.
        """
        import torch

        @torch.no_grad()
        def score(solutions: Solutions) -> list[list[float]]:
            rows = [
                response_row(self.tokenizer, template, problems[problem], "".join(steps))
                for problem, steps in solutions
            ]
            found = [reward for part in batched(rows, 32) for reward in self.rewards(part).tolist()]
            return [[0.0] * (len(steps) - 1) + [reward] for (_, steps), reward in zip(solutions, found, strict=True)]

        return score

    def facts(self) -> dict[str, float]:
        """What provenance must hold so that the rewards can be computed again."""
        return {"reference_mean": self.mean}


def build_reward_model(path: str, *, revision: str | None = None, seed: int) -> RewardModel:
    """An untrained reward model on the backbone of a policy.

    Args:
        path: folder or hub id of the policy.
        revision: hub commit.
        seed: of the head's first weights, of standard deviation 1 / sqrt(width + 1) (Stiennon et al. 2020).
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    with _quietly():
        model = AutoModelForSequenceClassification.from_pretrained(
            path, revision=revision, num_labels=1, dtype=torch.float32, use_safetensors=True
        )
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.score.weight, std=(model.score.weight.shape[1] + 1) ** -0.5)
    model.config.pad_token_id = pad_id(tokenizer)
    return RewardModel(model.eval(), tokenizer)


@contextmanager
def _quietly() -> Iterator[None]:
    """No table on the screen that says that the head's weights are new, and no bar."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def load_reward_model(folder: Path) -> RewardModel:
    """A reward model that was saved with `save_checkpoint` and its `facts`.

    Raises:
        UserError: the folder holds no reward model.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    facts = json.loads((folder / PROVENANCE).read_text()) if (folder / PROVENANCE).is_file() else {}
    if "reference_mean" not in facts:
        raise UserError(f"'{folder}' holds no reward model of stepstar.", "Give the folder that a run made.")
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return RewardModel(model.requires_grad_(False).eval(), tokenizer, facts["reference_mean"])


def train_reward_model(
    model: RewardModel,
    groups: Sequence[Group],
    config: RewardModelConfig,
    *,
    seed: int,
    on_step: Callable[[int, int, float], None] | None = None,
) -> tuple[float, ...]:
    """Train on the pairs of each group, in place, then shift the rewards of all responses to mean 0.

    Args:
        model: untrained.
        groups: responses of the reference; those without a pair are left out of the training, not of the mean.
        config: steps and learning rate.
        seed: of the order.
        on_step: called with (step, steps, loss) after each optimizer step.

    Returns:
        The mean loss of each step, nats a pair.

    Raises:
        UserError: no group has a pair, or a loss that is no number.
    """
    import torch

    paired = [group for group in groups if group.better]
    if not paired:
        raise UserError("no problem has both a right and a wrong sample.", "Draw more samples of each problem.")
    steps = config.capped(len(paired))
    model.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    losses = list[float]()
    for step, places in enumerate(batch_order(len(paired), config.batch_size, steps, seed)):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for group in (paired[place] for place in places):
            # One prompt is one unit: its many pairs are not independent and count no more than another's few.
            loss = bradley_terry_loss(model.rewards(group.rows), group.better).mean() / len(places)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        guarded_step(optimizer, total, step)
        losses.append(total)
        if on_step:
            on_step(step + 1, steps, total)
    model.model.requires_grad_(False)
    model.normalize([row for group in groups for row in group.rows])
    return tuple(losses)
