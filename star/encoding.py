"""One place turns prompts and completions into token ids, for generation and for training alike.

A model with a chat template gets its prompt as a user turn; one without gets the text as it is. Training on a prompt
that was tokenized differently from the one sampled from is a classic silent bug, so nothing else tokenizes. Control
tokens come from the chat template alone: `<|im_end|>` or `</s>` in a problem is text like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
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
    return encode_prompts(tokenizer, [prompt])[0]


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """`encode_prompt` of each, in one call of the tokenizer, which costs more than a short prompt does.

    Raises:
        UserError: the chat template fails on a plain user turn.
    """
    texts = []
    for prompt in prompts:
        text, markers = _hide_control(tokenizer, prompt, markup=True)
        texts.append(_reveal(_as_user_turn(tokenizer, text) if tokenizer.chat_template else text, markers))
    if tokenizer.chat_template or not texts:
        return _encode_pieces(tokenizer, texts)
    heads = tokenizer([head for head, *_ in texts])["input_ids"]
    tails = _encode_pieces(tokenizer, [tail for _, *tail in texts])
    return [[*head, *tail] for head, tail in zip(heads, tails, strict=True)]


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
    spelled = [token for token in _control_tokens(tokenizer, len(tokenizer), markup=markup) if token in text]
    if not spelled:
        return text, []
    # The longest first: a marker may begin with another.
    pattern = re.compile("|".join(map(re.escape, sorted(spelled, key=len, reverse=True))))
    return pattern.sub(_HIDDEN, text), pattern.findall(text)


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: Any, n_tokens: int, *, markup: bool) -> tuple[str, ...]:
    """The spellings that `_hide_control` looks for, listed once: some tokenizers have thousands.

    Args:
        tokenizer: the model's.
        n_tokens: its size; one that was given more tokens since is read again.
        markup: see `_hide_control`.
    """
    added = tokenizer.added_tokens_decoder.values()
    control = [str(token) for token in added if token.special or (markup and _MARKUP.fullmatch(str(token)))]
    return tuple(token for token in [*control, _HIDDEN] if token)


def _reveal(text: str, markers: Sequence[str]) -> list[str]:
    """The text in pieces, each marker back in its place but cut after its first character, so that no piece has it."""
    if not markers:
        return [text]
    parts = text.split(_HIDDEN)
    if len(parts) != len(markers) + 1:
        raise UserError("the chat template repeats or drops parts of the prompt.", "Mend `chat_template`.")
    begins, ends = ["", *(marker[1:] for marker in markers)], [*(marker[0] for marker in markers), ""]
    return [begin + part + end for begin, part, end in zip(begins, parts, ends, strict=True)]


def _encode_pieces(tokenizer: Any, texts: Sequence[Sequence[str]]) -> list[list[int]]:
    """Token ids of each text, whose pieces are tokenized apart."""
    flat = [piece for pieces in texts for piece in pieces]
    found = iter(tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
    return [[token for _ in pieces for token in next(found)] for pieces in texts]


def encode_completion(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a completion, ended by the end-of-sequence token."""
    # Markers such as `<think>` are the model's own words here; only special tokens are kept from acting.
    pieces = _reveal(*_hide_control(tokenizer, text, markup=False))
    return [*_encode_pieces(tokenizer, [pieces])[0], eos_id(tokenizer)]


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


def fit_prompts(tokenizer: Any, prompts: Iterable[str], n_new: int, *, limit: int) -> dict[str, list[int] | str]:
    """Token ids of prompts that are to be completed.

    Args:
        tokenizer: the model's.
        prompts: what users wrote; they may repeat.
        n_new: most tokens that a completion may take.
        limit: the model's context, tokens.

    Returns:
        For each prompt its ids, or why it cannot be completed.

    Raises:
        UserError: the chat template fails on a plain user turn.
    """
    distinct = dict.fromkeys(prompts)
    sound = [prompt for prompt in distinct if _is_unicode(prompt)]
    encoded = dict(zip(sound, encode_prompts(tokenizer, sound), strict=True))
    return {prompt: _fitted(encoded.get(prompt), n_new, limit) for prompt in distinct}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fitted(ids: list[int] | None, n_new: int, limit: int) -> list[int] | str:
    if ids is None:
        return "the prompt holds half of a surrogate pair, which no tokenizer takes"
    if not ids:
        return "the prompt has no tokens"
    if len(ids) + n_new > limit:
        return f"prompt of {len(ids)} tokens + {n_new} new ones exceed the context of {limit}"
    return ids
