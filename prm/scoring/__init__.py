"""Scoring: a PRM as something that takes a problem and steps and gives one probability a step.

from prm import load_scorer
scorer = load_scorer("runs/mine/checkpoints/prm")
scorer.score("2+3-1=?", ["2+3=5", "5-1=4"]).scores
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    from prm.scoring.local import TransformersScorer
    from prm.scoring.published import Layout

BACKENDS = ("transformers",)
LAYOUTS = ("auto", "stepstar", "qwen_prm", "math_shepherd")


def load_scorer(
    path: str,
    backend: str = "transformers",
    *,
    layout: Layout = "auto",
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int = 8192,
    share_prefix: bool = True,
) -> TransformersScorer:
    """Load a PRM for scoring.

    Args:
        path: folder of a checkpoint, or its hub id.
        backend: `transformers`.
        layout: `auto` knows checkpoints with a `prm.json` and the Qwen2.5-Math-PRM architecture; `qwen_prm` and
            `math_shepherd` name a published one.
        device: `auto` (an accelerator if there is one) or a torch device.
        dtype: `auto` (bfloat16 on an accelerator, float32 elsewhere) or a torch dtype by name.
        batch_tokens: tokens of one forward pass, padding included; lower it when memory is short.
        share_prefix: whether samples of one problem share its prompt.

    Raises:
        UserError: no such backend or layout, or the checkpoint cannot be used.
    """
    for kind, name, names in (("backend", backend, BACKENDS), ("layout", layout, LAYOUTS)):
        if name not in names:
            raise UserError(f"no {kind} '{name}' for scoring.", f"Use {' or '.join(names)}.")
    from prm.model import load_prm
    from prm.model_config import local_folder
    from prm.scoring.local import TransformersScorer
    from prm.scoring.published import find_layout, load_math_shepherd, load_qwen_prm

    loaders = {"stepstar": load_prm, "qwen_prm": load_qwen_prm, "math_shepherd": load_math_shepherd}
    folder = str(local_folder(path))
    loaded = loaders[find_layout(folder) if layout == "auto" else layout](folder, device=device, dtype=dtype)
    loaded.name = path
    return TransformersScorer(loaded, batch_tokens=batch_tokens, share_prefix=share_prefix)
