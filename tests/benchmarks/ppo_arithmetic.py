"""PPO of the embedded model on arithmetic, with the gold answer alone and with step rewards from the symbolic checker.

    python tests/benchmarks/ppo_arithmetic.py [ITERATIONS] [SEED] [ARM ...]

An arm is a credit form or `outcome`. The step scorer is `verifiers.check_steps`: 1 for a right step, 0 for a wrong one,
½ for one that cannot be checked. Prints, for each arm, held-out greedy accuracy of base and best policy, KL, alarms,
tokens a second and peak memory. One arm of 20 iterations takes about two minutes on one core.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from data.prompts import PromptTemplate
from data.sources.arithmetic import read_arithmetic
from star.generation.base import SamplingParams
from star.ppo.config import PpoConfig
from star.ppo.credit import CreditConfig, Form
from star.ppo.task import Task

DIFFICULTY = [3, 4]


def score(problem: str, steps: Sequence[str]) -> list[float]:
    """The symbolic checker's verdicts as step scores."""
    from verifiers import check_steps

    return [{"correct": 1.0, "incorrect": 0.0}.get(verdict.status, 0.5) for verdict in check_steps(problem, steps)]


def run(arm: str, iterations: int, seed: int) -> None:
    """Train one arm and print its line."""
    from star.checkpoints import load_checkpoint
    from star.ppo.trainer import PpoTrainer

    with_steps: Any = {} if arm == "outcome" else {"credit": CreditConfig(form=arm)}  # type: ignore[arg-type]
    config = PpoConfig(
        iterations=iterations,
        epochs=2,
        minibatch_size=64,
        micro_batch_size=64,
        learning_rate=1e-3,
        critic_learning_rate=2e-3,
        lora_rank=8,
        kl_coefficient=0.02,
        process_weight=0.0 if arm == "outcome" else 1.0,
        **with_steps,
    )
    task = Task(
        problems=list(read_arithmetic({"n": 1000, "difficulty": DIFFICULTY, "seed": seed})),
        heldout=list(read_arithmetic({"n": 100, "difficulty": DIFFICULTY, "seed": seed}, "test")),
        template=PromptTemplate("arithmetic"),
        sampling=SamplingParams(max_tokens=80),
        scorer=score,
        seed=seed,
    )
    history: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = PpoTrainer(load_checkpoint("embedded"), task, config, folder=Path(folder))
        report = trainer.run(lambda _, numbers, __: history.append(numbers))
    ends = history[:5], history[-5:]
    gold = [sum(one["objective/gold"] for one in part) / len(part) for part in ends]
    every = config.guards.gate_every
    measured = [one["heldout/accuracy"] for one in [history[0], *history[every - 1 :: every]]]
    print(
        f"{arm:12} sampled gold {gold[0]:.3f} -> {gold[1]:.3f}   held out (200, greedy), from 0 on: "
        f"{' '.join(f'{one:.3f}' for one in measured)}, "
        f"best {report.best_accuracy:.3f} after {report.best_iteration}   KL {history[-1]['objective/kl']:.2f}   "
        f"{history[-1]['perf/tokens_per_second']:.0f} tokens/s, {history[-1]['perf/peak_memory_bytes'] / 2**20:.0f} MiB"
        f"   alarms {sorted({alarm.name for _, alarm in report.alarms})} {report.stopped}",
        flush=True,
    )


def main() -> None:
    """Run the arms one after the other."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    arms = sys.argv[3:] or ["outcome", "clip+delta"]
    for arm in arms:
        if arm != "outcome" and arm not in get_args(Form):
            sys.exit(f"no arm '{arm}': use outcome, {', '.join(get_args(Form))}")
        run(arm, iterations, seed)


if __name__ == "__main__":
    main()
