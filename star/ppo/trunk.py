"""The layers below the first trained one: frozen and the same for every role, so their output is computed once a batch.

trlX trains the upper `num_layers_unfrozen` layers and lets the reference branch off at the hidden state before them
(`forward_hydra` in `trlx/models/modeling_ppo.py`); here actor and critic begin there too, in every epoch. The first
pass of a micro-batch is whole and its trunk's output is kept; in later ones the trunk's layers give that output and
compute nothing. All else of a forward pass (embedding, masks, rotary angles) stays the architecture's own. The price is
memory: B*T*H numbers a micro-batch, of the model's dtype, for as long as the micro-batch lives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from data.errors import UserError


@dataclass(frozen=True, slots=True)
class _Kept:
    """Output of the trunk and what it hangs on beside the ids; holding the tensors keeps their identity from reuse."""

    mask: torch.Tensor
    positions: torch.Tensor
    versions: tuple[int, ...]
    output: Any


class Trunk:
    """The lower layers of a causal language model.

    Args:
        model: before it is wrapped by adapters.
        trained_layers: how many layers are above the trunk; 0: all, the trunk is empty.

    Raises:
        UserError: the model has fewer layers, or no list of as many layers as its config says.
    """

    outside: str | None = None
    """Matches the whole name of each module that is not in a trained layer; None where all layers are trained."""

    def __init__(self, model: Any, trained_layers: int) -> None:
        self._layers: Sequence[torch.nn.Module] = ()
        # Keyed by identity and weakly: an entry goes with its micro-batch.
        self._kept: MutableMapping[torch.Tensor, _Kept] = WeakTensorKeyDictionary()
        name, layers = _decoder_layers(model) if trained_layers else ("", torch.nn.ModuleList())
        n = len(layers)
        if trained_layers > n:
            raise UserError(
                f"`trained_layers` is {trained_layers}, and the model has {n} decoder layers.",
                f"Set it to at most {n}; 0 trains all.",
            )
        if 0 < trained_layers < n:
            self._layers = list(layers)[: n - trained_layers]
            self.outside = rf"(?!{re.escape(name)}\.({'|'.join(map(str, range(n - trained_layers, n)))})\.).*"

    @contextmanager
    def shared(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
        """A block for one forward pass of these inputs, each [B, T]; from the second block on the trunk is not run.

        Inputs are the same if the tensors are, and none of them was changed in place since.
        """
        if not self._layers:
            yield
            return
        versions = (ids._version, mask._version, positions._version)
        kept = self._kept.get(ids)
        if kept and kept.mask is mask and kept.positions is positions and kept.versions == versions:
            with self._answering(kept.output):
                yield
        else:

            def keep(_module: torch.nn.Module, _arguments: Any, output: Any) -> None:
                self._kept[ids] = _Kept(mask, positions, versions, output)

            with self._layers[-1].register_forward_hook(keep):
                yield

    @contextmanager
    def _answering(self, output: Any) -> Iterator[None]:
        """Every layer gives the output of the last one; nothing of this is left in the model afterwards."""
        # Accelerate's hooks for offloading are a `forward` of the instance too.
        own = [vars(layer).get("forward") for layer in self._layers]
        for layer in self._layers:
            vars(layer)["forward"] = lambda *_, **__: output
        try:
            yield
        finally:
            for layer, forward in zip(self._layers, own, strict=True):
                del vars(layer)["forward"]
                if forward:
                    vars(layer)["forward"] = forward

    def check(self, logits: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        """Compare a pass that begins above the trunk with a whole one, to the last bit.

        Args:
            logits: a role of the layout, which uses `shared`.

        Raises:
            UserError: they differ: upper layers see more of the lower ones than their output.
        """
        if not self._layers:
            return
        ids = torch.arange(8, device=next(self._layers[0].parameters()).device).unsqueeze(0)
        inputs = ids, torch.ones_like(ids), ids.clone()
        with torch.no_grad():
            whole = logits(*inputs)
            try:
                same = ids in self._kept and torch.equal(whole, logits(*inputs))
            except KeyError:
                # Keys and values of a lower layer that an upper one shares.
                same = False
        if not same:
            raise UserError(
                "this architecture's upper layers need more of the lower ones than their output.",
                "Set `trained_layers: 0`.",
            )


def _decoder_layers(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """Name and list of the decoder layers."""
    n = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n:
            return name, module
    raise UserError(f"no list of {n} decoder layers is found in the model.", "Set `trained_layers: 0`.")
