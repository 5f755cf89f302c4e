"""What check_steps decides on gold solutions, planted slips and human step labels, in one run.

    python tests/benchmarks/step_checking.py DATA_FOLDER [--show]

DATA_FOLDER holds gsm8k/, math/, prm800k_subset/, mr_gsm8k_partial/, processbench_sample/ and bon_gsm8k/ as JSON lines,
gzipped. Prints one table each for gold solutions (all steps should be right), slips planted in them and in drawn
problems, and human labels. With --show also every step that was called incorrect on gold, and every flag that a human
label does not bear out. `checked` is the share of steps that are not `not_checkable`; a flag is borne out where it
stands at the first step that the label calls wrong, or after it.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from verifiers.steps import StepStatus, StepVerdict, check_steps

_MARK = re.compile(r"<<[^<>]*>>")
_PICTURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_SENTENCE = re.compile(r"\n\n+|(?<=[.!?])\s+(?=[A-Z])")


class Solution(NamedTuple):
    """A worked solution; `first_error` is the 0-based first wrong step by its label, -1 for none."""

    problem: str
    steps: list[str]
    first_error: int = -1


class Slip(NamedTuple):
    """A right solution, and the same with a mistake planted at one step."""

    right: list[str]
    wrong: list[str]
    place: int


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a gzipped JSON lines file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def gsm8k(folder: Path, split: str, *, marks: bool = True) -> list[Solution]:
    """GSM8K's solutions, with their calculator marks or without."""
    found = []
    for row in rows(folder / f"gsm8k/{split}.jsonl.gz"):
        text = row["answer"] if marks else _MARK.sub("", row["answer"])
        found.append(Solution(row["question"], text.split("\n")[:-1]))
    return found


def math(folder: Path) -> list[Solution]:
    """MATH's training solutions, a sentence a step, without their drawings."""
    texts = ((row["problem"], _PICTURE.sub("", row["solution"])) for row in rows(folder / "math/train.jsonl.gz"))
    return [Solution(problem, [step for step in _SENTENCE.split(text) if step.strip()]) for problem, text in texts]


def labelled(folder: Path, name: str) -> list[Solution]:
    """Solutions with a human label of their first wrong step."""
    if name == "prm800k_subset":
        files = rows(folder / "prm800k_subset/dev.jsonl.gz")
        return [Solution(row["problem"], row["steps"], row["first_error"]) for row in files]
    if name == "processbench_sample":
        files = rows(folder / "processbench_sample/sample80.jsonl.gz")
        return [Solution(row["problem"], row["steps"], row["label"]) for row in files]
    found = []
    for row in rows(folder / "mr_gsm8k_partial/dev.jsonl.gz"):
        steps = [re.sub(r"^Step \d+: ", "", step) for step in row["model_output_steps"]]
        found.append(Solution(row["question"], steps, row["model_output_solution_first_error_step"] - 1))
    return found


def first_flag(verdicts: Sequence[StepVerdict]) -> int:
    """The first step called incorrect; -1 for none."""
    return next((place for place, row in enumerate(verdicts) if row.status is StepStatus.INCORRECT), -1)


def judged(solutions: Iterable[Solution], only: str = "") -> Iterator[tuple[str, StepVerdict]]:
    """Each step with its verdict; only steps whose text holds `only`."""
    for row in solutions:
        for step, verdict in zip(row.steps, check_steps(row.problem, row.steps), strict=True):
            if only in step:
                yield step, verdict


def gold(name: str, solutions: Iterable[Solution], *, only: str = "", show: bool = False) -> dict[str, float]:
    """Print and return how many steps of right solutions are checked, and how many of those called incorrect."""
    verdicts = list(judged(solutions, only))
    checked = [row for row in verdicts if row[1].status is not StepStatus.NOT_CHECKABLE]
    wrong = [row for row in checked if row[1].status is StepStatus.INCORRECT]
    shares = {"checked": len(checked) / len(verdicts), "incorrect": len(wrong) / len(checked)}
    print(
        f"{name:28}{len(verdicts):8} steps {shares['checked']:8.1%} checked"
        f" {len(wrong):5} called incorrect ({shares['incorrect']:.2%})"
    )
    for step, verdict in wrong if show else []:
        print(f"    [{verdict.rule}] {verdict.span!r} in {step!r}")
    return shares


