"""The processes of one training: who takes which rows of a batch, and how gradients and weights come together.

With `ddp` every process holds the whole model and the gradients are summed once an optimizer step, tensor by tensor in
one order. Torch's own wrapper is not used: it regroups the gradients after its first step, so a resumed training would
add them in another order than an uninterrupted one, and a process that must repeat its rows after running out of memory
would leave the others in the middle of a sum. With `fsdp` torch's `fully_shard` cuts weights, gradients and moments
into a part for each process. Both work on GPUs (NCCL) and on CPUs (gloo).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from star.sft import Row


Answer = TypeVar("Answer")


class Ranks:
    """This process among those of its training; by default the only one.

    Args:
        rank: number of this process, from 0.
        size: number of processes; torch.distributed must be initialised if there are several.
        sharded: whether each holds a part of the weights (FSDP) rather than all of them.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, sharded: bool = False) -> None:
        self.rank, self.size, self.sharded = rank, size, sharded
        self._plain: Any = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    @property
    def loss_scale(self) -> int:
        """Factor of the loss of a forward pass: `fully_shard` takes the mean over the processes, not the sum."""
        return self.size if self.sharded else 1

    def shares(self, rows: Sequence[Row]) -> list[list[Row]]:
        """The rows of a batch for each process: longest first, each to the process with the fewest tokens so far."""
        if self.size == 1:
            return [list(rows)]
        shares: list[list[Row]] = [[] for _ in range(self.size)]
        tokens = [0] * self.size
        for row in sorted(rows, key=lambda row: -row.n_tokens):
            place = tokens.index(min(tokens))
            shares[place].append(row)
            tokens[place] += row.n_tokens
        return shares

    def spread(self, model: Any) -> None:
        """Cut the model's weights into a part for each process and move them to its device; only if `sharded`."""
        if not self.sharded:
            return
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        # What the parts are put together into again, on the CPU of the first process alone.
        self._plain = copy.deepcopy(model) if self.first else None
        mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (self.size,))
        layers = set(model._no_split_modules or ())
        for module in [module for module in model.modules() if type(module).__name__ in layers]:
            fully_shard(module, mesh=mesh)
        # A root that stays whole after a forward pass would not see weights that are restored after it.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)

    def add_up(self, weights: Iterable[Any], total: Any = None) -> None:
        """Sum the loss, if given, and, unless `sharded` has done it, the gradients over the processes, in place."""
        if self.size == 1:
            return
        import torch
        from torch.distributed import all_reduce

        tensors = [] if total is None else [total]
        for weight in () if self.sharded else weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            tensors.append(weight.grad)
        for work in [all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()

    def decided(self, decide: Callable[[], Answer]) -> Answer:
        """What the first process makes of something, told to all, so that they go on alike; its error is theirs too."""
        if self.size == 1:
            return decide()
        from torch.distributed import broadcast_object_list

        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = decide()
            except Exception as error:  # noqa: BLE001 - raised below, in every process.
                told[1] = error
        broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        return cast("Answer", told[0])

    def joint(self, part: Sequence[Answer]) -> list[Answer]:
        """The parts of all processes one behind the other, in all of them."""
        if self.size == 1:
            return list(part)
        from torch.distributed import all_gather_object

        parts: list[Any] = [None] * self.size
        all_gather_object(parts, list(part))
        return [entry for of_rank in parts for entry in of_rank]

    def span(self, items: Sequence[Answer]) -> Sequence[Answer]:
        """This process's part of a sequence; `joint` of the parts is the sequence."""
        return items[len(items) * self.rank // self.size : len(items) * (self.rank + 1) // self.size]

    def smallest(self, number: int, device: Any) -> int:
        """The smallest of the processes' numbers."""
        if self.size == 1:
            return number
        import torch
        from torch.distributed import ReduceOp, all_reduce

        tensor = torch.tensor(number, device=device)
        all_reduce(tensor, ReduceOp.MIN)
        return int(tensor)

    def whole(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """The tensors put together from their parts, one after the other; on the CPU, and of use to the first only."""
        if not self.sharded:
            return tensors
        found = {}
        for name, tensor in tensors.items():
            full = tensor.full_tensor()
            if self.first:
                found[name] = full.cpu()
        return found

    def gather(self, model: Any, weights: dict[str, Any]) -> Any:
        """The trained model as a plain one; where it was sharded, on the CPU, and None but in the first process."""
        if not self.sharded:
            return model
        import torch

        whole = self.whole({name: weight.detach() for name, weight in weights.items()})
        with torch.no_grad():
            for name, tensor in whole.items():
                self._plain.get_parameter(name).copy_(tensor)
        return self._plain


ALONE = Ranks()
"""One process, which is first and has everything."""


@contextmanager
def launched() -> Iterator[Ranks]:
    """The processes that `accelerate launch` or `torchrun` started, the first of which prints; one if neither did.

    Accelerate picks the device of each and the way of talking: NCCL between GPUs, gloo between CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    import torch
    from accelerate import PartialState

    # The first judges while the others wait, which may take hours; one that dies ends the others by its launcher.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
    ranks = Ranks(state.process_index, state.num_processes)
    with ExitStack() as stack:
        if not ranks.first:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield ranks
    state.destroy_process_group()
