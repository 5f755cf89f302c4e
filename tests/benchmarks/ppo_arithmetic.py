"""What PPO buys on arithmetic: the outcome alone against outcome and step rewards, from one STaR model a seed.

    python tests/benchmarks/ppo_arithmetic.py WORK_FOLDER OUT.json [SEED ...] [--iterations N] [--parts N]
                                              [--trained-layers K ...]

For each seed: one STaR round of the embedded model (100 problems of each target level, 50 steps, so that there is room
to grow), then PPO from it twice with equal settings, problems and number of rollouts. The step arm adds the reward of
an exact step checker, form clip+delta: a step is right if it goes on from the value before it with the problem's next
operation and is computed right, which is what a faultless PRM would say. Every second iteration each policy answers 300
test problems greedily. "Reached" is the first measurement from which two in a row, or the last, are at least the final
accuracy of the outcome arm, in rollouts. CPU seconds are the training's, measurements left out; one thread.

What is done stays in WORK_FOLDER: `--parts 1` stops after one training, the same command goes on, and one with more
iterations goes on from the shorter runs. 28 iterations are about 320 s of one core each. The settings were chosen on
seed 100 by its step arm alone, and that seed is not among the stored ones: `results/ppo_arithmetic.json` and `.svg`
hold seeds 0 to 2 with `--iterations 14`, about 160 s of one busy core each.

With `--trained-layers 0 2` the arms are others: adapters on all three layers, and on the upper two, both trained on the
outcome and the steps. Their rate is ten times that of whole weights: a rule of thumb for adapters; nothing was tuned.
`results/ppo_layers.json` holds them for the same seeds and iterations.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from pipelines.recipe import load_recipe
from pipelines.run import run_recipe
from star.checkpoints import LoadedModel, load_checkpoint
from star.generation.base import Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator
from star.ppo.config import GuardConfig, PpoConfig
from star.ppo.task import Task
from verifiers import check_answers
from verifiers.metrics import paired_interval

LEVELS = [4, 5, 6]
Arms = dict[str, dict[str, Any]]
"""Name to what it sets."""
ARMS: Arms = {"outcome": {"process_weight": 0.0}, "steps": {"process_weight": 2.0}}
ADAPTERS = {"process_weight": 2.0, "layout": "hydra", "learning_rate": 1e-3}
TEMPLATE = PromptTemplate("arithmetic")
SAMPLING = SamplingParams(max_tokens=80)
CONFIG: dict[str, Any] = {
    "problems_per_iteration": 64,
    "samples_per_problem": 4,
    "epochs": 2,
    "minibatch_size": 128,
    "micro_batch_size": 128,
    "learning_rate": 1e-4,
    "critic_learning_rate": 1e-3,
    "kl_coefficient": 0.0,
    "kl_target": 0.0,
    "layout": "full",
    "guards": GuardConfig(gate_every=6, gate_drop=0.3),
}
EVERY = 2


def step_marks(problem: str, steps: Sequence[str]) -> list[float]:
    """1 for each step that is right given those before it, else 0."""
    first, *operations = re.findall(r"[+-]?\d+", problem)
    value, done, marks = int(first), 0, list[float]()
    for step in (step.strip() for step in steps):
        equation = re.fullmatch(r"(\d+)([+-]\d+)=(\d+)", step)
        if not equation:
            marks.append(float(done == len(operations) and step == f"#### {value}"))
            continue
        left, operation, result = equation.groups()
        expected = operations[done] if done < len(operations) else ""
        marks.append(float(operation == expected and int(left) == value == int(result) - int(operation)))
        # After a slip: on from the value that it states and, where its operation comes later, from there.
        value = int(result)
        done = operations.index(operation, done) + 1 if operation in operations[done:] else done
    return marks


def problems(seed: int) -> tuple[list[Problem], list[Problem], list[Problem]]:
    """To train on, for the gate, and for the measurement; no problem is in two of them."""
    train = list(read_arithmetic({"n": 1500, "difficulty": LEVELS, "seed": 3000 + seed}))
    gate = list(read_arithmetic({"n": 50, "difficulty": LEVELS, "seed": 4000 + seed}, "test"))
    taken = {problem.id for problem in gate}
    drawn = read_arithmetic({"n": 110, "difficulty": LEVELS, "seed": 5000 + seed}, "test")
    return train, gate, [problem for problem in drawn if problem.id not in taken][:300]


def measure(loaded: LoadedModel, test: Sequence[Problem]) -> tuple[list[float], float]:
    """Which test problems are solved greedily, and the share of right steps."""
    greedy = SamplingParams(max_tokens=80, temperature=0.0)
    requests = [Request(id=row.id, prompt=TEMPLATE.render(row), seed=0, sampling=greedy) for row in test]
    texts = [found.text for found in TransformersGenerator(loaded, batch_size=300).generate(requests)]
    verdicts = check_answers([(row.answer, text) for row, text in zip(test, texts, strict=True)], kind="text")
    marks = [mark for row, text in zip(test, texts, strict=True) for mark in step_marks(row.prompt, split_steps(text))]
    return [float(verdict.status == "correct") for verdict in verdicts], sum(marks) / len(marks)


def star_model(seed: int, work: Path) -> str:
    """Folder of the STaR model of a seed; made once."""
    sizes = {"1": 60, "2": 60, "3": 60, **{str(level): 100 for level in LEVELS}}
    options = json.dumps({"difficulty": sizes, "seed": 1000 + seed})
    changes = [f"seed={seed}", f"problems.options={options}", "evaluation.options.n=10", "sft.steps=50", "rounds=1",
               "compare_without_rationalization=false", "near_misses.rationales=0", "threads=1",
               "prm.enabled=false", "ppo.enabled=false"]  # fmt: skip
    run = run_recipe(load_recipe("quickstart", changes), work / f"star-{seed}")
    return str(run.root / "checkpoints/generator-star-r1")


def train(seed: int, arm: str, changes: dict[str, Any], work: Path, iterations: int) -> dict[str, Any]:
    """One arm of one seed, from where it was stopped."""
    from star.ppo.judging import one_by_one
    from star.ppo.trainer import PpoTrainer

    start, (train_, gate, test) = star_model(seed, work), problems(seed)
    config = PpoConfig(**(CONFIG | changes), iterations=iterations)
    task = Task(problems=train_, heldout=gate, template=TEMPLATE, sampling=SAMPLING, seed=seed,
                scorer=one_by_one(step_marks),
                engine=lambda layout, _: TransformersGenerator(layout.sampler(), batch_size=512))  # fmt: skip
    folder = work / f"ppo-{seed}-{arm}"
    trainer = PpoTrainer(load_checkpoint(start, dtype="float32"), task, config, folder=folder)
    log, size = folder / "curve.json", config.problems_per_iteration * config.samples_per_problem
    before, valid = measure(load_checkpoint(start, dtype="float32"), test)
    told = json.loads(log.read_text()) if log.is_file() else {"cpu_s": 0.0, "curve": [[0, fmean(before), valid]]}
    since = time.process_time()

    def listen(iteration: int, *_: object) -> None:
        nonlocal since
        if iteration % EVERY == 0:
            told["cpu_s"] += time.process_time() - since
            marks, valid = measure(trainer.layout.sampler(), test)
            told["curve"].append([iteration * size, fmean(marks), valid])
            log.write_text(json.dumps(told))
            since = time.process_time()

    report = trainer.run(listen)
    after, valid = measure(trainer.layout.sampler(), test)
    gain = paired_interval(after, before)
    return {
        "seed": seed,
        "arm": arm,
        "iterations": report.iterations,
        "accuracy": [fmean(before), fmean(after)],
        "gain": [gain.mean, gain.low, gain.high],
        "step validity": [told["curve"][0][2], valid],
        "kept iteration": report.best_iteration,
        "kl": report.history[-1].kl,
        "alarms": sorted({alarm.name for _, alarm in report.alarms}),
        "stopped": report.stopped,
        **told,
    }


def reached(curve: Sequence[Sequence[float]], goal: float) -> float | None:
    """Rollouts after which the accuracy is at least the goal, twice in a row or at the end; None: never."""
    for place, (rollouts, accuracy, _) in enumerate(curve):
        following = curve[min(place + 1, len(curve) - 1)][1]
        if min(accuracy, following) >= goal:
            return rollouts
    return None


def table(parts: Sequence[dict[str, Any]]) -> list[str]:
    """One line a part, and per seed the rollouts that the step arm needed."""
    lines, by_place = [], {(part["seed"], part["arm"]): part for part in parts}
    for part in parts:
        (first, last), (low, high) = part["accuracy"], part["gain"][1:]
        valid = " -> ".join(f"{100 * share:.1f}" for share in part["step validity"])
        gain = f"{100 * (last - first):+.1f}, 95 % {100 * low:+.1f} to {100 * high:+.1f}"
        costs = f"KL {part['kl']:.1f}   CPU {part['cpu_s']:.0f} s"
        name = f"seed {part['seed']} {part['arm']:8}"
        lines.append(f"{name} {100 * first:.1f} -> {100 * last:.1f} % ({gain})   right steps {valid} %   {costs}")
    for seed in dict.fromkeys(part["seed"] for part in parts if part["arm"] in ARMS):
        outcome, steps = by_place[seed, "outcome"], by_place[seed, "steps"]
        goal, total = outcome["accuracy"][1], outcome["curve"][-1][0]
        own, needed = reached(outcome["curve"], goal), reached(steps["curve"], goal)
        share = f"{needed / total:.2f} of its {total} rollouts" if needed is not None else "never"
        said = f"seed {seed}: the step arm reaches the outcome arm's {100 * goal:.1f} % after {share}"
        lines.append(f"{said} (the outcome arm itself: {own})")
    return lines


def plot(parts: Sequence[dict[str, Any]]) -> str:
    """Accuracy over rollouts as SVG: outcome dashed, steps solid, a colour a seed."""
    seeds = sorted({part["seed"] for part in parts})
    width = max(part["curve"][-1][0] for part in parts)
    values = [accuracy for part in parts for _, accuracy, _ in part["curve"]]
    low, high = min(values) - 0.02, max(values) + 0.02
    rows = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="12">',
            '<rect width="640" height="400" fill="white"/>']  # fmt: skip
    for tick in range(int(100 * low) // 5 * 5 + 5, int(100 * high) + 1, 5):
        y = 350 - 320 * (tick / 100 - low) / (high - low)
        label = f'<text x="50" y="{y + 4:.1f}" text-anchor="end">{tick} %</text>'
        rows.append(f'<path d="M60 {y:.1f}H620" stroke="#ddd"/>{label}')
    for part in parts:
        places = [(60 + 560 * x / width, 350 - 320 * (y - low) / (high - low)) for x, y, _ in part["curve"]]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"][seeds.index(part["seed"]) % 4]
        dash = ' stroke-dasharray="5 4"' if part["arm"] == "outcome" else ""
        rows.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    said = f"greedy accuracy over rollouts (0 to {width}); solid: outcome and steps, dashed: outcome; a colour a seed"
    return "\n".join([*rows, f'<text x="340" y="385" text-anchor="middle">{said}</text></svg>']) + "\n"


def main() -> None:
    """Run what is missing; when all is there, print and store it."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--iterations", type=int, default=28)
    parser.add_argument("--parts", type=int, default=1 << 30)
    parser.add_argument("--trained-layers", type=int, nargs="+")
    asked = parser.parse_args()
    arms = {f"layers-{k}": {**ADAPTERS, "trained_layers": k} for k in asked.trained_layers or []} or ARMS
    left, seeds, parts = asked.parts, asked.seeds or [0, 1, 2], []
    for seed in seeds:
        for arm, changes in arms.items():
            file = asked.work / f"part-{seed}-{arm}.json"
            part = json.loads(file.read_text()) if file.is_file() else None
            if left and (part is None or (part["iterations"] < asked.iterations and not part["stopped"])):
                left -= 1
                file.parent.mkdir(parents=True, exist_ok=True)
                part = train(seed, arm, changes, asked.work, asked.iterations)
                file.write_text(json.dumps(part))
            if part and (part["iterations"] >= asked.iterations or part["stopped"]):
                parts.append(part)
    if len(parts) < len(arms) * len(seeds):
        print(f"{len(parts)} parts are there; run the same command to go on")
        return
    print("\n".join(table(parts)))
    asked.out.write_text(json.dumps({"levels": LEVELS, "parts": parts, "table": table(parts)}, indent=1) + "\n")
    asked.out.with_suffix(".svg").write_text(plot(parts))


if __name__ == "__main__":
    main()