def marked_slips(solutions: Iterable[Solution], kind: str, rng: random.Random) -> Iterator[Slip]:
    """One slip in a calculator mark of each solution: a wrong `result`, a wrong `operand` or another `operator`."""
    pattern = re.compile(r"<<(\d+)([-+*/])(\d+)=(\d+)>>")
    for row in solutions:
        places = [place for place, step in enumerate(row.steps) if pattern.search(step)]
        if not places:
            continue
        place = rng.choice(places)
        mark = pattern.search(row.steps[place])
        assert mark is not None
        one, sign, other, result = mark.groups()
        if kind == "result":
            result = str(int(result) + rng.choice([1, 2, 10]))
        elif kind == "operand":
            one = str(int(one) + rng.choice([1, 2, 10]))
        else:
            sign = {"+": "-", "-": "+", "*": "+", "/": "*"}[sign]
        compute = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": Fraction}[sign]
        if abs(compute(int(one), int(other)) - int(result)) < 1:
            # A result that is right, or right to the whole number.
            continue
        wrong = list(row.steps)
        wrong[place] = wrong[place].replace(mark.group(), f"<<{one}{sign}{other}={result}>>")
        yield Slip(row.steps, wrong, place)


def plain_slips(solutions: Iterable[Solution], rng: random.Random) -> Iterator[Slip]:
    """One wrong result in the running text of each solution, whose marks are gone."""
    pattern = re.compile(r"(\d\s*[-+*/]\s*\$?\d+\s*=\s*\$?)(\d+)(?![\d.,])")
    for row in solutions:
        places = [place for place, step in enumerate(row.steps) if pattern.search(step)]
        if not places:
            continue
        place, change = rng.choice(places), rng.choice([1, 2, 10])
        match = pattern.search(row.steps[place])
        assert match is not None
        step = row.steps[place].replace(match.group(), f"{match[1]}{int(match[2]) + change}", 1)
        yield Slip(row.steps, [*row.steps[:place], step, *row.steps[place + 1 :]], place)


_CONVERSIONS = (("hours", 60, "minutes"), ("minutes", 60, "seconds"), ("feet", 12, "inches"), ("weeks", 7, "days"),
                ("yards", 3, "feet"), ("kilometers", 1000, "meters"), ("pounds", 16, "ounces"))  # fmt: skip


def unit_slips(count: int, rng: random.Random) -> Iterator[Slip]:
    """Conversions with a wrong factor."""
    for _ in range(count):
        large, factor, small = rng.choice(_CONVERSIONS)
        number, wrong = rng.randint(2, 40), rng.choice([10, 20, 100, factor + 1])
        form = rng.choice(
            ["{0} {1} = {2} {3}.", "That is {0} {1} = {2} {3} in all.", "{0} {1} * {4} {3}/{1} = {2} {3}"]
        )
        right, slipped = (form.format(number, large, number * by, small, factor) for by in (factor, wrong))
        if wrong != factor:
            yield Slip(["First the units.", right], ["First the units.", slipped], 1)


def algebra_slips(count: int, rng: random.Random) -> Iterator[Slip]:
    """Linear equations solved in steps, with one step that does not follow."""
    for _ in range(count):
        a, b, x = rng.randint(2, 9), rng.randint(1, 30), rng.randint(2, 20)
        lines = [f"{a}x + {b} = {a * x + b}", f"{a}x = {a * x}", f"x = {x}"]
        place = rng.choice([1, 2])
        change = rng.choice([1, 2, a])
        if place == 1:
            slipped = [lines[0], f"{a}x = {a * x + change}", f"x = {Fraction(a * x + change, a)}"]
        else:
            slipped = [*lines[:2], f"x = {x + change}"]
        wrap = rng.choice(["{}", "So ${}$.", "We get \\[{}\\]", "\\({}\\)"])
        yield Slip([wrap.format(line) for line in lines], [wrap.format(line) for line in slipped], place)


def carried_slips(count: int, rng: random.Random) -> Iterator[Slip]:
    """A value that a later step gets wrong."""
    for _ in range(count):
        name, value, a, b = rng.choice("nxyzkm"), rng.randint(2, 30), rng.randint(2, 9), rng.randint(1, 20)
        head = [f"Let ${name} = {value}$.", "Now the rest."]
        change = rng.choice([-1, 1, 5])
        right, wrong = (f"Then ${a}{name} + {b} = {a * value + b + off}$." for off in (0, change))
        yield Slip([*head, right], [*head, wrong], 2)


