"""The networks of a PRM: a causal backbone, and the read-out of its hidden states at the last token of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from data.errors import UserError
from prm.encode import EncodedSteps
from prm.losses import log_odds
from prm.model_config import ModelForm

_AT_ONCE = 512
"""Tokens whose logits over the whole vocabulary are in memory at a time, where no gradient is kept."""


class ClassHead(torch.nn.Module):
    """The classifier of form `head`; computes in float32 whatever the backbone does."""

    def __init__(self, hidden_size: int, form: ModelForm) -> None:
        super().__init__()
        last = torch.nn.Linear(hidden_size, form.classes)
        # Zero: an untrained head says 1/2 and passes no noise down into the backbone.
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        inner = [torch.nn.Linear(hidden_size, hidden_size), torch.nn.ReLU()] if form.head == "mlp" else []
        self.score = torch.nn.Sequential(*inner, last)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of hidden states [N, H]."""
        found: torch.Tensor = self.score(states.float())
        return found


class TokenHead(torch.nn.Module):
    """The read-out of form `tokens`: logits of the wrong and the right token. It owns no weights of its own."""

    def __init__(self, network: Any, ids: tuple[int, int]) -> None:
        super().__init__()
        self._network = [network]  # In a list: the weights are the network's, not this module's.
        self.ids = list(ids)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [N, 2] of hidden states [N, H]."""
        found: torch.Tensor = self._network[0].get_output_embeddings()(states)[:, self.ids].float()
        return found


class LogRatioHead(torch.nn.Module):
    """The read-out of form `implicit`: two language models. It owns no weights of its own.

    Args:
        network: the language model that learns.
        reference: the one that it began as.
        form: scale of the log-ratio, and what it is summed over.
    """

    def __init__(self, network: Any, reference: Any, form: ModelForm) -> None:
        super().__init__()
        self._networks = [network, reference]  # In a list: what learns is the network's, and the reference does not.
        self.form = form

    @property
    def reference(self) -> Any:
        """The language model that the network began as."""
        return self._networks[1]

    def forward(self, states: torch.Tensor, rows: Sequence[EncodedSteps]) -> torch.Tensor:
        """Logits (0, Q) [N, 2] at the ends of steps, from the network's states [B, T, H], right-padded.

        Q = beta * sum of log pi(token) - log pi_ref(token) over the tokens of all steps so far, or of each alone.
        """
        network, reference = self._networks
        with torch.no_grad():
            theirs = _step_logprobs(reference, padded_states(reference.base_model, rows)[0], rows)
        ratios = _step_logprobs(network, states, rows) - theirs
        parts = torch.split(ratios, [row.step_ends[-1] + 1 - row.prompt_length for row in rows])
        values = torch.cat([log_ratio_values(part, row, self.form) for part, row in zip(parts, rows, strict=True)])
        return torch.stack([torch.zeros_like(values), values], dim=1)


def log_ratio_values(ratios: torch.Tensor, row: EncodedSteps, form: ModelForm) -> torch.Tensor:
    """Values Q [K] of a solution's steps from the log-ratios [M] of all their tokens."""
    sums = form.beta * ratios.cumsum(0)[[end - row.prompt_length for end in row.step_ends]]
    return sums.diff(prepend=sums.new_zeros(1)) if form.per_step else sums


def _step_logprobs(network: Any, states: torch.Tensor, rows: Sequence[EncodedSteps]) -> torch.Tensor:
    """Log-probabilities [M] of all tokens of the steps of all rows, from right-padded states [B, T, H]."""
    places = [(line, at) for line, row in enumerate(rows) for at in range(row.prompt_length, row.step_ends[-1] + 1)]
    ids = torch.tensor([rows[line].ids[at] for line, at in places], device=states.device)
    lines, before = [line for line, _ in places], [at - 1 for _, at in places]
    return token_logprobs(network, states[lines, before], ids)


