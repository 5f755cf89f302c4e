"""What scoring costs: one forward a step, a padded batch of each problem's samples, length-sorted, and shared prompts.

    python tests/benchmarks/prm_scoring.py [MODEL [PROBLEMS [ROUNDS [OUT.json]]]]

MODEL is a folder or `embedded`. Problems of about 150 tokens with 16 samples of 8 steps and 100 to 200 tokens each, all
different. Every way scores the same solutions in turn, ROUNDS times. Prints tokens that went through the model,
solutions a second of this process's CPU time (one thread; median, range), and the largest difference of a score from
that of its solution scored alone, in float32; solutions scored alone are compared with one forward pass a step.
`tests/benchmarks/results/prm_scoring*.json` are the stored results.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from prm.model import build_prm, step_probabilities, step_states
from prm.scoring.base import ScoreItem
from prm.scoring.local import TransformersScorer
from star.checkpoints import EMBEDDED

SAMPLES, STEPS = 16, 8
Side = Literal["left", "right"]
Way = Callable[[Sequence[ScoreItem]], list[list[float]]]
WORDS = ["so", "we", "add", "the", "two", "parts", "and", "get", "left", "is", "more", "than"]


class Ways:
    """The ways to score, and a count of the tokens that the backbone sees, padding included."""

    def __init__(self, path: str) -> None:
        self.loaded = build_prm(path)
        generator = torch.Generator().manual_seed(0)
        for weight in self.loaded.model.head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 50)
        self.tokens = 0
        self.loaded.model.decoder.register_forward_pre_hook(self._count, with_kwargs=True)
        self.sorted = TransformersScorer(self.loaded, share_prefix=False)
        self.shared = TransformersScorer(self.loaded)

    def _count(self, _: object, __: object, kwargs: dict[str, torch.Tensor]) -> None:
        self.tokens += kwargs["input_ids"].numel()

    def text(self, n_tokens: int, rng: random.Random) -> str:
        """Words and numbers of about so many tokens."""
        text = ""
        while len(self.loaded.tokenizer.encode(text, add_special_tokens=False)) < n_tokens - 1:
            text += f"{rng.choice(WORDS)} {rng.randint(2, 99)} "
        return text.strip()

    def items(self, n_problems: int) -> list[ScoreItem]:
        """All solutions, sample by sample of each problem."""
        rng, found = random.Random(0), []
        for _ in range(n_problems):
            problem = self.text(150, rng)
            for _ in range(SAMPLES):
                length = rng.randint(100, 200) // STEPS
                found.append(ScoreItem(problem, tuple(self.text(length, rng) for _ in range(STEPS))))
        return found

    @torch.inference_mode()
    def each_step(self, items: Sequence[ScoreItem]) -> list[list[float]]:
        """One forward pass for each step, as huggingface/ProcessBench's runner does."""
        return [
            [self.padded([ScoreItem(item.problem, item.steps[:n])])[0][-1] for n in range(1, len(item.steps) + 1)]
            for item in items
        ]

    @torch.inference_mode()
    def padded(self, items: Sequence[ScoreItem], side: Side = "right", at_once: int = SAMPLES) -> list[list[float]]:
        """One pass a solution, the samples of a problem in one padded batch."""
        found = []
        for start in range(0, len(items), at_once):
            rows = [self.loaded.encoder.encode(item.problem, item.steps) for item in items[start : start + at_once]]
            flat = step_probabilities(self.loaded.model.head(step_states(self.loaded.model.decoder, rows, side)))
            found += [part.tolist() for part in torch.split(flat, [len(row.step_ends) for row in rows])]
        return found


def measure(way: Way, items: Sequence[ScoreItem]) -> float:
    """Solutions a CPU second: wall time on a shared machine measures the neighbours."""
    started = time.process_time()
    way(items)
    return len(items) / (time.process_time() - started)


def difference(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The largest between the scores of the same solutions."""
    return max(abs(a - b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True))


def compare(ways: Ways, items: Sequence[ScoreItem], rounds: int) -> list[dict[str, Any]]:
    """Figures of every way."""
    named: dict[str, Way] = {
        "padded batch a problem": ways.padded,
        "the same, left-padded": lambda rows: ways.padded(rows, "left"),
        "length-sorted": lambda rows: [list(one.scores) for one in ways.sorted.score_batch(rows)],
        "shared prompts": lambda rows: [list(one.scores) for one in ways.shared.score_batch(rows)],
    }
    few, alone = items[:4], ways.padded(items, at_once=1)
    ways.tokens = 0
    each = {"way": "one forward a step", "off": difference(ways.each_step(few), alone[: len(few)])}
    per_step = ways.tokens / len(few)
    each |= {"tokens": per_step, "rate": measure(ways.each_step, few)}
    rates: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, way in named.items():
            rates[name].append(measure(way, items))
    found = [each]
    for name, way in named.items():
        ways.tokens = 0
        off = difference(way(items), alone)
        ratios = [b / a for a, b in zip(rates["padded batch a problem"], rates[name], strict=True)]
        tokens = ways.tokens / len(items)
        found.append({"way": name, "off": off, "tokens": tokens, "rate": statistics.median(rates[name])})
        found[-1] |= {"slowest": min(rates[name]), "fastest": max(rates[name])}
        found[-1] |= {"times_padded": statistics.median(ratios), "fewer_tokens": per_step / tokens}
    return found


def main() -> None:
    """Score in all ways, print and store."""
    torch.set_num_threads(1)
    path = sys.argv[1] if len(sys.argv) > 1 else "embedded"
    n_problems, rounds = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((2, 12), (3, 5)))
    ways = Ways(str(EMBEDDED) if path == "embedded" else path)
    items = ways.items(n_problems)
    print(f"{len(items)} solutions of {n_problems} problems, {STEPS} steps each; {path}")
    found = compare(ways, items, rounds)
    for row in found:
        line = f"{row['way']:24} {row['tokens']:8.0f} tokens/solution {row['rate']:8.2f} solutions/s"
        if "slowest" in row:
            line += (
                f" ({row['slowest']:.2f}..{row['fastest']:.2f}), {row['times_padded']:.2f}x the padded batch, "
                f"{row['fewer_tokens']:.1f}x fewer tokens than a forward a step"
            )
        print(f"{line}, |dp| <= {row['off']:.1e}")
    if len(sys.argv) > 4:
        content = {"model": Path(path).name, "solutions": len(items), "steps": STEPS, "rounds": rounds, "ways": found}
        Path(sys.argv[4]).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
