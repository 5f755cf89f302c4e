"""The `transformers` backend: scores in this process, one forward pass a solution, batched by tokens.

The result for a solution does not depend on what it is scored with, but for floating point (within 1e-5 in float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from data.errors import UserError
from prm.encode import EncodedSteps
from prm.model import LoadedPrm, step_probabilities
from prm.scoring.base import RowScorer
from prm.scoring.prefix import batch_states


def context_of(config: Any) -> int | None:
    """Most tokens that a model of this transformers configuration can read; None where it states no limit."""
    found: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found


def check_plain_logits(config: Any) -> None:
    """Raise a UserError if a model changes its logits after its output embedding, which is all that is read here."""
    for setting in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config.get_text_config(), setting, None) not in (None, 1, 1.0):
            raise UserError(f"label tokens cannot be read from a model with {setting}.", "Use the form 'head'.")


class TransformersScorer(RowScorer):
    """Scores with a PRM in this process.

    Args:
        loaded: the model.
        batch_tokens: tokens of one forward pass, padding included.
        share_prefix: whether samples of one problem share its prompt; off, each is read whole.
    """

    def __init__(self, loaded: LoadedPrm, *, batch_tokens: int = 4096, share_prefix: bool = True) -> None:
        super().__init__(loaded.encoder, loaded.config, loaded.name, context_of(loaded.model.network.config))
        self.loaded = loaded
        self.batch_tokens = batch_tokens
        self.share_prefix = share_prefix

    @torch.inference_mode()
    def _probabilities(self, rows: Sequence[EncodedSteps]) -> list[list[float]]:
        model = self.loaded.model
        found: list[list[float]] = [[] for _ in rows]
        for batch, states in batch_states(model.decoder, rows, self.batch_tokens, share=self.share_prefix):
            flat = step_probabilities(model.head(states)).tolist()
            for index in batch:
                n_steps = len(rows[index].step_ends)
                found[index], flat = flat[:n_steps], flat[n_steps:]
        return found
