"""Is a PRM worth its labels where the truth is known? Exact, outcome-only and noisy labels on embedded arithmetic.

    python tests/benchmarks/prm_arithmetic.py [--letters] [--noise] [OUT.json] [SEED ...]

For each seed: samples of the embedded model on problems of difficulty 3 and 4; a step is right if it is the one that
the problem's own chain has at that place. Trains a PRM and an outcome model (same backbone, rows, order and steps),
fits temperature, reading and threshold on dev problems, and reports once on test problems. Step AUC counts steps up to
the first error. With --letters the operations and the steps carry letters (`12 a+3 b-4=?`, `a 12+3=15`), so that the
place of a step need not be counted. With --noise it trains on exact labels, on labels of which 20 % are flipped, and on
the consensus of three labellers who flip 20 % each: as soft targets (their mean), and by `agree` (the labels that all
three share).
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from prm.evaluation import auc, best_of_n, calibration_error, first_error_scores
from prm.evaluation_floors import BagOfWords, coin
from prm.labels import ConsensusConfig, LabelledSolution, consensus
from prm.model import LoadedPrm, build_prm
from prm.scoring.local import TransformersScorer
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_fit import Sample, fit_prm, scored_candidates
from prm.training_rows import prepare_rows, split_by_problem
from star.checkpoints import EMBEDDED, load_checkpoint
from star.generation.base import Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator

CONFIG = PrmTrainingConfig(
    steps=3000, batch_tokens=1024, micro_batch_tokens=1024, learning_rate=2e-3, evaluate_every=250, after_error="mask"
)
FLIPPED = 0.2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is drawn and trained."""

    train: int = 1800
    """Training problems; a twentieth of them become dev rows."""
    samples: int = 6
    """Samples of each training problem."""
    held_out: int = 100
    """Problems to choose on, once for dev and once for test, with 16 samples each."""
    config: PrmTrainingConfig = CONFIG
    lettered: bool = False
    """Whether operations and steps carry letters."""


def chain_labels(problem: Problem, steps: tuple[str, ...]) -> tuple[float, ...]:
    """1 for each step that is the one that the problem's own solution has at that place."""
    chain = [step.strip() for step in split_steps(problem.solution)]
    return tuple(float(at < len(chain) and step.strip() == chain[at]) for at, step in enumerate(steps))


