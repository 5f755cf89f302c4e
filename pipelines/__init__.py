"""What runs: the command line, recipes, the run folder and the main job; jobs of their own lie in folders.

stages · what a run is made of        evaluation · models on benchmarks
prm · jobs of the reward model        ppo · PPO as a job
curation · what is done with the data of a run        report · pages about a run
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# `data` and `verifiers` are common names: another package, or a folder of the user's, may shadow ours.
for _sibling in ("data", "verifiers", "prm", "star"):
    _spec = find_spec(_sibling)
    if _spec is None or Path(str(_spec.origin)).parent.parent != Path(__file__).parent.parent:
        raise ImportError(
            f"stepstar needs its own package '{_sibling}', but Python finds {_spec and _spec.origin}. "
            f"Run from another folder, or uninstall the other '{_sibling}'."
        )
