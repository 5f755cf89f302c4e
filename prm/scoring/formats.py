"""The texts of published PRMs that `EncoderConfig` cannot say: where their steps begin, end and are read.

As for every encoder, the ids of the first k steps are a prefix of those of all, so partial solutions score alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from data.errors import UserError
from data.sources.base import RowError
from prm.chat import PLACE, cut_after_markup, render_chat
from prm.encode import EncodedSteps, EncoderConfig, StepEncoder

_TAG = "ки"
LABEL = "+"
"""What RLHFlow's assistant turns say of every step before the one that is read, whatever it was."""


class ShepherdEncoder(StepEncoder):
    """Math-Shepherd's text: `problem Step 1: ... ки`, newline, `Step 2: ... ки`; read at the tag."""

    def __init__(self, tokenizer: Any, config: EncoderConfig) -> None:
        super().__init__(tokenizer, config)
        self._after = ""  # The problem is followed by a space, which belongs to the first step's first token.

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSteps:
        """Token ids, and the place of the tag that ends each step; see `StepEncoder.encode`."""
        for index, step in enumerate(steps):
            if _TAG in step:
                raise RowError("separator_in_step", f"step {index + 1} holds the separator {_TAG!r}")
            if not step.strip():
                raise RowError("empty_step", f"step {index + 1} is empty")
        tagged = [f"{step.strip()} {_TAG}" for step in steps]
        return super().encode(problem, [f" {tagged[0]}", *(f"\n{step}" for step in tagged[1:])] if tagged else [])


class SkyworkEncoder(StepEncoder):
    """Skywork-o1-Open-PRM's text: a beginning-of-sequence token, the problem, a newline; each step and a newline.

    The newline that ends a step is a token of its own, also where the tokenizer would merge it with the step.
    """

    def __init__(self, tokenizer: Any, config: EncoderConfig) -> None:
        super().__init__(tokenizer, config)
        if tokenizer.bos_token_id is None:
            raise UserError("the tokenizer has no beginning-of-sequence token.", "Choose the checkpoint's layout.")
        self._opening = [int(tokenizer.bos_token_id)]
        self._separator_id = int(self._markup_ids(config.separator)[-1])


class TurnsEncoder(StepEncoder):
    """RLHFlow's conversation: each step a user's turn, the first behind the problem, each answered by a label.

    A step is read where its label is about to be said.
    """

    def __init__(self, tokenizer: Any, config: EncoderConfig) -> None:
        super().__init__(tokenizer, config)
        user, assistant = {"role": "user", "content": PLACE}, {"role": "assistant", "content": LABEL}
        start, between, asking = render_chat(tokenizer, [user, assistant, user])
        opening, self._before = cut_after_markup(tokenizer, start)
        if not between.startswith(asking + LABEL):
            raise UserError(f"the chat template changes an assistant's turn {LABEL!r}.", "Choose another layout.")
        answered, before = cut_after_markup(tokenizer, between.removeprefix(asking))
        self._opening, self._closing, self._answer = map(self._markup_ids, (opening, asking, answered))
        label = self._markup_ids(LABEL)
        if before != self._before or self._markup_ids(asking + answered) != [*self._closing, *self._answer]:
            raise UserError("the chat template's turns cannot be told apart.", "Choose another layout.")
        if self._answer[:1] != label:
            raise UserError(f"the label token {LABEL!r} is another one in the chat template.", "Choose another layout.")

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSteps:
        """Token ids, and the place before each label; see `StepEncoder.encode`."""
        if not problem.strip():
            raise RowError("empty_problem", "the problem is empty")
        first, *rest = self._step_texts(steps)
        turns = [f"{problem.strip()} {first.strip()}", *map(str.strip, rest)]
        alone, *pieces = self._text_ids([self._before + text for text in (problem.strip(), *turns)])
        ids, step_ends = list(self._opening), []
        for number, piece in enumerate(pieces):
            ids += [*(self._answer if number else ()), *piece, *self._closing]
            step_ends.append(len(ids) - 1)
        # The problem's last token may be merged with the step: what is shared by all samples ends before it.
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, pieces[0], strict=False)))
        return self._fitting(EncodedSteps(ids, step_ends, len(self._opening) + shared))
