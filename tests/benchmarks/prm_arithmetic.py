"""Is a PRM worth its labels where the truth is known? Exact, outcome-only and noisy labels on embedded arithmetic.

    python tests/benchmarks/prm_arithmetic.py [--noise] [--out RESULT.json] [SEED ...]

For each seed: samples of the embedded model on problems of difficulty 3 and 4; a step is right if it follows from the
problem and the steps before it (`derivation_labels`). Trains a PRM and an outcome model (same backbone, rows, order and
steps), fits temperature, reading and threshold on dev problems, and reports once on test problems, beside floors and an
oracle that knows all labels. Step AUC and calibration error count steps up to the first error. Equal samples of one
problem are one training row: at this temperature two thirds of them repeat each other. With --noise it trains on exact
labels, on labels of which 20 % are flipped, and on the consensus of three labellers who flip 20 % each: as soft targets
(their mean), and by `agree` (the labels that all three share).
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
from prm.aggregate import Reading
from prm.evaluation import Candidate, auc, best_of_n, calibration_error, first_error_scores, within_auc
from prm.evaluation_floors import BagOfWords, coin
from prm.labels import ConsensusConfig, LabelledSolution, consensus
from prm.model import LoadedPrm, build_prm
from prm.scoring.local import TransformersScorer
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_fit import Sample, fit_prm, scored_candidates
from prm.training_rows import prepare_rows, split_by_problem
from star.checkpoints import EMBEDDED, load_checkpoint
from star.corruption import CorruptionConfig, Mode, SlipKind, corruptions
from star.generation.base import Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator

CONFIG = PrmTrainingConfig(
    steps=1200,
    language_weight=1.0,
    batch_tokens=2048,
    micro_batch_tokens=2048,
    learning_rate=2e-3,
    evaluate_every=240,
    after_error="mask",
)
SLIPS = (SlipKind.RESULT, SlipKind.OPERAND, SlipKind.SIGN, SlipKind.DROPPED)
FLIPPED = 0.2
Drawn = list[list[tuple[LabelledSolution, Sample]]]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is drawn and trained."""

    train: int = 8000
    """Training problems; a twentieth of them become dev rows."""
    samples: int = 2
    """Samples of each training problem: many problems teach more than many samples."""
    near_misses: int = 3000
    """Training problems whose worked solutions, each with one slip, are training rows too: what the model seldom gets
    wrong by itself, a result or a number copied, it would seldom see wrong."""
    dev: int = 100
    """Problems with 16 samples each, by which the reading is chosen and the model blessed."""
    test: int = 200
    """Problems with 16 samples each, for the figures."""
    config: PrmTrainingConfig = CONFIG


def derivation_labels(problem: str, steps: tuple[str, ...]) -> tuple[float, ...]:
    """1 for each step that applies an operation of the problem that is still to be done to the value so far, rightly.

    Additions and subtractions may be done in any order. The final answer is right when nothing is left to be done.
    """
    value, *operations = re.findall(r"[-+]?\d+", problem)
    left, labels = Counter(operations), []
    for step in steps:
        stated = re.fullmatch(r"(\d+)([-+]\d+)=(\d+)", step.strip())
        if not stated:
            labels.append(float(step.strip() == f"#### {value}" and not left.total()))
            continue
        before, operation, after = stated.groups()
        right = before == value and left[operation] > 0 and int(before) + int(operation) == int(after)
        labels.append(float(right))
        left[operation] -= left[operation] > 0
        value = after
    return tuple(labels)


def draw(problems: list[Problem], n_samples: int, seed: int) -> Drawn:
    """Samples of the embedded model, labelled and checked, by problem; an empty sample is left out."""
    template, sampling = PromptTemplate("arithmetic"), SamplingParams(max_tokens=90)
    requests = [
        Request(
            id=f"{problem.id} {n}",
            prompt=template.render(problem),
            seed=derive_seed("prm arithmetic", seed, problem.id, n),
            sampling=sampling,
        )
        for problem in problems
        for n in range(n_samples)
    ]
    drawn = iter(TransformersGenerator(load_checkpoint("embedded"), batch_size=512).generate(requests))
    groups: Drawn = []
    for problem in problems:
        texts = [next(drawn).text for _ in range(n_samples)]
        groups.append([checked(problem, text) for text in texts if text.strip()])
    return groups


def checked(problem: Problem, text: str) -> tuple[LabelledSolution, Sample]:
    """A sample with its labels, and as a candidate."""
    steps = tuple(step for step in split_steps(text) if step.strip())
    answer = text.rpartition("####")[2].strip() if "####" in text else ""
    right, prompt = answer == problem.answer, problem.prompt
    values = derivation_labels(prompt, steps)
    labelled = LabelledSolution(problem=prompt, steps=steps, values=values, source="symbolic", outcome=right)
    return labelled, Sample(problem=prompt, steps=steps, answer=answer, correct=right)


def near_misses(problems: list[Problem], seed: int) -> list[LabelledSolution]:
    """Worked solutions with a slip of each kind that is carried on, labelled as samples are."""
    config = CorruptionConfig(kinds=list(SLIPS), modes=[Mode.PROPAGATED])
    return [
        LabelledSolution(
            problem=problem.prompt,
            steps=made.steps,
            values=derivation_labels(problem.prompt, made.steps),
            source="near_miss",
            outcome=made.is_answer_right,
        )
        for problem in problems
        for made in corruptions(problem, split_steps(problem.solution), config, seed=seed, counts=Counter())
    ]


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
    curve = ", ".join(f"{step}: {f1:.1f} {loss:.3f}" for step, f1, loss in report.evaluations)
    print(f"  {time.process_time():.0f} CPU s, best after {report.best_step} steps; dev F1, loss {curve}", flush=True)
    return loaded


