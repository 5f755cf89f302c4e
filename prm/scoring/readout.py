"""A PRM without its network, for backends that run the network elsewhere: encoder, configuration, read-out.

Elsewhere gives hidden states, or logits where it knows the architecture's own head; here they become probabilities. The
read-out of label tokens is two rows of the output embedding, so one pass over a solution serves all of its steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError
from data.model_folder import check_folder, weights_revision
from data.sources.base import RowError
from prm.encode import EncodedSteps, StepEncoder
from prm.model import ClassHead, label_ids, load_head, step_probabilities
from prm.model_config import HEAD, PrmConfig, read_config
from prm.scoring.local import check_plain_logits, context_of
from prm.scoring.published import PUBLISHED, Layout, Published, find_layout, published_encoder, read_tensors

_OUTPUTS = ("lm_head", "embed_out")
_HERE = "Use backend='transformers'."
_INPUTS = (r"(.*\.)?embed_tokens", r"(.*\.)?wte", r"(.*\.)?embed_in")


@dataclass(slots=True)
class Readout:
    """What is left of a PRM when its network runs elsewhere."""

    folder: Path
    tokenizer: Any
    encoder: StepEncoder
    config: PrmConfig
    architecture: str
    """The class that the checkpoint names first; empty where it names none."""
    context: int | None
    """Most tokens that the network can read."""
    head: ClassHead | None
    """The head of form `head`, or for label tokens their rows of the output embedding; None where elsewhere gives more
    than hidden states."""

    @property
    def labels(self) -> tuple[int, int] | None:
        """Ids of the wrong and the right label token; None for form `head`."""
        return label_ids(self.tokenizer, self.config.model) if self.config.model.form == "tokens" else None

    @property
    def task(self) -> str:
        """What vLLM is asked for: each token's hidden state, or its logits."""
        return "token_embed" if self.head is not None else "token_classify"

    @property
    def width(self) -> int:
        """Numbers a token that are wanted from elsewhere: a hidden state's, or the logits'."""
        return self.config.model.classes if self.head is None else next(self.head.parameters()).shape[1]

    @torch.inference_mode()
    def probabilities(self, pooled: torch.Tensor, row: EncodedSteps) -> list[float]:
        """Probabilities of a solution's N steps.

        Args:
            pooled: hidden states or logits, `width` numbers for each token, or for each step's last one.
            row: the solution.

        Raises:
            RowError: `pooled` is neither.
        """
        if pooled.dim() != 2 or pooled.shape[1] != self.width or len(pooled) not in (len(row.ids), len(row.step_ends)):
            raise RowError("bad_answer", f"numbers of shape {tuple(pooled.shape)} for {len(row.ids)} tokens")
        steps = pooled[row.step_ends] if len(pooled) == len(row.ids) else pooled
        logits = steps if self.head is None else self.head(steps)
        found: list[float] = step_probabilities(logits).tolist()
        return found


def load_readout(path: str, layout: Layout, *, native: Sequence[str] = (), label_rows: bool = True) -> Readout:
    """Load all of a PRM but its network.

    Args:
        path: its folder.
        layout: `auto`, `stepstar` or one of `PUBLISHED`.
        native: layouts whose own head is known elsewhere.
        label_rows: whether label tokens are read from hidden states; elsewhere gives their log-probabilities if not.

    Raises:
        UserError: the folder is incomplete, or the layout cannot be read so.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(path)
    check_folder(folder)
    name = find_layout(path) if layout == "auto" else layout
    if name != "stepstar" and name not in PUBLISHED:
        raise UserError(f"the layout '{name}' is not to be had elsewhere.", _HERE)
    published = PUBLISHED.get(name)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    facts = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if published:
        config = published.config.model_copy(update={"revision": weights_revision(folder)})
        encoder = published_encoder(published, tokenizer, path)
    else:
        config = read_config(folder)
        encoder = StepEncoder(tokenizer, config.encoder)
        if config.model.form == "implicit":
            raise UserError("an implicit PRM is two models, and is not to be had elsewhere.", _HERE)
    headed = name not in native and (label_rows or config.model.form == "head")
    return Readout(
        folder=folder,
        tokenizer=tokenizer,
        encoder=encoder,
        config=config,
        architecture=next(iter(facts.architectures or ()), ""),
        context=context_of(facts),
        head=_head(folder, facts, tokenizer, config, published) if headed else None,
    )


def _head(folder: Path, facts: Any, tokenizer: Any, config: PrmConfig, published: Published | None) -> ClassHead:
    if config.model.form == "tokens":
        check_plain_logits(facts)
        tensors = _label_rows(folder, facts, list(label_ids(tokenizer, config.model)))
    elif published and published.head:
        tensors = published.head(folder)
    else:
        tensors = read_tensors(folder, ".*", HEAD)
    head = ClassHead(facts.get_text_config().hidden_size, config.model)
    load_head(head, tensors, f"the head in '{folder}'")
    return head.requires_grad_(False)


def _label_rows(folder: Path, facts: Any, ids: list[int]) -> dict[str, Any]:
    """The rows of the output embedding for some tokens, as a linear head."""
    names = _INPUTS if facts.get_text_config().tie_word_embeddings else _OUTPUTS
    weights = read_tensors(folder, rf"({'|'.join(names)})\.weight", rows=ids)
    biases = read_tensors(folder, rf"({'|'.join(_OUTPUTS)})\.bias", rows=ids)
    if len(weights) != 1:
        raise UserError(f"'{folder}' has no output embedding that is known here.", _HERE)
    (weight,) = weights.values()
    return {"score.0.weight": weight, "score.0.bias": next(iter(biases.values()), weight.new_zeros(len(ids)))}
