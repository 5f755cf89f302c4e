r"""The one place that turns a problem and its steps into token ids and read-out positions, for training and scoring.

Each step is tokenized on its own, its separator with it, behind what came before. So no token ever spans two steps,
whatever separators merge with; the read-out position of a step is the last token of the step with its separator, by
construction and not by a search for a separator token; and the ids of the first k steps are a prefix of the ids of all
of them, so a step scores alike in a partial and in a whole solution. (Tokenized as one text, GPT-2's tokenizer makes
`\n\n` one token after the last step and two after any other, which tells a model where a solution was cut off.)

Nothing in a problem or a step is read as a control token. A row is never truncated: each step has its position or the
row is rejected with a named reason: `zero_steps`, `empty_step`, `empty_problem`, `separator_in_step`, `vanished_step`
(the tokenizer leaves nothing of a step and its separator), `control_token`, `bad_utf8`, `too_long`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field

from data.config import Config
from data.errors import UserError
from data.sources.base import RowError
from data.steps import refuse_text
from prm.chat import chat_frame

_ANCHOR = "\n"


class EncoderConfig(Config):
    """How problem and steps become one text. It belongs to a model: what it was trained with is what it scores with."""

    format: Literal["plain", "chat"] = "plain"
    """`plain`: the tokenizer's opening tokens, the problem, a newline, the steps. `chat`: the problem as a user turn of
    the tokenizer's chat template, the steps as the assistant's."""
    separator: str = "\n"
    r"""Follows each step, e.g. `\n\n`, ` ки`, `<extra_0>`. It replaces the white space around the step. A token of the
    tokenizer's own added ones is put in as that token. Empty: steps are taken to the letter, white space and all."""
    system: str = ""
    """System turn of the chat format; empty: whatever the template does without one."""
    max_tokens: int = Field(default=2048, ge=1)
    """A longer row is rejected, not cut: a step without its position would lose its label without a word."""


@dataclass(frozen=True, slots=True)
class EncodedSteps:
    """A problem and its steps as token ids."""

    ids: list[int]
    """All token ids, [T]."""
    step_ends: list[int]
    """Index into `ids` of the last token of each step and its separator: the read-out positions, strictly rising."""
    prompt_length: int
    """Tokens before the first step."""


class Stepped(Protocol):
    """Anything with a problem and steps, such as `prm.labels.LabelledSolution`."""

    @property
    def problem(self) -> str:
        """The question as posed."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The solution, cut into steps."""


Item = TypeVar("Item", bound=Stepped)


