"""What changes the policy: generation engines, rationalization, selection, fine-tuning, PPO, search.

from star import load_generator
generator = load_generator("embedded")
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from star.generation.base import Generator

# `data` and `verifiers` are common names: another package, or a folder of the user's, may shadow ours.
for _sibling in ("data", "verifiers", "prm"):
    _spec = find_spec(_sibling)
    if _spec is None or Path(str(_spec.origin)).parent.parent != Path(__file__).parent.parent:
        raise ImportError(
            f"stepstar needs its own package '{_sibling}', but Python finds {_spec and _spec.origin}. "
            f"Run from another folder, or uninstall the other '{_sibling}'."
        )

__all__ = ["load_generator"]


def load_generator(
    model: str,
    *,
    engine: str = "transformers",
    revision: str | None = None,
    batch_size: int = 64,
    **options: Any,
) -> Generator:
    """Load a generation engine.

    Args:
        model: `embedded`, a local folder or a hub id; for `http` the model's name at the server; for `scripted` a JSON
            file of answers.
        engine: `transformers`, `vllm`, `http` or `scripted`.
        revision: hub commit, tag or branch.
        batch_size: samples decoded together; for `http`, requests in flight.
        **options: the engine's own: for `http` the fields of `star.generation.openai_api.HttpConfig`, above all
            `base_url`; for `vllm` those of `star.generation.vllm_setup.VllmConfig`.

    Raises:
        UserError: unknown engine or option, or a model that cannot be loaded.
        DependencyError: the engine's package is not installed.
    """
    from star.generation import build_generator

    return build_generator(model, engine=engine, revision=revision, batch_size=batch_size, options=options)
