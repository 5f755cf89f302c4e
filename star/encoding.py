"""One place turns prompts and completions into token ids, for generation and for training alike.

A model with a chat template gets its prompt as a user turn; one without gets the text as it is. Training on a prompt
that was tokenized differently from the one sampled from is a classic silent bug, so nothing else tokenizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.errors import UserError


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a rendered prompt, with the chat template's turn markers if the tokenizer has one."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return list(tokenizer(prompt)["input_ids"])


def encode_completion(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a completion, ended by the end-of-sequence token."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], eos_id(tokenizer)]


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