def counted(solutions: list[LabelledSolution]) -> list[tuple[str, str, int, bool]]:
    """(problem, step, place, right) of the steps up to each solution's first error."""
    return [
        (one.problem, step, at, bool(value))
        for one in solutions
        for at, (step, value) in enumerate(zip(one.steps, one.values, strict=True))
        if one.first_error < 0 or at <= one.first_error
    ]


def measure(loaded: LoadedPrm, dev: list[LabelledSolution], dev_samples: Drawn, test: Drawn) -> dict[str, float]:
    """Fit on dev, report on test."""
    fit_prm(loaded, dev, [[sample for _, sample in group] for group in dev_samples])
    scorer, reading = TransformersScorer(loaded), loaded.config.reading
    flat = [solution for group in test for solution, _ in group]
    scores = [one.scores for one in scorer.score_batch(flat)]
    said = [
        score
        for one, found in zip(flat, scores, strict=True)
        for at, score in enumerate(found)
        if one.first_error < 0 or at <= one.first_error
    ]
    problems, _, _, right = (list(column) for column in zip(*counted(flat), strict=True))
    first = first_error_scores([one.first_error for one in flat], [reading.first_error(one) for one in scores])
    chosen = best_of_n(scored_candidates(scorer, [[sample for _, sample in group] for group in test]), reading)
    return {
        "auc": auc(right, said),
        "within-problem auc": within_auc(problems, right, said),
        "f1": first.f1,
        "wrong": first.wrong,
        "right": first.right,
        "ece": calibration_error(right, said),
        **chosen._asdict(),
        "blessed": float(bool(loaded.config.blessed)),
    }


def floors(rows: list[LabelledSolution], test: Drawn) -> dict[str, float]:
    """What words alone and a coin come to on the test solutions, and what knowing every label would."""
    flat = [solution for group in test for solution, _ in group]
    (_, texts, places, values), (_, test_texts, test_places, right) = (
        [list(column) for column in zip(*counted(part), strict=True)] for part in (rows[:3000], flat)
    )
    words = BagOfWords().fit(texts, places, [float(value) for value in values])
    guess = coin([one.first_error for one in flat], [len(one.steps) for one in flat])
    known = [
        [Candidate(answer=m.answer, correct=m.correct, scores=(float(one.first_error < 0),)) for one, m in group]
        for group in test
    ]
    found = {"bag of words auc": auc(right, words.score(test_texts, test_places)), "coin f1": guess.f1}
    return found | {"oracle weighted": best_of_n(known, Reading()).weighted}


def run(seed: int, sizes: Sizes, *, noise: bool = False) -> dict[str, dict[str, float]]:
    """All figures of one seed, by kind of model."""
    started = time.process_time()
    problems = problems_of("train", sizes.train, seed)
    drawn = draw(problems, sizes.samples, seed)
    held_out = problems_of("test", sizes.dev + sizes.test, 1000 + seed)
    random.Random(seed).shuffle(held_out)
    chosen = draw(held_out, 16, seed)
    dev_samples, test = chosen[: sizes.dev], chosen[sizes.dev :]
    slips = near_misses(random.Random(seed).sample(problems, sizes.near_misses), seed)
    distinct = {solution.id: solution for solution in (*(one for group in drawn for one, _ in group), *slips)}
    rows, dev = split_by_problem(distinct.values(), 0.05, seed=seed)
    dev = [one for one in dev if one.source != "near_miss"]  # Calibrated for what will be scored.
    found = {"floors": floors(rows, test) | {"training rows": float(len(rows)), "dev rows": float(len(dev))}}
    print(f"seed {seed}: drawn in {time.process_time() - started:.0f} s, {found['floors']}", flush=True)
    kinds = {"prm": (rows, sizes.config), "orm": (rows, sizes.config.model_copy(update={"target": "outcome"}))}
    if noise:
        plain = sizes.config.model_copy(update={"after_error": "keep"})
        kinds = {"exact": (rows, plain), "flipped": ([flipped(row, 0, seed) for row in rows], plain)}
        kinds |= {rule: ([mended(row, rule, seed) for row in rows], plain) for rule in ("soft", "agree")}
    for kind, (labelled, config) in kinds.items():
        loaded = train(labelled, dev, config, seed)
        # An outcome model's scores of single steps mean nothing, so it gets no labelled steps to fit a read-out to.
        found[kind] = measure(loaded, [] if kind == "orm" else dev, dev_samples, test)
        print(f"  {kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in found[kind].items()), flush=True)
    return found


def store(out: Path, name: str, found: dict[str, dict[str, float]]) -> None:
    """Add the figures of one seed to a file of results."""
    stored = json.loads(out.read_text()) if out.exists() else {}
    rounded = {kind: {key: round(value, 4) for key, value in row.items()} for kind, row in found.items()}
    out.write_text(json.dumps(stored | {name: rounded}, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """All seeds; print and store."""
    torch.set_num_threads(1)
    words, noise = sys.argv[1:], "--noise" in sys.argv
    out = Path(words[words.index("--out") + 1]) if "--out" in words else None
    seeds = [int(word) for word in words if word.isdigit()] or [0, 1, 2]
    rows = {}
    for seed in seeds:
        rows[seed] = run(seed, Sizes(), noise=noise)
        if out:
            store(out, f"{'noise' if noise else 'labels'}, seed {seed}", rows[seed])
    for kind, figures in rows[seeds[0]].items():
        for name in figures:
            print(f"{kind:10}{name:20}" + "".join(f"{row[kind][name]:>10.3f}" for row in rows.values()))


if __name__ == "__main__":
    main()
