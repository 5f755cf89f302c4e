r"""Where rewards land: the token that completes each step, found by character offsets in the policy's own tokens.

A PRM sees text, cut into steps, and tokenizes it its own way; the policy drew ids, perhaps not those that its tokenizer
would choose for the text. So a step ends at a character, and its token is the first one with which the decoded ids
reach that character. A token that holds the ends of two steps gets both rewards; one that holds `.\n\nNext` is the end
of the step before; of a character of several tokens the last counts. Nothing is ever tokenized again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from star.encoding import decode_tokens


class MisplacedError(ValueError):
    """The ids do not spell the steps."""


def step_end_tokens(tokenizer: Any, token_ids: Sequence[int], steps: Sequence[str]) -> list[int]:
    """Index of the token that completes each step.

    Args:
        tokenizer: the policy's.
        token_ids: [T], the response as it was drawn.
        steps: the response's text cut into steps; joined, they are a prefix of the decoded ids.

    Returns:
        As many indices into `token_ids` as there are steps, never falling.

    Raises:
        MisplacedError: the steps are no prefix of what the ids decode to, or a step is empty.
    """
    text = "".join(steps)
    if not decode_tokens(tokenizer, token_ids).startswith(text) or not all(steps):
        raise MisplacedError("the tokens do not spell the steps")

    def reached(n_tokens: int) -> int:
        """Characters of the text that the first tokens spell in full."""
        best = 0
        # Bytes of half a character spoil those before them in some decoders; a character has four bytes at most.
        for n in range(n_tokens, max(0, n_tokens - 4), -1):
            prefix = decode_tokens(tokenizer, token_ids[:n])
            best = max(best, _agreement(prefix, text))
            if best in (len(prefix), len(text)):
                break
        return best

    ends = list(accumulate(len(step) for step in steps))
    # The reach never falls, so a handful of decodings finds each end.
    return [bisect_left(range(1, len(token_ids) + 1), end, key=reached) for end in ends]


def _agreement(one: str, other: str) -> int:
    """Length of the common prefix."""
    if other.startswith(one):
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))


def place_rewards(
    n_tokens: int, step_ends: Sequence[int], step_rewards: Sequence[float], final_reward: float
) -> list[float]:
    """Rewards of a response's tokens: each step's on its last token, the final one on the last token of all.

    Args:
        n_tokens: tokens of the response, the end-of-sequence token included; at least 1.
        step_ends: index of the last token of each step.
        step_rewards: one a step.
        final_reward: outcome or penalty.

    Returns:
        [T], zero at every other token.

    Raises:
        ValueError: there are not as many rewards as steps, or an index is out of range.
    """
    if len(step_ends) != len(step_rewards):
        raise ValueError(f"{len(step_rewards)} rewards for {len(step_ends)} steps")
    if any(not 0 <= end < n_tokens for end in step_ends):
        raise ValueError(f"step ends {list(step_ends)} outside a response of {n_tokens} tokens")
    rewards = [0.0] * n_tokens
    for end, reward in zip(step_ends, step_rewards, strict=True):
        rewards[end] += reward
    rewards[-1] += final_reward
    return rewards


def all_finite(rewards: Sequence[float]) -> bool:
    """Whether no reward is NaN or infinite."""
    return all(map(math.isfinite, rewards))
