"""Rows of `prm_arithmetic.py`: samples of the embedded model and planted slips, with exact step labels."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import Problem
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from prm.labels import LabelledSolution
from prm.training_fit import Sample
from star.checkpoints import load_checkpoint
from star.generation.base import Request, SamplingParams
from star.generation.transformers_engine import TransformersGenerator

SLIPS = {"repeated": 4, "copied": 3, "sign": 2, "misread": 1, "result": 1}
"""Relative numbers of planted slips: an operation that is another one of the problem, a value copied wrongly from the
step before, a sign, a number misread, a wrong result."""
Drawn = list[list[tuple[LabelledSolution, Sample]]]
"""By problem, its samples: labelled, and as candidates."""


def problems_of(split: str, n: int, seed: int) -> list[Problem]:
    """Problems of difficulty 3 and 4, in equal parts."""
    return list(read_arithmetic({"difficulty": [3, 4], "n": n // 2, "seed": seed}, split))


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


def near_misses(problems: Sequence[Problem], n: int, seed: int) -> list[LabelledSolution]:
    """Worked solutions with one slip that is carried on, `n` of each problem; some slips change nothing that matters.

    They are labelled as samples are: where a repeated operation was only another order, the solution goes wrong later.
    """
    found = []
    for problem in problems:
        rng = random.Random(derive_seed("near misses", seed, problem.id))
        for _ in range(n):
            steps = slipped(problem.prompt, rng)
            found.append(
                LabelledSolution(
                    problem=problem.prompt,
                    steps=steps,
                    values=derivation_labels(problem.prompt, steps),
                    source="near_miss",
                    outcome=steps[-1] == f"#### {problem.answer}",
                )
            )
    return found


def slipped(prompt: str, rng: random.Random) -> tuple[str, ...]:
    """A worked solution with a slip of a drawn kind at a drawn operation, or behind the last one: no slip."""
    first, *operations = re.findall(r"[-+]?\d+", prompt)
    (kind,) = rng.choices(list(SLIPS), list(SLIPS.values()))
    value, steps, place = int(first), list[str](), rng.randrange(len(operations) + 1)
    for at, operation in enumerate(operations):
        here, start, said = kind if at == place else "", value, operation
        if here == "repeated":
            said = rng.choice(operations)
        elif here == "copied":
            start = misread(value, rng)
        elif here == "sign":
            said = ("+" if operation[0] == "-" else "-") + operation[1:]
        elif here == "misread":
            said = operation[0] + str(misread(int(operation[1:]), rng))
        value = start + int(said)
        if value < 0:  # The problems know no negative numbers.
            break
        value = misread(value, rng) if here == "result" else value
        steps.append(f"{start}{said}={value}\n")
    return (*steps, f"#### {max(value, 0)}")


def misread(value: int, rng: random.Random) -> int:
    """A number near another one, at least 0."""
    return value + rng.choice([-10, -2, -1, 1, 2, 10] if value >= 10 else [1, 2])
