"""How good a step is: step encoding, process reward models, labels, training, scorers, PRM benchmarks.

from prm import load_scorer
scorer = load_scorer("runs/mine/checkpoints/prm")
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# `data` and `verifiers` are common names: another package, or a folder of the user's, may shadow ours.
for _sibling in ("data", "verifiers"):
    _spec = find_spec(_sibling)
    if _spec is None or Path(str(_spec.origin)).parent.parent != Path(__file__).parent.parent:
        raise ImportError(
            f"stepstar needs its own package '{_sibling}', but Python finds {_spec and _spec.origin}. "
            f"Run from another folder, or uninstall the other '{_sibling}'."
        )

# After the check above: whatever is imported next comes from our own packages. It is light: torch comes with a model.
from prm.scoring import load_scorer  # noqa: E402

__all__ = ["load_scorer"]
