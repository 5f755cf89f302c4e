"""One place turns prompts and completions into token ids, for generation and for training alike.

A model with a chat template gets its prompt as a user turn; one without gets the text as it is. Training on a prompt
that was tokenized differently from the one sampled from is a classic silent bug, so nothing else tokenizes. Control
tokens come from the chat template alone: `<|im_end|>` or `</s>` in a problem is text like any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from data.errors import UserError

_HIDDEN = "\ufdd0"
"""Stands for a control token's text while the chat template runs; Unicode keeps this code point free of characters."""
_MARKUP = re.compile(r"[<\[{|].*[>\]}|]", re.DOTALL)


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt, with the chat template's turn markers if the tokenizer has one.

    Raises:
        UserError: the chat template fails on a plain user turn.
    """
    text, markers = _hide_control(tokenizer, prompt, markup=True)
    if not tokenizer.chat_template:
        head, *tail = _reveal(text, markers)
        return [*tokenizer(head)["input_ids"], *_encode_pieces(tokenizer, tail)]
    return _encode_pieces(tokenizer, _reveal(_as_user_turn(tokenizer, text), markers))


def _as_user_turn(tokenizer: Any, text: str) -> str:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": text}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except (TemplateError, ValueError) as error:
        raise UserError(
            f"the model's chat template fails: {' '.join(str(error).split())}.",
            "Mend `chat_template` of its tokenizer, or remove it to send prompts as they are.",
        ) from error


def _hide_control(tokenizer: Any, text: str, *, markup: bool) -> tuple[str, list[str]]:
    """The text with `_HIDDEN` for each control token that it spells, and the spellings.

    Args:
        tokenizer: its special tokens are control tokens.
        text: what a problem or a model wrote.
        markup: whether added tokens in brackets, such as `<think>`, count as well although they are not special.
    """
    added = tokenizer.added_tokens_decoder.values()
    control = [str(token) for token in added if token.special or (markup and _MARKUP.fullmatch(str(token)))]
    spelled = [token for token in [*control, _HIDDEN] if token and token in text]
    if not spelled:
        return text, []
    # The longest first: a marker may begin with another.
    pattern = re.compile("|".join(map(re.escape, sorted(spelled, key=len, reverse=True))))
    return pattern.sub(_HIDDEN, text), pattern.findall(text)


def _reveal(text: str, markers: Sequence[str]) -> list[str]:
    """The text in pieces, each marker back in its place but cut after its first character, so that no piece has it."""
    if not markers:
        return [text]
    parts = text.split(_HIDDEN)
    if len(parts) != len(markers) + 1:
        raise UserError("the chat template repeats or drops parts of the prompt.", "Mend `chat_template`.")
    begins, ends = ["", *(marker[1:] for marker in markers)], [*(marker[0] for marker in markers), ""]
    return [begin + part + end for begin, part, end in zip(begins, parts, ends, strict=True)]


def _encode_pieces(tokenizer: Any, pieces: Sequence[str]) -> list[int]:
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]


def encode_completion(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a completion, ended by the end-of-sequence token."""
    # Markers such as `<think>` are the model's own words here; only special tokens are kept from acting.
    pieces = _reveal(*_hide_control(tokenizer, text, markup=False))
    return [*_encode_pieces(tokenizer, pieces), eos_id(tokenizer)]


def decode_tokens(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of generated ids, without special tokens, spaces untouched."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def eos_id(tokenizer: Any) -> int:
    """The end-of-sequence id.

    Raises:
        UserError: the tokenizer has none, so no sample could ever end.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-sequence token.", "Set `eos_token` in its tokenizer_config.json.")
    return int(tokenizer.eos_token_id)


def pad_id(tokenizer: Any) -> int:
    """An id for padding; always masked, so any valid one will do where the tokenizer names none."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_id(tokenizer))


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def context_error(n_prompt: int, n_new: int, limit: int) -> str:
    """Why a prompt and its completion do not fit the context, in tokens; empty where they do."""
    if n_prompt + n_new <= limit:
        return ""
    return f"prompt of {n_prompt} tokens + {n_new} new ones exceed the context of {limit}"
