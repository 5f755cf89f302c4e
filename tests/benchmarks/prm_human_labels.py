"""What a PRM on a frozen 135M backbone learns from people's step labels, beside the floor of words alone.

    python tests/benchmarks/prm_human_labels.py LABELS.jsonl.gz BASE [--states CACHE.safetensors] [--out RESULT.json]

LABELS: rows with `problem`, `steps` and `ratings` in -1, 0, 1, as recovered from PRM800K; BASE: the folder of a causal
language model. Equal solutions (a screening question was labelled 400 times) are one row with the mean of its labels,
so that none of them weighs more than another. Ten parts by problem: each is scored by a head that was trained on eight
others (`train_prm` with mode `probe`, which chooses its penalty within the eight) and calibrated on the ninth. A step
is wrong if most who rated it said -1. Intervals are bootstraps over problems. The hidden states take most of the time;
--states keeps them.

Separator, number of layers and mode were chosen by figures on the same ten parts: a head by gradient steps came to AUCs
of 0.619 to 0.650 under five settings, ridge regression to 0.590 to 0.683 under five penalties, with and without the
states of the steps before, which gained nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from data.ids import content_id
from prm.aggregate import Reading
from prm.calibration import best_threshold, fit_platt
from prm.encode import EncodedSteps, EncoderConfig
from prm.evaluation import auc, calibration_error, first_error_scores, interval_over
from prm.evaluation_floors import BagOfWords, coin
from prm.labels import LabelledSolution
from prm.model import LoadedPrm, assemble, build_prm, step_probabilities
from prm.model_config import ModelForm
from prm.training import train_prm
from prm.training_config import PrmTrainingConfig
from prm.training_modes import FrozenStates
from prm.training_rows import prepare_rows

PARTS = 10
ENCODER = EncoderConfig(separator="\nIs this step correct?\n")
CONFIG = PrmTrainingConfig(mode="probe")
FORM = ModelForm(layers=18)
Part = list[LabelledSolution]


class Scored(NamedTuple):
    """A test solution with what a model that saw no solution of its problem says of it."""

    solution: LabelledSolution
    scores: tuple[float, ...]
    first_error: int


def read_solutions(path: str) -> list[LabelledSolution]:
    """Distinct solutions with the mean of their labels; neutral counts as right."""
    ratings: dict[tuple[str, tuple[str, ...]], list[list[float]]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            ratings[row["problem"], tuple(row["steps"])].append([float(one >= 0) for one in row["ratings"]])
    print(f"{sum(map(len, ratings.values()))} rows, {len(ratings)} distinct solutions", flush=True)
    return [
        LabelledSolution(
            problem=problem,
            steps=steps,
            values=tuple(sum(column) / len(column) for column in zip(*said, strict=True)),
            source="human",
        )
        for (problem, steps), said in ratings.items()
    ]


def parts_of(solutions: Part) -> list[Part]:
    """The solutions of each part; all of one problem are in one, and the parts have like numbers of problems."""
    problems = sorted({one.problem for one in solutions}, key=lambda problem: content_id("prm human labels", problem))
    place = {problem: number % PARTS for number, problem in enumerate(problems)}
    return [[one for one in solutions if place[one.problem] == number] for number in range(PARTS)]


def load_states(states: FrozenStates, rows: dict[str, EncodedSteps], cache: Path | None) -> None:
    """Hidden states of all rows, from the cache if it has them."""
    from safetensors.torch import load_file, save_file

    if cache and cache.exists():
        for name, tensor in load_file(str(cache)).items():
            states.known[_key(rows[name])] = tensor
    started, names = time.process_time(), list(rows)
    for at in range(0, len(names), 40):  # Saved as it goes: it takes minutes, and may be cut short.
        part = {name: rows[name] for name in names[at : at + 40]}
        n_known = len(states.known)
        states.read(list(part.values()))
        if cache and len(states.known) > n_known:
            done = {name: states.known[_key(rows[name])] for name in names if _key(rows[name]) in states.known}
            save_file({name: tensor.clone() for name, tensor in done.items()}, str(cache))
    print(f"hidden states: {time.process_time() - started:.0f} CPU s", flush=True)


def _key(row: EncodedSteps) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(row.ids), tuple(row.step_ends)


def head_scores(base: LoadedPrm, states: FrozenStates, train: Part, dev: Part, test: Part) -> list[Scored]:
    """Calibrated scores of the test solutions, with the first error that the threshold of the dev solutions reads."""
    loaded = assemble(base.model.network, base.tokenizer, base.config, base.name)
    train_prm(loaded, prepare_rows(loaded.encoder, train, CONFIG, Counter()), CONFIG, seed=0, states=states)

    def score(part: Part) -> list[list[float]]:
        with torch.no_grad():
            known = [states.read([loaded.encoder.encode(one.problem, one.steps)]) for one in part]
            return [step_probabilities(loaded.model.head(one)).tolist() for one in known]

    return calibrated(score(dev), dev, score(test), test)


def word_scores(train: Part, dev: Part, test: Part) -> list[Scored]:
    """The same of words alone."""
    floor = BagOfWords().fit(*columns(train))

    def score(part: Part) -> list[list[float]]:
        return [floor.score(one.steps, range(len(one.steps))) for one in part]

    return calibrated(score(dev), dev, score(test), test)


def columns(part: Part) -> tuple[list[str], list[int], list[float]]:
    """Steps, their places and their labels."""
    rows = [
        (step, at, value) for one in part for at, (step, value) in enumerate(zip(one.steps, one.values, strict=True))
    ]
    steps, places, values = (list(column) for column in zip(*rows, strict=True))
    return steps, places, [float(value) for value in values]


def calibrated(raw_dev: list[list[float]], dev: Part, raw: list[list[float]], test: Part) -> list[Scored]:
    """Scores of the test solutions by temperature, shift and threshold of the dev solutions."""
    scale = fit_platt([score for one in raw_dev for score in one], columns(dev)[2])
    threshold, _ = best_threshold(
        [[scale.apply(score) for score in one] for one in raw_dev], [one.first_error for one in dev]
    )
    reading = Reading(threshold=threshold)
    scores = [tuple(scale.apply(score) for score in one) for one in raw]
    return [Scored(one, found, reading.first_error(found)) for one, found in zip(test, scores, strict=True)]


def pooled_auc(scored: Sequence[Scored]) -> float:
    """Step AUC over all solutions; a step is right if at least half of those who rated it say so."""
    labels = [float(value or 0) >= 0.5 for one in scored for value in one.solution.values]
    return auc(labels, [score for one in scored for score in one.scores])


def figures(scored: list[Scored]) -> dict[str, float]:
    """Figures of one model, AUC with its interval over problems."""
    values = [float(value or 0) for one in scored for value in one.solution.values]
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.solution.problem].append(one)
    over = interval_over(list(groups.values()), lambda drawn: pooled_auc([one for group in drawn for one in group]))
    first = first_error_scores([one.solution.first_error for one in scored], [one.first_error for one in scored])
    ece = calibration_error(values, [score for one in scored for score in one.scores])
    return {
        "auc": over.mean,
        "auc low": over.low,
        "auc high": over.high,
        "ece": ece,
        "first-error f1": first.f1,
        "wrong": first.wrong,
        "right": first.right,
    }


def gain(scored: list[Scored], floor: list[Scored]) -> dict[str, float]:
    """AUC above the floor's, with its interval over problems."""
    groups: dict[str, list[tuple[Scored, Scored]]] = defaultdict(list)
    for one, other in zip(scored, floor, strict=True):
        groups[one.solution.problem].append((one, other))

    def difference(drawn: Sequence[list[tuple[Scored, Scored]]]) -> float:
        pairs = [pair for group in drawn for pair in group]
        return pooled_auc([one for one, _ in pairs]) - pooled_auc([other for _, other in pairs])

    found = interval_over(list(groups.values()), difference)
    return {"auc": found.mean, "auc low": found.low, "auc high": found.high}


