"""Packing: several training examples in one line of tokens, each of which sees only itself.

Position ids restart with every example, attention stays inside it, and no token is trained to predict the next
example's first. Two layouts do this exactly. On a CPU the examples of a forward pass lie on one line without any
padding, and attention is computed example by example. On an accelerator, where many small kernels would be slow, they
lie on lines as long as the longest, and transformers draws the block-diagonal mask from the position ids. Whether a
model keeps the promise is not looked up in a list but tried on it: one that does not is trained with padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from star.sft import Row

LINE_TOKENS = 2048
"""Tokens of a line on a CPU; longer ones only leave its caches (5 M parameters: a fifth slower at 6,800)."""

_ATTENTION = "stepstar_examples"
"""Name under which `attention_by_example` is registered with transformers."""


class Layout(StrEnum):
    """How the examples of a forward pass lie in its tensor."""

    SPLIT = "split"
    """One after the other on one line; attention is computed for each by itself."""
    MASKED = "masked"
    """On lines of the longest example's length, under a block-diagonal causal mask."""
    PADDED = "padded"
    """A line for each, filled up with padding."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The tensors of one forward pass over B lines of T tokens, with N targets in all."""

    ids: Tensor
    """[B, T]."""
    positions: Tensor
    """[B, T], from 0 in each example; the padding at the end of a line counts as an example."""
    wanted: Tensor
    """[B, T], true where the next token is a target."""
    targets: Tensor
    """[N], in the order of `wanted`."""


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Sort examples into packs by first-fit decreasing; ties go to the earlier example.

    Args:
        lengths: tokens of each example.
        capacity: tokens that a pack may hold; a longer example gets a pack of its own.

    Returns:
        Indices of the examples of each pack.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = next((place for place, free in enumerate(room) if free >= lengths[index]), len(packs))
        if place == len(packs):
            packs.append([])
            room.append(capacity)
        packs[place].append(index)
        room[place] -= lengths[index]
    return packs


def forward_passes(rows: Sequence[Row], layout: Layout, micro_batch_size: int) -> list[list[list[Row]]]:
    """Cut the rows of an optimizer step into forward passes of lines of rows.

    No pass is larger than `micro_batch_size` lines as long as the longest row.
    """
    lengths = [row.n_tokens for row in rows]
    if layout is Layout.SPLIT:
        packs = first_fit(lengths, min(micro_batch_size * max(lengths), max(LINE_TOKENS, *lengths)))
        micro_batch_size = 1
    else:
        # Without packing, no pack holds two, and rows of like length still share a pass.
        packs = first_fit(lengths, max(lengths) if layout is Layout.MASKED else 0)
    lines = [[rows[index] for index in pack] for pack in packs]
    return [lines[start : start + micro_batch_size] for start in range(0, len(lines), micro_batch_size)]


def collate(lines: Sequence[Sequence[Row]], pad: int, device: Any) -> Batch:
    """Lay rows out on lines, each line filled up with `pad` to the longest."""
    import torch

    tokens: list[list[int]] = []
    positions: list[list[int]] = []
    wanted: list[list[bool]] = []
    targets: list[int] = []
    width = max(sum(row.n_tokens for row in line) for line in lines)
    for line in lines:
        ids, places, marks = list[int](), list[int](), list[bool]()
        for row in line:
            example, start = row.prompt + row.completion, max(len(row.prompt), 1)
            ids += example
            places += range(len(example))
            # The last token of an example has no target: what comes next is another's.
            marks += [start <= place + 1 < len(example) for place in range(len(example))]
            targets += example[start:]
        rest = width - len(ids)
        tokens.append(ids + [pad] * rest)
        positions.append([*places, *range(rest)])
        wanted.append(marks + [False] * rest)
    return Batch(*(torch.tensor(values, device=device) for values in (tokens, positions, wanted, targets)))


def target_logits(model: Any, batch: Batch, layout: Layout) -> Any:
    """Logits [N, vocabulary] at the positions before the targets; the language-model head computes no others."""
    # Padding to the right of a causal model needs neither mask nor positions.
    places = {} if layout is Layout.PADDED else {"position_ids": batch.positions}
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][batch.wanted],))
    try:
        # With a cache, transformers would not look for packed examples.
        return model(input_ids=batch.ids, use_cache=False, **places).logits
    finally:
        hook.remove()


