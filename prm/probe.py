"""A linear head fitted exactly: softmax regression under an L2 penalty that cross-validation over problems chooses.

A few thousand labelled steps in hundreds of dimensions are learned by heart in a few hundred gradient steps. How far a
head is held back decides what it is worth on other problems, and here the rows themselves say how far. The loss is
convex: there is no learning rate, no order and no seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from data.errors import UserError
from prm.losses import step_cross_entropy
from prm.network import ClassHead
from prm.training_rows import TrainingRow

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Weights of half the squared norm of the head's matrix beside the mean loss, strongest first."""
_PARTS = 5
_ITERATIONS = 60


def fit_probe(
    head: torch.nn.Module, states: torch.Tensor, rows: Sequence[TrainingRow], balance: torch.Tensor | None = None
) -> list[float]:
    """Fit a linear head, in place, under the penalty with the lowest loss on the parts that were left out.

    Args:
        head: a `ClassHead` of one layer; what it says at the start does not matter.
        states: [N, H], of all steps of all rows; each dimension of deviation 1, since the penalty treats them alike.
        rows: what the steps are taught; all rows of one problem are in one of five parts.
        balance: [C], weights of the classes.

    Returns:
        Loss on the parts left out, nats a step, under each of `PENALTIES`.

    Raises:
        UserError: the head has a hidden layer or no weights of its own, or all rows are of one problem.
    """
    if not (isinstance(head, ClassHead) and len(head.score) == 1):
        raise UserError("a probe is a linear head.", "Leave out `model.form` and `model.head`, or use another mode.")
    problems = [tuple(row.encoded.ids[: row.encoded.prompt_length]) for row in rows for _ in row.weights]
    places = {problem: number for number, problem in enumerate(dict.fromkeys(problems))}
    if len(places) < 2:
        raise UserError("a probe is fitted on several problems.", "Give labels of more of them, or use mode 'frozen'.")
    part = torch.tensor([places[problem] % _PARTS for problem in problems], device=states.device)
    targets = torch.tensor([target for row in rows for target in row.targets], device=states.device)
    weights = torch.tensor([weight for row in rows for weight in row.weights], device=states.device)
    if balance is not None:
        weights = weights * (targets @ balance.to(states.device))
    losses = [0.0] * len(PENALTIES)
    for left_out in range(min(_PARTS, len(places))):
        kept, held = part != left_out, part == left_out
        _clear(head)
        for at, penalty in enumerate(PENALTIES):  # Each starts where the stronger one before it ended.
            _minimize(head, states[kept], targets[kept], weights[kept], penalty)
            with torch.no_grad():
                losses[at] += step_cross_entropy(head(states[held]), targets[held], weights[held]).item()
    _clear(head)
    _minimize(head, states, targets, weights, PENALTIES[losses.index(min(losses))])
    return [loss / weights.sum().item() for loss in losses]


@torch.no_grad()
def _clear(head: ClassHead) -> None:
    for parameter in head.parameters():
        parameter.zero_()


def _minimize(
    head: ClassHead, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, penalty: float
) -> None:
    (matrix, bias), total = head.score[0].parameters(), weights.sum().clamp(min=1e-9)
    optimizer = torch.optim.LBFGS([matrix, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        # The bias goes free: it is the share of right steps.
        found = step_cross_entropy(head(states), targets, weights) / total + penalty / 2 * matrix.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found.item()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
