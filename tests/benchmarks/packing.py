"""Fine-tuning with packing against the same training with padding: tokens a second, loss curves, peak memory.

    python tests/benchmarks/packing.py GSM8K_TRAIN.jsonl[.gz] [STEPS] [BATCH] [MICRO] [ROUNDS] [OUT.json]

A Llama of 4 million parameters, drawn at random, is trained on GSM8K questions and solutions in tokens of a vocabulary
of 2,000 learnt from them: the same rows in the same steps, in float32 on one CPU thread, `MICRO` rows a forward pass
(default: the whole batch; with fewer, padding puts rows of like length together). Every training is a process of its
own; the two kinds take turns, ROUNDS times; a third, once, accumulates gradients over passes of an eighth of the rows,
and its losses must be those of the large batch. Prints for each kind the best of its rounds, then ratio and largest
differences of the losses. The first step warms up and is not timed. `tests/benchmarks/results/packing.json` is the
stored result of 12 steps of 32 rows, all in one pass, in two rounds.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VOCABULARY = 2000
SIZE = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


def read_pairs(path: Path, n: int) -> list[tuple[str, str]]:
    """Question and solution of the first rows."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [json.loads(line) for line in raw.splitlines()[:n]]
    return [(row["question"], row["answer"]) for row in rows]


def encode(pairs: list[tuple[str, str]]) -> list[Any]:
    """Training rows in byte-pair tokens learnt from the texts; token 0 ends a completion."""
    from tokenizers import ByteLevelBPETokenizer

    from star.sft import Row

    tokenizer = ByteLevelBPETokenizer()
    texts = [text for pair in pairs for text in pair]
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=["</s>"], show_progress=False)
    encoded = iter(tokenizer.encode_batch(texts))
    return [Row(question.ids, [*solution.ids, 0]) for question, solution in zip(encoded, encoded, strict=True)]


ACCUMULATED = 8
"""Into how many times smaller passes the third kind of training cuts its batches."""


def train(path: Path, steps: int, batch: int, micro: int, packing: bool) -> dict[str, Any]:
    """One training; what it did and cost."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from star.sft import SftConfig, batch_order, fine_tune

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = encode(read_pairs(path, steps * batch))
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **SIZE))
    config = SftConfig(batch_size=batch, micro_batch_size=micro, packing=packing, learning_rate=5e-4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses, wall, cpu = list[float](), list[float](), list[float]()

    def note(_: int, __: int, loss: float) -> None:
        losses.append(loss)
        wall.append(time.perf_counter())
        cpu.append(time.process_time())

    fine_tune(model, rows, config, steps=steps, pad=0, seed=0, on_step=note)
    lengths = [len(row.prompt) + len(row.completion) for row in rows]
    timed = sum(lengths[row] for step in batch_order(len(rows), batch, steps, 0)[1:] for row in step)
    return {
        "losses": losses,
        "tokens": timed,
        "longest": max(lengths),
        "mean": sum(lengths) / len(lengths),
        "wall_rate": timed / (wall[-1] - wall[0]),
        "cpu_rate": timed / (cpu[-1] - cpu[0]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before / 1024,
    }


def in_a_process(path: str, steps: int, batch: int, micro: int, packing: bool) -> dict[str, Any]:
    """The same in a process of its own, so that peak memory is its own."""
    arguments = [path, *(str(number) for number in (steps, batch, micro))]
    command = [sys.executable, __file__, *arguments, "packed" if packing else "padded"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Between the losses of a step of two trainings, nats a token."""
    return max(abs(first - second) for first, second in zip(one["losses"], other["losses"], strict=True))


def compare(path: str, steps: int, batch: int, micro: int, rounds: int) -> dict[str, Any]:
    """All trainings; the figures, and each kind's best round."""
    results: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for round_ in range(rounds):
        for packing in (True, False) if round_ % 2 == 0 else (False, True):
            results[packing].append(in_a_process(path, steps, batch, micro, packing))
    accumulated = in_a_process(path, steps, batch, max(1, batch // ACCUMULATED), True)
    packed, padded = (max(results[packing], key=lambda one: one["cpu_rate"]) for packing in (True, False))
    kinds = {"packed": packed, "padded": padded, "accumulated": accumulated}
    return {
        "steps": steps, "batch": batch, "micro": micro, "rounds": rounds,
        "tokens": packed["tokens"], "mean": packed["mean"], "longest": packed["longest"],
        "ratio": packed["cpu_rate"] / padded["cpu_rate"],
        "ratio_wall": packed["wall_rate"] / padded["wall_rate"],
        "largest_difference_padded": largest_difference(packed, padded),
        "largest_difference_accumulated": largest_difference(packed, accumulated),
        "first_loss": packed["losses"][0], "last_loss": packed["losses"][-1],
        "rates": {name: [one["cpu_rate"] for one in results[name == "packed"]] for name in ("packed", "padded")},
        "kinds": {name: {key: one[key] for key in ("cpu_rate", "wall_rate", "peak_mb", "before_mb")}
                  for name, one in kinds.items()},
    }  # fmt: skip


def main() -> None:
    """Print the comparison, and store it if a file is named."""
    path, *words = sys.argv[1:]
    out = Path(words.pop()) if words and words[-1].endswith(".json") else None
    numbers = [int(word) for word in words]
    steps, batch, *rest = numbers + [24, 32][len(numbers) :]
    micro, rounds = rest + [batch, 2][len(rest) :]
    found = compare(path, steps, batch, micro, rounds)
    print(
        f"{steps} steps of {batch} rows, {micro} a forward pass; rows of {found['mean']:.0f} tokens on average, "
        f"{found['longest']} at most; {found['tokens']} tokens timed"
    )
    for name, kind in found["kinds"].items():
        rates = ", ".join(f"{rate:.0f}" for rate in found["rates"].get(name, [kind["cpu_rate"]]))
        print(
            f"{name}: {kind['cpu_rate']:.0f} tokens a CPU second ({rates}), {kind['wall_rate']:.0f} a second, "
            f"peak {kind['peak_mb']:.0f} MB ({kind['peak_mb'] - kind['before_mb']:.0f} above the loaded model)"
        )
    print(
        f"ratio {found['ratio']:.2f}; loss {found['first_loss']:.3f} to {found['last_loss']:.3f}; largest difference "
        f"of a step: padded {found['largest_difference_padded']:.1e}, "
        f"accumulated {found['largest_difference_accumulated']:.1e}"
    )
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[-1] in ("packed", "padded"):
        path, *numbers, kind = sys.argv[1:]
        steps, batch, micro = (int(number) for number in numbers)
        print(json.dumps(train(Path(path), steps, batch, micro, kind == "packed")))
    else:
        main()