def identity_slips(count: int, rng: random.Random) -> Iterator[Slip]:
    """Products expanded with a wrong coefficient."""
    for _ in range(count):
        a, b, change = rng.randint(1, 9), rng.randint(1, 9), rng.choice([-1, 1, 2])
        form = "The area is \\[A = (x + {0})(x + {1}) = x^2 + {2}x + {3}\\]"
        right, wrong = (form.format(a, b, a + b + off, a * b) for off in (0, change))
        yield Slip([right], [wrong], 0)


def found(name: str, slips: Iterable[Slip]) -> float:
    """Print and return the share of slips flagged at their step, of those whose right step is called correct."""
    checkable = hits = total = 0
    for slip in slips:
        total += 1
        if check_steps("", slip.right)[slip.place].status is StepStatus.CORRECT:
            checkable += 1
            hits += first_flag(check_steps("", slip.wrong)) == slip.place
    print(
        f"{name:28}{total:8} slips {checkable / total:8.1%} checkable"
        f" {hits / checkable:8.1%} of these found at their step"
    )
    return hits / checkable


def against_labels(name: str, solutions: Sequence[Solution], *, show: bool = False) -> dict[str, float]:
    """Print and return checked share, precision of flagged solutions and recall of first errors."""
    steps = checked = flagged = good = errors = hits = 0
    for row in solutions:
        verdicts = check_steps(row.problem, row.steps)
        steps += len(verdicts)
        checked += sum(verdict.status is not StepStatus.NOT_CHECKABLE for verdict in verdicts)
        place = first_flag(verdicts)
        errors += row.first_error >= 0
        hits += row.first_error >= 0 and place == row.first_error
        flagged += place >= 0
        borne_out = 0 <= row.first_error <= place
        good += borne_out
        if show and place >= 0 and not borne_out:
            print(f"    label {row.first_error}, flag {place}: {verdicts[place].span!r} in {row.steps[place]!r}")
    print(
        f"{name:28}{steps:8} steps {checked / steps:8.1%} checked {flagged:5} solutions flagged, {good} borne out"
        f" ({good / flagged:.1%}); {hits} of {errors} first errors found ({hits / errors:.1%})"
    )
    return {"checked": checked / steps, "precision": good / flagged, "recall": hits / errors}


def best_of_n(folder: Path) -> None:
    """Print how often solutions with a right and with a wrong final answer are flagged."""
    counts = {True: [0, 0], False: [0, 0]}
    for row in rows(folder / "bon_gsm8k/dev.jsonl.gz"):
        for candidate in row["candidates"]:
            place = first_flag(check_steps(row["question"], candidate["steps"]))
            counts[candidate["is_correct"]][0] += 1
            counts[candidate["is_correct"]][1] += place >= 0
    for right, (total, flagged) in counts.items():
        name = f"bon_gsm8k, {'right' if right else 'wrong'} answers"
        print(f"{name:28}{total:8} solutions {flagged:5} flagged ({flagged / total:.1%})")


def main() -> None:
    """Print all tables."""
    folder, show = Path(sys.argv[1]), "--show" in sys.argv
    train = gsm8k(folder, "train")
    print("gold solutions")
    gold("gsm8k train, marked steps", train, only="<<", show=show)
    gold("gsm8k test, marked steps", gsm8k(folder, "test"), only="<<", show=show)
    gold("gsm8k train, no marks", gsm8k(folder, "train", marks=False), only="=", show=show)
    gold("math train", math(folder), show=show)
    gold("math train, steps with =", math(folder), only="=")
    print("planted slips")
    for kind in ("result", "operand", "operator"):
        found(f"gsm8k mark: {kind}", marked_slips(train, kind, random.Random(0)))
    found("gsm8k text: result", plain_slips(gsm8k(folder, "train", marks=False), random.Random(0)))
    drawn = {"unit": unit_slips, "algebra": algebra_slips, "carried": carried_slips, "identity": identity_slips}
    for name, draw in drawn.items():
        found(f"drawn: {name}", draw(2000, random.Random(0)))
    print("human labels")
    for name in ("prm800k_subset", "mr_gsm8k_partial", "processbench_sample"):
        against_labels(name, labelled(folder, name), show=show)
    best_of_n(folder)


if __name__ == "__main__":
    main()
