"""Memory and time of the two layouts: hydra (one backbone, adapters) against the classic three models.

    python tests/benchmarks/ppo_memory.py [HIDDEN] [LAYERS] [ROWS] [TOKENS]

A random Llama of that size, random responses, one iteration of two epochs after one to warm up; each layout in a
process of its own. The fourth model of the classic picture, the one that rewards, is the caller's scorer and the same
for both.
Prints trained weights, peak memory (of the accelerator where there is one, else of the process, whose bare
interpreter with its libraries is given too), seconds an iteration and response tokens a second.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def rows_of(n: int, n_tokens: int, vocabulary: int) -> list[Any]:
    """Random responses with a reward at the end."""
    import torch

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


def measure(layout_name: str, hidden: int, layers: int, n_rows: int, n_tokens: int) -> dict[str, float]:
    """Run one layout in this process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from star.checkpoints import LoadedModel
    from star.ppo.batches import minibatches, prepare
    from star.ppo.config import PpoConfig
    from star.ppo.layouts import build_layout
    from star.ppo.tracking import peak_memory
    from star.ppo.update import Faults, make_optimizer, update

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=4096,
    )
    bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model = LlamaForCausalLM(shape).to("cuda" if torch.cuda.is_available() else "cpu").eval()
    n_weights = sum(weight.numel() for weight in model.parameters())
    config = PpoConfig(
        layout=layout_name,  # type: ignore[arg-type]
        epochs=2,
        minibatch_size=n_rows // 2,
        micro_batch_size=2,
        max_update_kl=1e9,
    )
    layout = build_layout(LoadedModel(model, None, "random", ""), config, seed=0)
    optimizer = make_optimizer(layout, config)
    rows = rows_of(n_rows, n_tokens, shape.vocab_size)
    for _ in range(2):
        started = time.perf_counter()
        batches = minibatches(rows, config, pad=0, seed=0, device=layout.device)
        prepare(batches, layout, config, temperature=1.0, kl_coefficient=0.05)
        faults = Faults(Path("unused"))
        update(layout, optimizer, batches, config, faults, temperature=1.0, kl_coefficient=0.05, seed=0)
        seconds = time.perf_counter() - started
    trained = sum(weight.numel() for part in (layout.actor_weights, layout.critic_weights) for weight in part.values())
    peak = peak_memory(layout.device)
    return {"weights": n_weights, "trained": trained, "bare": bare, "peak": peak, "seconds": seconds}


def main() -> None:
    """Measure each layout in a fresh process and print both lines."""
    if sys.argv[1:2] == ["--one"]:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
        return
    sizes = [*sys.argv[1:], *["512", "4", "4", "128"][len(sys.argv) - 1 :]]
    print(f"hidden {sizes[0]}, layers {sizes[1]}, rows {sizes[2]}, tokens {sizes[3]}, float32")
    for layout in ("full", "hydra"):
        command = [sys.executable, __file__, "--one", layout, *sizes]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(answer.splitlines()[-1])
        speed = int(sizes[2]) * int(sizes[3]) / found["seconds"]
        print(
            f"{layout:6} {found['weights'] / 1e6:.1f} M weights, {found['trained'] / 1e6:.2f} M trained   peak "
            f"{found['peak'] / 2**20:.0f} MiB, of which bare {found['bare'] / 2**20:.0f}   "
            f"{found['seconds']:.1f} s an iteration, {speed:.0f} tokens/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