def lettered(problem: str, steps: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Problem and steps with a letter before each operation, and before each step but a final answer."""
    letters = iter("abcdefghijklmnopqrst")
    marked = re.sub(r"[-+]", lambda found: f" {next(letters)}{found[0]}", problem)
    return marked, tuple(
        step if step.startswith("#") else f"{letter} {step}"
        for letter, step in zip("abcdefghijklmnopqrstuvwxyz" * 4, steps, strict=False)
    )


def draw(
    problems: list[Problem], n_samples: int, seed: int, *, letters: bool
) -> list[list[tuple[LabelledSolution, Sample]]]:
    """Samples of the embedded model, labelled and checked; an empty sample is left out."""
    template = PromptTemplate("arithmetic")
    requests = [
        Request(
            id=f"{problem.id} {n}",
            prompt=template.render(problem),
            seed=derive_seed("prm arithmetic", seed, problem.id, n),
            sampling=SamplingParams(max_tokens=90),
        )
        for problem in problems
        for n in range(n_samples)
    ]
    drawn = iter(TransformersGenerator(load_checkpoint("embedded"), batch_size=512).generate(requests))
    groups = []
    for problem in problems:
        group = []
        for text in [next(drawn).text for _ in range(n_samples)]:
            steps = tuple(step for step in split_steps(text) if step.strip())
            if not steps:
                continue
            answer = text.rpartition("####")[2].strip() if "####" in text else ""
            right, values, prompt = answer == problem.answer, chain_labels(problem, steps), problem.prompt
            if letters:
                prompt, steps = lettered(prompt, steps)
            labelled = LabelledSolution(
                problem=prompt,
                steps=steps,
                values=values,
                source="symbolic",
                outcome=right,
            )
            group.append((labelled, Sample(problem=prompt, steps=steps, answer=answer, correct=right)))
        groups.append(group)
    return groups


def problems_of(split: str, n: int, seed: int) -> list[Problem]:
    """Problems of difficulty 3 and 4, in equal parts."""
    return list(read_arithmetic({"difficulty": [3, 4], "n": n // 2, "seed": seed}, split))


def flipped(solution: LabelledSolution, labeller: int, seed: int) -> LabelledSolution:
    """The labels as one noisy labeller gives them."""
    rng = random.Random(derive_seed("flip", seed, labeller, solution.id))
    values = tuple(1 - (value or 0) if rng.random() < FLIPPED else value for value in solution.values)
    return replace(solution, values=values)


def mended(solution: LabelledSolution, rule: str, seed: int) -> LabelledSolution:
    """The consensus of three noisy labellers."""
    said = {str(labeller): flipped(solution, labeller, seed) for labeller in range(3)}
    if rule == "soft":
        return consensus(said, ConsensusConfig(rule="weights", margin=0.0))
    return consensus(said, ConsensusConfig(rule="agree", min_sources=3))


def train(rows: list[LabelledSolution], dev: list[LabelledSolution], config: PrmTrainingConfig, seed: int) -> LoadedPrm:
    """A trained model on the embedded backbone; the head's and the order's seed are this one."""
    loaded = build_prm(str(EMBEDDED), seed=seed)
    counts: Counter[str] = Counter()
    prepared, held = (prepare_rows(loaded.encoder, part, config, counts) for part in (rows, dev))
    report = train_prm(loaded, prepared, config, seed=seed, dev=held)
    print(f"  best of {report.steps} steps: {report.best_step}, dev F1 {report.evaluations[-1][1]:.1f}", flush=True)
    return loaded


def measure(
    loaded: LoadedPrm,
    dev: list[LabelledSolution],
    dev_samples: list[list[Sample]],
    test: list[list[LabelledSolution]],
    samples: list[list[Sample]],
) -> dict[str, float]:
    """Fit on dev, report on test."""
    fit_prm(loaded, dev, dev_samples)
    scorer, reading = TransformersScorer(loaded), loaded.config.reading
    flat = [solution for group in test for solution in group]
    scores = [one.scores for one in scorer.score_batch(flat)]
    gold = [solution.first_error for solution in flat]
    steps = [
        (value or 0.0, score)
        for solution, one in zip(flat, scores, strict=True)
        for at, (value, score) in enumerate(zip(solution.values, one, strict=True))
        if solution.first_error < 0 or at <= solution.first_error
    ]
    first = first_error_scores(gold, [reading.first_error(one) for one in scores])
    chosen = best_of_n(scored_candidates(scorer, samples), reading)
    values, said = [value for value, _ in steps], [score for _, score in steps]
    return {
        "auc": auc([value > 0.5 for value in values], said),
        "f1": first.f1,
        "wrong": first.wrong,
        "right": first.right,
        "ece": calibration_error(values, said),
        **chosen._asdict(),
        "blessed": float(bool(loaded.config.blessed)),
    }


def floors(rows: list[LabelledSolution], test: list[list[LabelledSolution]]) -> dict[str, float]:
    """What words alone, and a coin, come to on the test solutions."""
    flat = [solution for group in test for solution in group]
    parts = []
    for solutions in (rows[:3000], flat):
        kept = [
            (step, at, value or 0.0)
            for one in solutions
            for at, (step, value) in enumerate(zip(one.steps, one.values, strict=True))
            if one.first_error < 0 or at <= one.first_error
        ]
        parts.append([list(column) for column in zip(*kept, strict=True)])
    (texts, places, values), (test_texts, test_places, test_values) = parts
    words = BagOfWords().fit(texts, places, values)  # type: ignore[arg-type]
    found = words.score(test_texts, test_places)  # type: ignore[arg-type]
    guess = coin([one.first_error for one in flat], [len(one.steps) for one in flat])
    return {"bag of words auc": auc([value > 0.5 for value in test_values], found), "coin f1": guess.f1}  # type: ignore[operator]


def run(seed: int, sizes: Sizes, *, noise: bool = False) -> dict[str, dict[str, float]]:
    """All figures of one seed, by kind of model."""
    started = time.process_time()
    drawn = draw(problems_of("train", sizes.train, seed), sizes.samples, seed, letters=sizes.lettered)
    held_out = problems_of("test", 2 * sizes.held_out, 1000 + seed)
    random.Random(seed).shuffle(held_out)
    chosen = draw(held_out, 16, seed, letters=sizes.lettered)
    dev_groups, test_groups = chosen[: sizes.held_out], chosen[sizes.held_out :]
    rows, dev = split_by_problem((solution for group in drawn for solution, _ in group), 0.05, seed=seed)
    test = [[solution for solution, _ in group] for group in test_groups]
    samples = [[[sample for _, sample in group] for group in part] for part in (dev_groups, test_groups)]
    print(f"seed {seed}: {len(rows)} training rows, {len(dev)} dev, drawn in {time.process_time() - started:.0f} s")
    kinds = {"prm": (rows, sizes.config), "orm": (rows, sizes.config.model_copy(update={"target": "outcome"}))}
    if noise:
        plain = sizes.config.model_copy(update={"after_error": "keep"})
        kinds = {"exact": (rows, plain), "flipped": ([flipped(row, 0, seed) for row in rows], plain)}
        kinds |= {rule: ([mended(row, rule, seed) for row in rows], plain) for rule in ("soft", "agree")}
    found = {"floors": floors(rows, test)}
    for kind, (labelled, config) in kinds.items():
        began = time.process_time()
        loaded = train(labelled, dev, config, seed)
        # An outcome model's scores of single steps mean nothing, so it gets no labelled steps to fit a read-out to.
        dev_steps = [] if kind == "orm" else dev
        found[kind] = measure(loaded, dev_steps, samples[0], test, samples[1])
        found[kind]["cpu_s"] = time.process_time() - began
        print(f"  {kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in found[kind].items()), flush=True)
    print(f"  seed {seed} took {time.process_time() - started:.0f} CPU s", flush=True)
    return found


def main() -> None:
    """All seeds; print and store."""
    torch.set_num_threads(1)
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    out = Path(words[0]) if words and not words[0].isdigit() else None
    seeds = [int(word) for word in words if word.isdigit()] or [0, 1, 2]
    rows = {seed: run(seed, Sizes(lettered="--letters" in sys.argv), noise="--noise" in sys.argv) for seed in seeds}
    for kind in next(iter(rows.values())):
        for name in next(iter(rows.values()))[kind]:
            print(f"{kind:10}{name:20}" + "".join(f"{row[kind][name]:>10.3f}" for row in rows.values()))
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
