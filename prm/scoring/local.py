"""The `transformers` backend: scores in this process, one forward pass a solution, batched by tokens.

The result for a solution does not depend on what it is scored with, but for floating point (within 1e-5 in float32).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from data.errors import UserError
from data.records import StepScores
from data.sources.base import RowError
from prm.encode import EncodedSteps, Stepped
from prm.model import LoadedPrm, step_probabilities
from prm.scoring.prefix import batch_states


class TransformersScorer:
    """Scores with a PRM in this process.

    Args:
        loaded: the model.
        batch_tokens: tokens of one forward pass, padding included.
        share_prefix: whether samples of one problem share its prompt; off, each is read whole.
    """

    def __init__(self, loaded: LoadedPrm, *, batch_tokens: int = 8192, share_prefix: bool = True) -> None:
        self.loaded = loaded
        self.batch_tokens = batch_tokens
        self.share_prefix = share_prefix
        self.name = loaded.name
        self.revision = loaded.config.revision
        self.reading = loaded.config.reading

    def score(self, problem: str, steps: Sequence[str]) -> StepScores:
        """Score one solution: one probability a step.

        Raises:
            UserError: it cannot be encoded, e.g. has no steps or is longer than the model's limit.
        """
        try:
            row = self.loaded.encoder.encode(problem, steps)
        except RowError as error:
            raise UserError(f"this solution cannot be scored: {error.detail} ({error.reason}).") from error
        return self._record("", self._scores([row])[0])

    def score_batch(self, items: Iterable[Stepped], counts: Counter[str] | None = None) -> list[StepScores]:
        """Score many solutions; see `prm.scoring.base.Scorer`."""
        counts = Counter() if counts is None else counts
        ids: list[str] = []
        rows: dict[tuple[int, ...], EncodedSteps] = {}
        place: list[tuple[int, ...] | None] = []
        for item in items:
            ids.append(getattr(item, "rationale_id", ""))
            try:
                row = self.loaded.encoder.encode(item.problem, item.steps)
            except RowError as error:
                counts[error.reason] += 1
                place.append(None)
                continue
            counts["encoded"] += 1
            # Samples repeat each other; the ends are part of the key, since equal tokens may be cut in other places.
            key = (*row.ids, -1, *row.step_ends)
            rows[key] = row
            place.append(key)
        found = dict(zip(rows, self._scores(list(rows.values())), strict=True))
        return [self._record(name, found[key] if key is not None else ()) for name, key in zip(ids, place, strict=True)]

    @torch.inference_mode()
    def _scores(self, rows: Sequence[EncodedSteps]) -> list[tuple[float, ...]]:
        """Calibrated probabilities of the steps of each row."""
        model, calibrate = self.loaded.model, self.loaded.config.calibration.apply
        found: list[tuple[float, ...]] = [()] * len(rows)
        for batch, states in batch_states(model.decoder, rows, self.batch_tokens, share=self.share_prefix):
            flat = step_probabilities(model.head(states)).tolist()
            for index in batch:
                n_steps = len(rows[index].step_ends)
                found[index] = tuple(calibrate(score) for score in flat[:n_steps])
                flat = flat[n_steps:]
        return found

    def _record(self, rationale_id: str, scores: tuple[float, ...]) -> StepScores:
        return StepScores(rationale_id=rationale_id, scores=scores, scorer=self.name, revision=self.revision)