def completion_loss(model: Any, lines: Sequence[Sequence[Row]], pad: int, layout: Layout = Layout.PADDED) -> Any:
    """Summed cross-entropy over the completion tokens of rows that lie on lines, in nats."""
    import torch

    batch = collate(lines, pad, model.device)
    logits = target_logits(model, batch, layout)
    return torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


def attention_by_example(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each example of one line by itself, in the form that transformers calls.

    Args:
        module: the attention layer.
        query: [1, heads, T, head size].
        key: [1, key heads, T, head size].
        value: like `key`.
        attention_mask: must be None.
        dropout: share of attention weights to drop.
        scaling: factor of the scores.
        **options: `position_ids` [1, T], which begin at 0 in each example, and what other models bring.

    Returns:
        [1, T, heads, head size], and no weights.

    Raises:
        ValueError: the layer asks for something else than plain causal attention.
    """
    import torch

    special = [
        name for name in ("sliding_window", "softcap", "s_aux", "position_bias") if options.get(name) is not None
    ]
    if special or attention_mask is not None or options.get("position_ids") is None:
        raise ValueError(f"not plain causal attention over examples: {', '.join(special) or 'mask or positions'}")
    starts = (options["position_ids"][0] == 0).nonzero().flatten().tolist()
    sizes = [end - start for start, end in pairwise([*starts, query.shape[2]])]
    attend = partial(
        torch.nn.functional.scaled_dot_product_attention,
        dropout_p=dropout,
        scale=scaling,
        is_causal=True,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    mixed = map(attend, *(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)))
    return torch.cat(list(mixed), dim=2).transpose(1, 2).contiguous(), None


@contextmanager
def attention_for(model: Any, layout: Layout) -> Iterator[None]:
    """Let the model attend as a layout needs it, and as before afterwards."""
    from transformers import AttentionInterface

    before = model.config._attn_implementation
    if layout is Layout.SPLIT:
        AttentionInterface.register(_ATTENTION, attention_by_example)
        model.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        if layout is Layout.SPLIT:
            model.set_attn_implementation(before)


def choose_layout(model: Any, *, packing: bool) -> tuple[Layout, str]:
    """The best layout that a model keeps exactly.

    Returns:
        The layout, and why the model is trained with padding although packing was wished; empty if it is not.
    """
    if not packing:
        return Layout.PADDED, ""
    why = ""
    for layout in (Layout.SPLIT, Layout.MASKED) if model.device.type == "cpu" else (Layout.MASKED,):
        why = _broken_promise(model, layout)
        if not why:
            return layout, ""
    name = type(getattr(model, "get_base_model", lambda: model)()).__name__.removeprefix("FSDP")
    return Layout.PADDED, f"{name} is trained with padding: {why}"


def _broken_promise(model: Any, layout: Layout) -> str:
    """Why a model cannot be packed in a layout; empty if examples in company have the logits that they have alone."""
    import torch

    from star.sft import Row

    # Three short examples of different tokens; in the masked layout also a second line, and padding after it.
    size = model.config.get_text_config().vocab_size
    tokens = [[(7 * place * place + 3 * place + 1 + shift) % size for place in range(8)] for shift in range(3)]
    rows = [Row(ids[:1], ids[1 : 8 - at]) for at, ids in enumerate(tokens)]
    lines = [rows] if layout is Layout.SPLIT else [rows[:2], rows[2:]]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), attention_for(model, layout):
            packed = target_logits(model, collate(lines, 0, model.device), layout).float()
        with torch.no_grad():
            alone = [target_logits(model, collate([[row]], 0, model.device), Layout.PADDED).float() for row in rows]
    except (TypeError, ValueError) as error:
        return str(error).splitlines()[0]
    finally:
        model.train(training)
    expected = torch.cat(alone)
    tolerance = 1e-4 if model.dtype is torch.float32 else 2e-2
    if (packed - expected).abs().max() <= tolerance * expected.abs().max():
        return ""
    return "an example in company does not have the logits that it has alone"
