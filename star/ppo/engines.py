"""What draws the rollouts: the policy itself in this process, or vLLM, given the policy's weights after every update.

The policy goes to vLLM as a checkpoint, adapters merged, so vLLM may hold it in another precision: how far its
log-probabilities are from the trainer's own is `sampler/mismatch` of every iteration, and the importance weights make
up for it. Trainer and vLLM share a GPU only if `gpu_memory_utilization` leaves room for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from data.errors import UserError
from star.checkpoints import remove_tree, save_checkpoint
from star.generation import Generator, build_generator
from star.generation.vllm_engine import VllmGenerator
from star.ppo.layouts import Layout
from star.ppo.task import EngineMaker


@contextmanager
def rollout_engine(engine: str, *, batch_size: int, options: Mapping[str, Any], folder: Path) -> Iterator[EngineMaker]:
    """What `Task.engine` wants, for as long as a training lasts.

    Args:
        engine: `transformers` or `vllm`.
        batch_size: samples decoded together.
        options: fields of `VllmConfig`, for `vllm`.
        folder: where the policy lies on its way to vLLM.

    Raises:
        UserError: an engine that cannot be given weights.
    """
    if engine == "vllm":
        with closing(VllmRollouts(options, folder, batch_size=batch_size)) as rollouts:
            yield rollouts
    elif engine == "transformers":
        from star.generation.transformers_engine import TransformersGenerator

        yield lambda layout, _: TransformersGenerator(layout.sampler(), batch_size=batch_size)
    else:
        raise UserError(f"the engine '{engine}' cannot be given the policy's weights.", "Use transformers or vllm.")


class VllmRollouts:
    """One vLLM engine for a whole training.

    Args:
        options: fields of `VllmConfig`.
        folder: where the policy lies on its way to vLLM; deleted by `close`.
        batch_size: most samples decoded together.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path, *, batch_size: int) -> None:
        self.options, self.folder, self.batch_size = options, folder, batch_size
        self._generator: VllmGenerator | None = None
        self._held: tuple[Layout, int] | None = None

    def __call__(self, layout: Layout, iteration: int) -> Generator:
        """The engine with the layout's weights after so many iterations; weights change with that number alone.

        Raises:
            DependencyError: vLLM is not installed.
            UserError: an option is wrong, or vLLM does not know such a model.
            EngineError: vLLM did not start, or died.
        """
        if self._generator and self._held == (layout, iteration):
            return self._generator
        save_checkpoint(layout.merged(), self.folder, provenance={"iteration": iteration})
        if self._generator:
            self._generator.refresh(self.folder)
        else:
            self._generator = self._start()
        self._held = layout, iteration
        return self._generator

    def _start(self) -> VllmGenerator:
        generator = build_generator(
            str(self.folder), engine="vllm", revision=None, batch_size=self.batch_size, options=self.options
        )
        assert isinstance(generator, VllmGenerator)
        return generator

    def close(self) -> None:
        """End vLLM and delete the checkpoint."""
        if self._generator:
            self._generator.close()
        if self.folder.exists():
            remove_tree(self.folder)
