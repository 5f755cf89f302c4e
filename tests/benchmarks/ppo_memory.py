"""Memory and time of a PPO step: hydra (one backbone, adapters on all or half its layers) against four whole models.

    python tests/benchmarks/ppo_memory.py MODEL_FOLDER [OUT.json] [ROWS] [TOKENS] [MICRO_BATCH]

Classic: policy, reference, value and reward model each whole, policy and value trained in every weight. Hydra: one
frozen backbone; policy, value and reward are LoRA adapters of rank 16 on it, the last two with a head, the reference is
the backbone alone. Upper half: the same with adapters on the upper half of the layers (`trained_layers`), so that the
lower half runs once for all four and is not differentiated. A step is what follows the drawing of the responses, which
is the same for all: rewards, old and reference log-probabilities, values, and one AdamW step of policy and value. Same
random responses, float32, one thread. Each side runs in a process of its own, one step to warm up and one that is
measured; the peak is the process's, its libraries included. `tests/benchmarks/results/ppo_memory.json` is the stored
result of SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import copy
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from star.ppo.batches import MicroBatch
from star.ppo.layouts import FullLayout, HydraLayout, Layout, ValueHead

SIDES = ("classic", "hydra", "hydra, upper half")
Scorer = Callable[[MicroBatch], torch.Tensor]


def rows_of(n: int, n_tokens: int, vocabulary: int) -> list[Any]:
    """Random responses, the prompt a quarter as long, with a reward at the end."""
    from data.records import Problem
    from star.ppo.judging import Judged
    from star.ppo.rollouts import Rollout

    generator = torch.Generator().manual_seed(0)
    found = []
    for place in range(n):
        ids = tuple(torch.randint(vocabulary, (n_tokens,), generator=generator).tolist())
        rollout = Rollout(
            problem=Problem.create(prompt=str(place), answer="0"),
            prompt_ids=ids[: n_tokens // 4],
            token_ids=ids,
            sampler_logprobs=(-5.0,) * n_tokens,
            text="",
            steps=(),
            step_ends=(),
            truncated=False,
            version=0,
        )
        rewards = (*(0.0,) * (n_tokens - 1), float(place % 2))
        found.append(Judged(rollout=rollout, rewards=rewards, solved=False, proxy=0.0))
    return found


def whole_reward_model(model: Any) -> Scorer:
    """A reward model of its own: a copy of the backbone with a head."""
    backbone, head = copy.deepcopy(model.base_model), ValueHead(model.config.hidden_size)
    return lambda part: head(backbone(part.ids, part.attention, part.positions, use_cache=False).last_hidden_state)


def reward_adapter(layout: HydraLayout, model: Any) -> Scorer:
    """A reward model as one more adapter of the layout's backbone, with a head."""
    peft, head = layout._peft, ValueHead(model.config.hidden_size)
    peft.add_adapter("reward", peft.peft_config["critic"])

    def score(part: MicroBatch) -> torch.Tensor:
        return head(layout._hidden("reward", *part.inputs))

    return score


def build(side: str, loaded: Any) -> tuple[Layout, Scorer]:
    """The models of one side."""
    if side == "classic":
        return FullLayout(loaded), whole_reward_model(loaded.model)
    trained_layers = loaded.model.config.num_hidden_layers // 2 if side == "hydra, upper half" else 0
    layout = HydraLayout(loaded, rank=16, seed=0, trained_layers=trained_layers)
    return layout, reward_adapter(layout, loaded.model)


def measure(side: str, folder: str, n_rows: int, n_tokens: int, micro_batch: int) -> dict[str, float]:
    """Run one side in this process."""
    from star.checkpoints import load_checkpoint
    from star.ppo.batches import minibatches, prepare
    from star.ppo.config import PpoConfig
    from star.ppo.tracking import peak_memory
    from star.ppo.update import Faults, make_optimizer, update

    torch.set_num_threads(1)
    loaded = load_checkpoint(folder, dtype="float32", device="cpu")
    n_weights, vocabulary = sum(weight.numel() for weight in loaded.model.parameters()), loaded.model.config.vocab_size
    layout, score = build(side, loaded)
    config = PpoConfig(epochs=1, minibatch_size=n_rows, micro_batch_size=micro_batch, max_update_kl=1e9)
    optimizer, rows = make_optimizer(layout, config), rows_of(n_rows, n_tokens, vocabulary)
    for _ in range(2):
        started, cpu = time.perf_counter(), time.process_time()
        batches = minibatches(rows, config, pad=0, seed=0)
        with torch.no_grad():
            for part in batches[0]:
                score(part)
        prepare(batches, layout, config, temperature=1.0, kl_coefficient=0.05)
        stats = update(layout, optimizer, batches, config, Faults(Path("unused")), temperature=1.0,
                       kl_coefficient=0.05, seed=0)  # fmt: skip
        assert stats.steps == 1
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    trained = sum(weight.numel() for part in (layout.actor_weights, layout.critic_weights) for weight in part.values())
    peak = peak_memory(layout.device)
    return {"weights": n_weights, "trained": trained, "peak": peak, "seconds": seconds, "cpu_seconds": cpu}


def libraries() -> float:
    """Peak memory of a process that has loaded what both sides load, but no model."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from star.ppo import trainer  # noqa: F401

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_process(*words: str) -> Any:
    command = [sys.executable, __file__, "--one", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Measure each side in a fresh process, print and store."""
    if sys.argv[1:2] == ["--one"]:
        warnings.simplefilter("ignore")
        side, *rest = sys.argv[2:]
        print(json.dumps(measure(side, rest[0], *map(int, rest[1:])) if rest else {"peak": libraries()}))
        return
    folder, *rest = sys.argv[1:]
    out = Path(rest.pop(0)) if rest else None
    sizes = [*rest, *["4", "64", "2"][len(rest) :]]
    found = {side: _in_process(side, folder, *sizes) for side in SIDES}
    classic, *others = SIDES
    for side, row in found.items():
        sizes_m = f"{row['weights'] / 1e6:.1f} M weights, {row['trained'] / 1e6:.1f} M trained"
        times = f"{row['seconds']:.1f} s a step, {row['cpu_seconds']:.1f} s of CPU"
        print(f"{side:17} {sizes_m}   peak {row['peak'] / 2**20:.0f} MiB   {times}")
    names = ("peak", "seconds", "cpu_seconds")
    ratios = {
        f"{side} / {classic}": {name: round(found[side][name] / found[classic][name], 3) for name in names}
        for side in others
    }
    for pair, row in ratios.items():
        print(pair, row)
    bare = _in_process("libraries")["peak"]
    print(f"libraries alone {bare / 2**20:.0f} MiB")
    if out:
        facts = {"rows": int(sizes[0]), "tokens": int(sizes[1]), "micro_batch": int(sizes[2]), "libraries": bare}
        out.write_text(json.dumps({**facts, **found, **ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
