"""How likely a model finds given completions: log-probabilities by teacher forcing, with and without the hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.batching import batched
from data.prompts import PromptTemplate
from data.records import Problem, Rationale
from data.run_records import LogprobGap
from star.checkpoints import LoadedModel
from star.encoding import encode_completion, encode_prompt, pad_id
from star.leaks import answer_tokens, logprob_gap
from star.packing import Layout, collate, target_logits
from star.rationalize import hint_of
from star.sft import Row


def completion_logprobs(model: Any, rows: Sequence[Row], *, pad: int, batch_size: int = 64) -> list[list[float]]:
    """Log-probability of each token of the completions, in nats, under the untempered model.

    Args:
        model: a causal LM in evaluation mode.
        rows: prompts, which must not be empty, and completions.
        pad: id for padding.
        batch_size: rows of one forward pass.

    Returns:
        One list for each row, as long as its completion.
    """
    import torch

    # Rows of like length share a pass; the result is put back in the order of the rows.
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].prompt) + len(rows[place].completion))
    found: dict[int, list[float]] = {}
    with torch.inference_mode():
        for places in batched(order, batch_size):
            batch = collate([[rows[place]] for place in places], pad, model.device)
            logits = target_logits(model, batch, Layout.PADDED).float().log_softmax(-1)
            chosen = logits.gather(1, batch.targets[:, None])[:, 0]
            parts = chosen.split([rows[place].n_targets for place in places])
            found |= {place: part.tolist() for place, part in zip(places, parts, strict=True)}
    return [found[place] for place in range(len(rows))]


def hint_gaps(
    loaded: LoadedModel, template: PromptTemplate, pairs: Sequence[tuple[Problem, Rationale]], *, batch_size: int = 64
) -> list[LogprobGap]:
    """What the hint adds to the likelihood of each rationale under the model that wrote it.

    Args:
        loaded: model and tokenizer.
        template: of the prompts, plain and hinted.
        pairs: rationales beside their problems.
        batch_size: rows of one forward pass.
    """
    tokenizer, pad = loaded.tokenizer, pad_id(loaded.tokenizer)
    completions = [encode_completion(tokenizer, rationale.text) for _, rationale in pairs]
    scored = [
        completion_logprobs(
            loaded.model,
            [
                Row(encode_prompt(tokenizer, template.render(problem, hint=hint_of(problem) if hinted else "")), ids)
                for (problem, _), ids in zip(pairs, completions, strict=True)
            ],
            pad=pad,
            batch_size=batch_size,
        )
        for hinted in (True, False)
    ]
    answers = [answer_tokens(problem, row.text, _offsets(tokenizer, row.text, ids))
               for (problem, row), ids in zip(pairs, completions, strict=True)]  # fmt: skip
    return [logprob_gap(*row) for row in zip(*scored, answers, strict=True)]


def _offsets(tokenizer: Any, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Characters of each token; none where the text encodes otherwise because it spells a control token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["offset_mapping"]) if encoded["input_ids"] == list(ids[:-1]) else []