def run(path: str, base_folder: str, cache: Path | None) -> dict[str, dict[str, float]]:
    """All figures."""
    solutions = read_solutions(path)
    base = build_prm(base_folder, FORM, ENCODER)
    states = FrozenStates(base.model.decoder, batch_tokens=1536)
    load_states(states, {one.id: base.encoder.encode(one.problem, one.steps) for one in solutions}, cache)
    head, words, parts = [], [], parts_of(solutions)
    for number, test in enumerate(parts):
        held = (number + 1) % PARTS
        train = [one for at, part in enumerate(parts) if at not in (number, held) for one in part]
        head += head_scores(base, states, train, parts[held], test)
        words += word_scores(train, parts[held], test)
    guess = coin([one.first_error for one in solutions], [len(one.steps) for one in solutions])
    found = {"head": figures(head), "words": figures(words), "head - words": gain(head, words)}
    return found | {"coin": {"first-error f1": guess.f1}}


def main() -> None:
    """Run, print, store."""
    torch.set_num_threads(1)
    words = sys.argv[1:]
    options = {words[at]: words[at + 1] for at in range(len(words) - 1) if words[at].startswith("--")}
    found = run(words[0], words[1], Path(options["--states"]) if "--states" in options else None)
    for kind, row in found.items():
        print(f"{kind:14}" + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))
    if "--out" in options:
        rounded = {kind: {name: round(value, 4) for name, value in row.items()} for kind, row in found.items()}
        Path(options["--out"]).write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
