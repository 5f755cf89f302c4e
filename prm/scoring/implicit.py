"""Implicit PRMs (Yuan et al., arXiv 2412.01981; EurusPRM): the log-ratio of two causal language models as a reward.

The value after a step is Q = beta * sum of log pi(token) - log pi_ref(token) over the tokens of all steps so far, each
with its separator; a step's own reward is what it adds. The score is the sigmoid of Q, as in the cross-entropy that
such models are trained with: 1/2 before the first step, above it where the policy finds the solution likelier than the
reference does. EurusPRM's card reads within a token of that: it counts the end-of-turn token in place of a separator.
Published ones are a policy and a reference that must be named; our own hold both in one folder (`scorer_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from data.errors import UserError
from data.ids import content_id
from prm.aggregate import Reading
from prm.encode import EncodedSteps, EncoderConfig, StepEncoder
from prm.model import LoadedPrm, load_network
from prm.model_config import ModelForm, PrmConfig
from prm.network import LogRatioHead, log_ratio_values, token_logprobs
from prm.scoring.base import RowScorer
from prm.scoring.local import TransformersScorer, check_plain_logits, context_of
from prm.scoring.prefix import batch_states

_CONFIG = PrmConfig(
    model=ModelForm(form="tokens"),  # Both networks are causal language models.
    encoder=EncoderConfig(format="chat", separator="\n\n", max_tokens=4096),
    reading=Reading(start=0.5, aggregation="last"),
)


def load_implicit(
    name: str,
    folder: str,
    reference: str,
    beta: float,
    *,
    device: str,
    dtype: str,
) -> ImplicitScorer:
    """Load an implicit PRM and its reference model.

    Raises:
        UserError: no reference is given, or the two do not share a vocabulary.
    """
    if not reference:
        raise UserError("an implicit PRM needs the model that it was trained from.", "Give reference='owner/name'.")
    policy, tokenizer, revision = load_network(folder, _CONFIG.model, device=device, dtype=dtype)
    base, others, base_revision = load_network(reference, _CONFIG.model, device=device, dtype=dtype)
    if not tokenizer.get_vocab().items() <= others.get_vocab().items():
        raise UserError(f"'{name}' and '{reference}' have different vocabularies.", "Give the model it was made from.")
    config = _CONFIG.model_copy(update={"revision": content_id("implicit", revision, base_revision, repr(beta))})
    encoder = StepEncoder(tokenizer, config.encoder)
    return ImplicitScorer((policy, base), encoder, config, name, ModelForm(form="implicit", beta=beta))


class ImplicitScorer(RowScorer):
    """Scores with two causal language models.

    Args:
        networks: the policy that was trained, and its reference.
        encoder: of both.
        config: reading, calibration, revision.
        name: of the policy.
        form: scale of the log-ratio, and what it is summed over.
        batch_tokens: tokens of one forward pass, padding included.
        share_prefix: whether samples of one problem share its prompt.
    """

    def __init__(
        self,
        networks: Sequence[Any],
        encoder: StepEncoder,
        config: PrmConfig,
        name: str,
        form: ModelForm,
        *,
        batch_tokens: int = 4096,
        share_prefix: bool = True,
    ) -> None:
        for network in networks:
            check_plain_logits(network.config)
        limits = [limit for network in networks if (limit := context_of(network.config)) is not None]
        super().__init__(encoder, config, name, min(limits, default=None))
        self.networks, self.form = networks, form
        self.batch_tokens, self.share_prefix = batch_tokens, share_prefix

    @torch.inference_mode()
    def _probabilities(self, rows: Sequence[EncodedSteps]) -> list[list[float]]:
        policy, reference = (self._logprobs(network, rows) for network in self.networks)
        found = []
        for row, ours, theirs in zip(rows, policy, reference, strict=True):
            # In double precision: a sum over a long solution is read at every step.
            found.append(log_ratio_values(ours.double() - theirs.double(), row, self.form).sigmoid().tolist())
        return found

    def _logprobs(self, network: Any, rows: Sequence[EncodedSteps]) -> list[torch.Tensor]:
        """Log-probabilities of all tokens of the steps of each row."""
        # Read at every token before one of a step; the last one of the prompt is computed with the steps therefore.
        reads = [
            EncodedSteps(row.ids, list(range(row.prompt_length - 1, row.step_ends[-1])), row.prompt_length - 1)
            for row in rows
        ]
        found = [torch.empty(0)] * len(rows)
        for batch, states in batch_states(network.base_model, reads, self.batch_tokens, share=self.share_prefix):
            ids = [rows[index].ids[rows[index].prompt_length : rows[index].step_ends[-1] + 1] for index in batch]
            flat = token_logprobs(
                network, states, torch.tensor([one for row in ids for one in row], device=states.device)
            )
            for index, part in zip(batch, torch.split(flat, list(map(len, ids))), strict=True):
                found[index] = part.cpu()
        return found


def scorer_of(loaded: LoadedPrm, *, batch_tokens: int = 4096, share_prefix: bool = True) -> RowScorer:
    """The scorer in this process that fits a PRM's form."""
    head = loaded.model.head
    if not isinstance(head, LogRatioHead):
        return TransformersScorer(loaded, batch_tokens=batch_tokens, share_prefix=share_prefix)
    return ImplicitScorer(
        (loaded.model.network, head.reference), loaded.encoder, loaded.config, loaded.name, head.form,
        batch_tokens=batch_tokens, share_prefix=share_prefix,
    )  # fmt: skip