class StepEncoder:
    """Encodes problems and steps for one tokenizer and one format.

    Args:
        tokenizer: a fast tokenizer of transformers; it is copied, not changed.
        config: the format.

    Raises:
        UserError: the tokenizer is not a fast one, or has no chat template where one is needed.
    """

    def __init__(self, tokenizer: Any, config: EncoderConfig | None = None) -> None:
        self.config = config or EncoderConfig()
        self._backend = _plain_backend(tokenizer)
        self._marked = copy.deepcopy(self._backend)
        self._marked.encode_special_tokens = False
        added = {str(token): int(key) for key, token in tokenizer.added_tokens_decoder.items()}
        self._separator_id = added.get(self.config.separator)
        # What is unknown to a vocabulary is no control token, though tokenizers list it as one.
        self._control = {*tokenizer.all_special_ids, self._separator_id} - {tokenizer.unk_token_id}
        if self.config.format == "chat":
            opening, self._before, self._after, closing = chat_frame(tokenizer, self.config.system)
            self._opening, self._closing = self._markup_ids(opening), self._markup_ids(closing)
        else:
            self._opening, self._before, self._after, self._closing = _opening_ids(self._marked), "", "\n", []

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSteps:
        """Token ids and read-out positions of one solution.

        Raises:
            RowError: the row cannot be encoded whole; the reason is one of those named above.
        """
        if not problem.strip():
            raise RowError("empty_problem", "the problem is empty")
        pieces = [f"{self._before}{problem}{self._after}", *self._step_texts(steps)]
        first, *rest = self._text_ids(pieces)
        ids = [*self._opening, *first, *self._closing]
        prompt_length, step_ends = len(ids), []
        for index, piece in enumerate(rest):
            if not piece:
                raise RowError("vanished_step", f"the tokenizer leaves nothing of step {index + 1}")
            ids += piece
            if self._separator_id is not None:
                ids.append(self._separator_id)
            step_ends.append(len(ids) - 1)
        return self._fitting(EncodedSteps(ids, step_ends, prompt_length))

    def _fitting(self, row: EncodedSteps) -> EncodedSteps:
        """The row, unless it is too long."""
        n_tokens, limit = len(row.ids), self.config.max_tokens
        if n_tokens > limit:
            raise RowError("too_long", f"{n_tokens} tokens in {len(row.step_ends)} steps; the limit is {limit}")
        return row

    def _markup_ids(self, text: str) -> list[int]:
        """Ids of a text whose control tokens are meant."""
        return list(self._marked.encode(text, add_special_tokens=False).ids)

    def _step_texts(self, steps: Sequence[str]) -> list[str]:
        """Each step as it is tokenized."""
        separator = self.config.separator
        refuse_text(steps)
        if not steps:
            raise RowError("zero_steps", "the solution has no steps")
        for index, step in enumerate(steps):
            if not step.strip():
                raise RowError("empty_step", f"step {index + 1} is empty")
            # White space within a step is harmless; a mark is not: tools that look for marks would find too many.
            if separator.strip() and separator.strip() in step:
                raise RowError("separator_in_step", f"step {index + 1} holds the separator {separator.strip()!r}")
        if not separator:
            return list(steps)
        ending = separator if self._separator_id is None else ""
        return [step.strip() + ending for step in steps]

    def _text_ids(self, pieces: Sequence[str]) -> list[list[int]]:
        """Ids of each text, none of them a control token."""
        try:
            "".join(pieces).encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError("bad_utf8", "the text holds half of a surrogate pair") from error
        first, *rest = pieces
        texts = [first, *(_ANCHOR + piece for piece in rest)]
        encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        found = [encodings[0].ids]
        found += [self._behind_anchor(encoding, piece) for encoding, piece in zip(encodings[1:], rest, strict=True)]
        # Unigram and word-level models have control tokens in their vocabulary and find them in plain text.
        if not all(self._control.isdisjoint(ids) for ids in found):
            raise RowError("control_token", "the text spells a control token of the tokenizer")
        return found

    def _behind_anchor(self, encoding: Any, piece: str) -> list[int]:
        """Ids of a text that was tokenized behind a newline, without those of the newline.

        On its own a text would start with a space under SentencePiece, which no text after another has.
        """
        kept = next((at for at, (_, end) in enumerate(encoding.offsets) if end > len(_ANCHOR)), len(encoding.ids))
        if kept < len(encoding.ids) and encoding.offsets[kept][0] < len(_ANCHOR):  # Merged with the newline.
            return list(self._backend.encode(piece, add_special_tokens=False).ids)
        return list(encoding.ids[kept:])


def encode_all(
    encoder: StepEncoder, items: Iterable[Item], counts: Counter[str]
) -> Iterator[tuple[Item, EncodedSteps]]:
    """Encode a stream; what cannot be encoded is left out and counted by reason.

    Args:
        encoder: the encoder.
        items: anything with `problem` and `steps`.
        counts: `encoded` and the reasons are added to it.

    Yields:
        Each item that was encoded, with as many read-out positions as it has steps.
    """
    for item in items:
        try:
            encoded = encoder.encode(item.problem, item.steps)
        except RowError as error:
            counts[error.reason] += 1
            continue
        counts["encoded"] += 1
        yield item, encoded


def _plain_backend(tokenizer: Any) -> Any:
    """A copy of the tokenizer's backend that reads special tokens as text, pads nothing and truncates nothing.

    A copy, because these are settings of the shared backend that every other call would change back.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        name = type(tokenizer).__name__
        raise UserError(
            f"{name} is no fast tokenizer.", "Load it by AutoTokenizer, or convert it: it needs tokenizer.json."
        )
    backend = copy.deepcopy(backend)
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    return backend


def _opening_ids(backend: Any) -> list[int]:
    """What the tokenizer puts before any text, such as a beginning-of-sequence token; what it appends is left out."""
    encoding = backend.encode("a", add_special_tokens=True)
    length = next((at for at, special in enumerate(encoding.special_tokens_mask) if not special), 0)
    return list(encoding.ids[:length])