class StepModel(torch.nn.Module):
    """Backbone and read-out.

    Args:
        network: what is saved as the transformers checkpoint: a bare backbone for form `head`, else a causal LM.
        head: the read-out.
    """

    def __init__(self, network: Any, head: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = head

    @property
    def decoder(self) -> Any:
        """The backbone without a language-model head."""
        return self.network.base_model

    @property
    def device(self) -> torch.device:
        """Where the backbone lies."""
        found: torch.device = self.network.device
        return found

    def forward(self, rows: Sequence[EncodedSteps]) -> torch.Tensor:
        """Logits [N, C] of all steps of all rows, in order."""
        return self.read(padded_states(self.decoder, rows)[0], rows)

    def read(self, states: torch.Tensor, rows: Sequence[EncodedSteps]) -> torch.Tensor:
        """The same, from the hidden states [B, T, H] of all tokens, right-padded."""
        from_all = isinstance(self.head, LogRatioHead)
        found: torch.Tensor = (
            self.head(states, rows) if from_all else self.head(at_steps(states, [0] * len(rows), rows))
        )
        return found


def keep_layers(network: Any, n_layers: int) -> None:
    """Cut a backbone, in place, to its first layers; its final norm stays.

    Raises:
        UserError: it has fewer layers, or keeps them where they are not known to be.
    """
    layers = getattr(network.base_model, "layers", None)
    if layers is None or len(layers) < n_layers:
        has = "no list of layers that is known here" if layers is None else f"{len(layers)} layers"
        raise UserError(f"cannot keep {n_layers} layers of a backbone with {has}.", "Leave out `model.layers`.")
    network.base_model.layers = layers[:n_layers]
    config = network.config.get_text_config()
    config.num_hidden_layers = n_layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:n_layers]


def padded_states(
    decoder: Any, rows: Sequence[EncodedSteps], padding: Literal["left", "right"] = "right"
) -> tuple[torch.Tensor, list[int]]:
    """Hidden states [B, T, H] of all tokens in one padded forward pass, and the column where each row starts."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    starts = [width - len(row.ids) if padding == "left" else 0 for row in rows]
    for line, (start, row) in enumerate(zip(starts, rows, strict=True)):
        ids[line, start : start + len(row.ids)] = torch.tensor(row.ids)
        mask[line, start : start + len(row.ids)] = 1
    ids, mask = ids.to(decoder.device), mask.to(decoder.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    states = decoder(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
    return states, starts


def step_states(
    decoder: Any, rows: Sequence[EncodedSteps], padding: Literal["left", "right"] = "right"
) -> torch.Tensor:
    """Hidden states [N, H] at the last token of each step of all rows, in one padded forward pass.

    Args:
        decoder: a causal backbone.
        rows: encoded solutions.
        padding: the side; it changes nothing but rounding.
    """
    states, starts = padded_states(decoder, rows, padding)
    return at_steps(states, starts, rows)


def at_steps(states: torch.Tensor, starts: Sequence[int], rows: Sequence[EncodedSteps]) -> torch.Tensor:
    """The states [N, H] at the last tokens of steps, out of those of all tokens, [B, T, H]."""
    lines = [line for line, row in enumerate(rows) for _ in row.step_ends]
    places = [start + end for start, row in zip(starts, rows, strict=True) for end in row.step_ends]
    return states[lines, places]


def token_logits(network: Any, states: torch.Tensor) -> torch.Tensor:
    """Logits [N, V] of the next token after hidden states [N, H].

    Raises:
        UserError: the output embedding was left behind when the backbone was loaded.
    """
    outputs = network.get_output_embeddings()
    if outputs is None and not network.config.get_text_config().tie_word_embeddings:
        raise UserError(
            "the language loss needs the output embedding, which form 'head' leaves behind where it is not tied.",
            "Use the form 'tokens', or set `language_weight` to 0.",
        )
    found: torch.Tensor = (
        torch.nn.functional.linear(states, network.get_input_embeddings().weight)
        if outputs is None
        else outputs(states)
    )
    return found


def token_logprobs(network: Any, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [N] of tokens [N] after hidden states [N, H] of a causal language model."""
    head = network.get_output_embeddings()
    parts = [
        head(some).float().log_softmax(-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        for some, chosen in zip(torch.split(states, _AT_ONCE), torch.split(ids, _AT_ONCE), strict=True)
    ]
    return torch.cat(parts)


def step_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Probability [N] that each step is not wrong, uncalibrated, from logits [N, C]."""
    return log_odds(logits.float()).sigmoid()
