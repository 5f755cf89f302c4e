"""Runs a small PPO as one process of those that an environment like torchrun's names.

python ranked_ppo.py FOLDER ITERATIONS
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import torch
    from killed_ppo import small_config, small_task

    from star.checkpoints import load_checkpoint
    from star.ppo.trainer import PpoTrainer
    from star.ranks import launched

    torch.set_num_threads(1)
    config = small_config(iterations=int(sys.argv[2]), critic_warmup=1)
    with launched() as ranks:
        loaded = load_checkpoint("embedded", dtype="float32", device="cpu")
        report = PpoTrainer(loaded, small_task(), config, folder=Path(sys.argv[1]), ranks=ranks).run()
        print([row.gold for row in report.history])
