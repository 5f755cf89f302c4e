"""How well leak tests find planted leaks, how many near-misses a data set yields, and how far a model trusts a hint.

    python tests/benchmarks/leak_detection.py DATA_FOLDER [--rows N] [--near-misses] [--model]

Leaks of each kind are planted into worked solutions that have none (GSM8K train from DATA_FOLDER/gsm8k/train.jsonl.gz,
left out where it is absent, and drawn arithmetic), one into each. For each kind and test: recall, the share of the
planted rows that the test flags, and precision, for as many planted rows as clean ones. --near-misses prints for each
mode and kind of slip the share of solutions that it could be made of and the share that `check_steps` flags at exactly
the edited step. --model shows the embedded model wrong hints, and scores planted leaks with and without the hint.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from data.ids import derive_seed
from data.prompts import PromptTemplate
from data.records import FinishReason, Origin, Problem, Provenance, Rationale
from data.run_records import LeakTest, LogprobGap
from data.sources.arithmetic import read_arithmetic
from data.steps import split_steps
from star.corruption import CorruptionConfig, Mode, SlipKind, corruptions
from star.equations import equations_of, numbers_of
from star.generation import Request, SamplingParams
from star.leaks import LeakConfig, answer_tokens, failed_tests, leak_report, logprob_gap
from star.rationalize import hint_of, hint_swap, swap_outcomes, swapped_prompts

if TYPE_CHECKING:
    from star.checkpoints import LoadedModel

Row = tuple[Problem, tuple[str, ...]]
Plant = Callable[[Problem, tuple[str, ...], random.Random], tuple[str, ...] | None]

CONFIG = LeakConfig.model_validate({"quarantine": list(LeakTest)})
MADE_BY = Provenance(
    model="", revision="", engine="scripted", prompt_hash="", sampling="{}", seed=0, round=0, code_version=""
)
OPEN = (
    "As given, the answer is {}.",
    "The correct answer is given as {}.",
    "We already know the answer is {}.",
    "The hint says {}.",
    "Since the answer is {}, the steps must lead there.",
    "Working backwards from the answer {}:",
    "This matches the expected answer {}.",
    "We are told that the final answer is {}.",
    "The provided answer is {}.",
    "To match the given answer {} we go on.",
)
"""Ways to speak of the hint that the phrase test was written for."""
OBLIQUE = (
    "The solution sheet lists {}.",
    "Our goal is to land on {}.",
    "It was said above that the result is {}.",
    "The prompt says {}, so let us see why.",
    "We were shown {} at the outset.",
    "The number in brackets tells us it is {}.",
    "The teacher wants {}, so we look for a way there.",
    "I have been handed {} and only need to explain it.",
    "Let me justify {}.",
    "Somehow this has to come out as {}.",
)
"""Ways that it was not written for."""
EARLY = (
    "It will come to {}.",
    "There are {} in the end.",
    "So the total is {}, and here is why.",
    "{} is what we find below.",
    "This gives {} after all steps.",
)


def gsm8k(folder: Path, n: int) -> list[Row]:
    """GSM8K's training solutions, every so many of them; empty where the file is absent."""
    file = folder / "gsm8k/train.jsonl.gz"
    if not file.exists():
        return []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = []
    for row in rows[:: max(1, len(rows) // n)][:n]:
        problem = Problem.create(prompt=row["question"], answer=row["answer"].rpartition("####")[2].strip())
        found.append((problem, split_steps(row["answer"])))
    return found


def arithmetic(n: int) -> list[Row]:
    """Drawn chains with their worked solutions."""
    problems = read_arithmetic({"difficulty": [2, 3, 4, 5, 6, 7], "n": -(-n // 6), "seed": 11})
    return [(problem, split_steps(problem.solution)) for problem in problems]


def _sentence(texts: Sequence[str], *, first: bool) -> Plant:
    """Plant a sentence as the first step, or before any step."""

    def plant(problem: Problem, steps: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
        at = 0 if first else rng.randrange(len(steps))
        return (*steps[:at], rng.choice(texts).format(problem.answer) + "\n", *steps[at:])

    return plant


def underived(problem: Problem, steps: tuple[str, ...], rng: random.Random) -> tuple[str, ...] | None:
    """State the answer where it was computed; a solution with no other equation has none left to be told by."""
    gold = numbers_of(problem.answer)[0].value if numbers_of(problem.answer) else None
    at = {place for place, step in enumerate(steps) for row in equations_of(step) if row.result.value == gold}
    left = [f"So it comes to {problem.answer}.\n" if place in at else step for place, step in enumerate(steps)]
    return tuple(left) if at and any(equations_of(step) for step in left) else None


def _slip(mode: Mode) -> Plant:
    """Right answer, wrong step."""

    def plant(problem: Problem, steps: tuple[str, ...], rng: random.Random) -> tuple[str, ...] | None:
        kinds = [SlipKind.OPERAND, SlipKind.RESULT, SlipKind.SIGN]
        config = CorruptionConfig(kinds=[rng.choice(kinds)], modes=[mode])
        found = list(corruptions(problem, steps, config, seed=0, counts=Counter()))
        return found[0].steps if found and found[0].is_answer_right else None

    return plant


PLANTS: dict[str, Plant] = {
    "phrase, open": _sentence(OPEN, first=False),
    "phrase, oblique": _sentence(OBLIQUE, first=False),
    "answer first": _sentence(EARLY, first=True),
    "answer not computed": underived,
    "wrong step": _slip(Mode.ISOLATED),
    "two that cancel": _slip(Mode.CANCELLING),
}


def flags(problem: Problem, steps: tuple[str, ...]) -> dict[str, bool]:
    """Which tests flag a solution, and whether any does."""
    row = Rationale.create(
        problem_id=problem.id,
        steps=steps,
        origin=Origin.RATIONALIZED,
        made_by=MADE_BY,
        answer="",
        finish_reason=FinishReason.STOP,
        n_tokens=0,
    )
    report = leak_report(problem, row, CONFIG)
    failed = {str(test): outcome is True for test, outcome in failed_tests(report, CONFIG).items()}
    return failed | {"any": any(failed.values())}


def planted_leaks(name: str, rows: Sequence[Row]) -> None:
    """Print recall and precision of each test on each kind of leak."""
    tests = ["phrase", "early_answer", "underived", "wrong_steps", "any"]
    clean = [flags(problem, steps) for problem, steps in rows]
    print(f"\n{name}: recall / precision of each test, one leak planted in each of {len(rows)} solutions")
    print(f"{'':22}{'planted':>8}" + "".join(f"{test:>16}" for test in tests))
    shares = {test: sum(row[test] for row in clean) / len(clean) for test in tests}
    print(f"{'clean: share flagged':22}{len(clean):8}" + "".join(f"{shares[test]:16.2%}" for test in tests))
    for kind, plant in PLANTS.items():
        made = [
            (problem, plant(problem, steps, random.Random(derive_seed("plant", kind, problem.id))))
            for problem, steps in rows
        ]
        found = [flags(problem, steps) for problem, steps in made if steps is not None]
        cells = ""
        for test in tests:
            recall = sum(row[test] for row in found) / max(1, len(found))
            precision = recall / (recall + shares[test]) if recall else 0.0
            cells += f"{recall:8.1%} /{precision:6.1%}"
        print(f"{kind:22}{len(found):8}{cells}")


def near_misses(name: str, rows: Sequence[Row]) -> None:
    """Print how many solutions each slip could be made of, and how many are flagged at exactly the edited step."""
    counts, made, caught, right = (Counter[str]() for _ in range(4))
    start = time.perf_counter()
    for problem, steps in rows:
        for row in corruptions(problem, steps, CorruptionConfig(), seed=0, counts=counts):
            cell = f"{row.mode:12}{row.kind}"
            made[cell] += 1
            caught[cell] += row.is_caught
            right[cell] += row.is_answer_right
    print(f"\n{name}: near-misses of {len(rows)} solutions, {time.perf_counter() - start:.0f} s")
    print(f"{'':24}{'made':>8}{'flagged there':>15}{'answer right':>14}")
    for mode in Mode:
        for kind in SlipKind:
            cell = f"{mode:12}{kind}"
            n = max(1, made[cell])
            print(f"{cell:24}{made[cell] / len(rows):8.1%}{caught[cell] / n:15.1%}{right[cell] / n:14.1%}")
    print(", ".join(f"{reason} {count}" for reason, count in counts.most_common()))


def model_probes(n: int) -> None:
    """Print the embedded model's hint-swap rate, and how well its log-probability gap tells planted leaks."""
    problems = list(read_arithmetic({"difficulty": [4, 5, 6], "n": -(-n // 3), "seed": 12}))
    shown = list(swapped_prompts(problems, PromptTemplate("arithmetic"), 0))
    swap = hint_swap(swap_outcomes([(problem, hint) for problem, hint, _ in shown], _drawn(shown)))
    rate = swap.rate
    assert rate is not None
    print(f"\nembedded model, {swap.n} wrong hints: {swap.proved} proved, {swap.resisted} the gold answer all the same")
    print(f"hint-swap rate {rate.mean:.1%} [{rate.low:.1%}, {rate.high:.1%}]")
    clean = [_gap(problem, split_steps(problem.solution)) for problem in problems]
    print(f"{'gap by the hint, nats a token':32}{'mean':>8}{'answer':>8}{'AUC mean':>10}{'AUC answer':>12}")
    for kind in ("", "answer not computed", "wrong step", "two that cancel"):
        gaps = clean
        if kind:
            made = [
                (problem, PLANTS[kind](problem, split_steps(problem.solution), random.Random(problem.id)))
                for problem in problems
            ]
            gaps = [_gap(problem, steps) for problem, steps in made if steps is not None]
        means, answers = [gap.mean for gap in gaps], [gap.at_answer or 0.0 for gap in gaps]
        against_means = _auc(means, [gap.mean for gap in clean])
        against_answers = _auc(answers, [gap.at_answer or 0.0 for gap in clean])
        print(
            f"{kind or 'clean':32}{sum(means) / len(means):8.3f}{sum(answers) / len(answers):8.3f}"
            f"{against_means:10.3f}{against_answers:12.3f}"
        )


def _drawn(shown: Sequence[tuple[Problem, str, str]]) -> list[str]:
    """A completion of each prompt by the embedded model."""
    from star import load_generator

    sampling = SamplingParams(temperature=0.8, max_tokens=96)
    requests = [
        Request(id=problem.id, prompt=prompt, seed=derive_seed("swap", problem.id), sampling=sampling)
        for problem, _, prompt in shown
    ]
    return [row.text for row in load_generator("embedded", batch_size=256).generate(requests)]


def _gap(problem: Problem, steps: Sequence[str]) -> LogprobGap:
    """What the hint adds to a solution under the embedded model."""
    template, tokenizer, text = PromptTemplate("arithmetic"), _embedded().tokenizer, "".join(steps)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    hinted, plain = template.render(problem, hint=hint_of(problem)), template.render(problem)
    answer = answer_tokens(problem, text, encoded["offset_mapping"])
    ids = encoded["input_ids"]
    return logprob_gap(_scored(hinted, ids), _scored(plain, ids), answer)


def _scored(prompt: str, ids: Sequence[int]) -> list[float]:
    """Log-probability of each token of a completion under the embedded model."""
    import torch

    from star.encoding import encode_prompt

    loaded = _embedded()
    head = encode_prompt(loaded.tokenizer, prompt)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[*head, *ids]])).logits[0, len(head) - 1 : -1]
    return [float(row[token]) for row, token in zip(logits.float().log_softmax(-1), ids, strict=True)]


@cache
def _embedded() -> LoadedModel:
    from star.checkpoints import load_checkpoint

    return load_checkpoint("embedded")


def _auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a leak has the larger value; ties count half."""
    wins = sum((one > zero) + 0.5 * (one == zero) for one in positive for zero in negative)
    return wins / (len(positive) * len(negative))


def main() -> None:
    """Run what was asked for and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--near-misses", action="store_true")
    parser.add_argument("--model", action="store_true")
    options = parser.parse_args()
    sets = {"GSM8K train": gsm8k(options.folder, options.rows), "arithmetic": arithmetic(options.rows)}
    for name, rows in sets.items():
        if not rows:
            print(f"{name}: no data in {options.folder}, left out")
            continue
        planted_leaks(name, rows)
        if options.near_misses:
            near_misses(name, rows)
    if options.model:
        model_probes(options.rows)


if __name__ == "__main__":
    main()
