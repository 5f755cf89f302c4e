"""Chat templates cut into the pieces around their texts, so that each can be tokenized for what it is.

The pieces are cut at the control tokens next to a text, as a tokenizer cuts: markup holds control tokens, and plain
text beside a problem is tokenized together with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from data.errors import UserError

PLACE = "\ue000problem\ue000"
"""Stands for a text while a chat template is rendered: a template may strip or rewrite what it is given."""


def chat_frame(tokenizer: Any, system: str) -> tuple[str, str, str, str]:
    """The chat template around a problem: markup, plain text, (problem,) plain text, markup."""
    turns = [{"role": "system", "content": system}] if system else []
    before, after = render_chat(tokenizer, [*turns, {"role": "user", "content": PLACE}])
    opening, text_before = cut_after_markup(tokenizer, before)
    text_after, closing = cut_before_markup(tokenizer, after)
    return opening, text_before, text_after, closing


def render_chat(tokenizer: Any, turns: Sequence[dict[str, str]]) -> list[str]:
    """The tokenizer's chat template over some turns and the opening of an answer, cut at each `PLACE`.

    Raises:
        UserError: there is no template, it refuses the turns, or does not show each `PLACE` once.
    """
    if not tokenizer.chat_template:
        raise UserError("the tokenizer has no chat template.", "Use the format 'plain'.")
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise UserError(
            f"the chat template refuses its turns: {error}.", "Leave out `system`, or use 'plain'."
        ) from error
    parts: list[str] = text.split(PLACE)
    if len(parts) != 1 + sum(turn["content"] == PLACE for turn in turns):
        raise UserError("the chat template does not show the user's turn once.", "Use the format 'plain'.")
    return parts


def cut_after_markup(tokenizer: Any, text: str) -> tuple[str, str]:
    """A text cut behind its last control token, as a tokenizer cuts it."""
    cut = max((match.end() for match in _marks(tokenizer, text)), default=0)
    return text[:cut], text[cut:]


def cut_before_markup(tokenizer: Any, text: str) -> tuple[str, str]:
    """A text cut before its first control token."""
    cut = min((match.start() for match in _marks(tokenizer, text)), default=len(text))
    return text[:cut], text[cut:]


def _marks(tokenizer: Any, text: str) -> Iterator[re.Match[str]]:
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    pattern = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True))
    return re.finditer(pattern, text) if special else iter(())
