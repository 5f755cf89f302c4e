"""`stepstar compare A B`: two models on the same problems, paired: gain, its interval, McNemar's test, and the flips.

Either side is the folder of an evaluation or of a run; of a run it is the last policy that the gate let through, or the
one that is named: `runs/quickstart:base`, `runs/quickstart:star-r2`, `runs/quickstart:ppo-r1`. Greedy answers are
compared, and where both sides have samples, pass@1 too. What could not be decided on either side is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.records import Problem, Status
from pipelines.evaluation.folder import EvalFolder, is_evaluation
from pipelines.evaluation.metrics import Figure, as_figure, figure
from pipelines.evaluation.result import read_answers, read_problems_of
from pipelines.evaluation.stage import GREEDY, SAMPLES
from pipelines.report.summary import BASE, Summary, last_promoted
from pipelines.run_dir import RunFolder
from star.promotion import sign_test
from verifiers.metrics import paired_interval


@dataclass(frozen=True, slots=True)
class Reply:
    """One model's greedy answer to a problem."""

    right: bool
    extracted: str


@dataclass(slots=True)
class Side:
    """One model's answers by problem id; what could not be decided is not in it."""

    name: str
    problems: dict[str, Problem] = field(default_factory=dict)
    greedy: dict[str, Reply] = field(default_factory=dict)
    pass_1: dict[str, float] = field(default_factory=dict)
    """Share of right samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A problem that one model solves and the other does not."""

    problem_id: str
    prompt: str
    gold: str
    a: str
    b: str
    """The answers of both, as extracted."""
    gained: bool
    """Whether B solves it; else A does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """B against A on the same problems; shares in [0, 1]."""

    a: str
    b: str
    figures: dict[str, Figure]
    """`a`, `b` and `gain` (b less a) of the greedy answers, and with samples `a pass@1`, `b pass@1`, `gain pass@1`."""
    p: float
    """McNemar's exact test, two-sided: the chance of flips as one-sided as these if both were equally good."""
    flips: list[Flip]
    unpaired: int
    """Problems that only one side has, or that could not be decided on one."""


def read_side(place: str) -> Side:
    """One side of a comparison.

    Args:
        place: a folder, of a run also with `:base`, `:ARM-rROUND` behind it.

    Raises:
        UserError: there is no such folder, or the run has no such policy.
    """
    folder, _, policy = place.partition(":") if not Path(place).exists() else (place, "", "")
    root = Path(folder)
    side = Side(place)
    if is_evaluation(root):
        if policy:
            raise UserError(f"'{folder}' is an evaluation and has one model.", f"Leave out ':{policy}'.")
        _add_evaluation(side, EvalFolder.read(root))
    else:
        _add_run(side, RunFolder.read(root), policy)
    if not side.greedy:
        raise UserError(f"'{place}' has no answers yet.", "Let it finish first.")
    return side


def _add_evaluation(side: Side, folder: EvalFolder) -> None:
    for benchmark in folder.config.benchmarks:
        side.problems |= {problem.id: problem for problem in read_problems_of(folder, benchmark.name)}
        for key, rows in read_answers(folder, benchmark.name, GREEDY).items():
            if rows[0].status is not Status.UNDECIDED:
                side.greedy[key] = Reply(rows[0].status is Status.CORRECT, rows[0].extracted)
        for key, rows in read_answers(folder, benchmark.name, SAMPLES).items():
            decided = [row for row in rows if row.status is not Status.UNDECIDED]
            if decided:
                side.pass_1[key] = sum(row.status is Status.CORRECT for row in decided) / len(decided)


def _add_run(side: Side, run: RunFolder, policy: str) -> None:
    side.problems = {problem.id: problem for problem in run.table("problems", "test")}
    evaluations = list(run.table("evaluations"))
    places = Counter((row.arm, row.round) for row in evaluations)
    # A round that the run is still at would be compared on the easy part of the problems.
    done = [place for place, n in places.items() if n == len(side.problems)]
    known = [_policy_name(*place) for place in done]
    if not policy:
        promotions = {(row.arm, row.round): row for row in run.table("promotions")}
        last = last_promoted(Summary("", "", promotions=promotions), done)
        policy = _policy_name(*last) if last else ""
        side.name += f":{policy}"
    if policy not in known:
        raise UserError(f"'{run.root}' has no policy '{policy}'.", f"Use one of {', '.join(known) or 'none yet'}.")
    for row in evaluations:
        if _policy_name(row.arm, row.round) == policy and row.status is not Status.UNDECIDED:
            side.greedy[row.problem_id] = Reply(row.status is Status.CORRECT, row.extracted)


def _policy_name(arm: str, round_: int) -> str:
    return BASE if arm == BASE else f"{arm}-r{round_}"


def compare(a: Side, b: Side) -> Comparison:
    """Compare two sides.

    Raises:
        UserError: they have no problem in common.
    """
    keys = [key for key in a.greedy if key in b.greedy]
    if not keys:
        raise UserError(f"'{a.name}' and '{b.name}' share no problem.", "Evaluate both on the same benchmark.")
    flips = [_flip(a, b, key) for key in keys if a.greedy[key].right != b.greedy[key].right]
    gained = sum(flip.gained for flip in flips)
    figures = _figures("", [a.greedy[key].right for key in keys], [b.greedy[key].right for key in keys])
    both = [key for key in a.pass_1 if key in b.pass_1]
    if both:
        figures |= _figures(" pass@1", [a.pass_1[key] for key in both], [b.pass_1[key] for key in both])
    return Comparison(
        a=a.name,
        b=b.name,
        figures=figures,
        p=min(1.0, 2 * sign_test(max(gained, len(flips) - gained), len(flips))),
        flips=sorted(flips, key=lambda flip: (flip.gained, flip.problem_id)),
        unpaired=len(a.problems.keys() | b.problems.keys()) - len(keys),
    )


def _figures(name: str, a: Sequence[float], b: Sequence[float]) -> dict[str, Figure]:
    gain = as_figure(paired_interval(b, a), len(a))
    return {f"a{name}": figure(a), f"b{name}": figure(b), f"gain{name}": gain}


def _flip(a: Side, b: Side, key: str) -> Flip:
    problem = a.problems[key]
    return Flip(problem_id=key, prompt=problem.prompt, gold=problem.answer, a=a.greedy[key].extracted,
                b=b.greedy[key].extracted, gained=b.greedy[key].right)  # fmt: skip


def comparison_lines(found: Comparison, *, shown: int = 10) -> Iterator[str]:
    """What is printed; `shown` flips of each kind."""
    yield f"A {found.a}"
    yield f"B {found.b}"
    n = found.figures["gain"].n
    yield f"{n} problems in common" + (f", {found.unpaired} left out" if found.unpaired else "")
    for name, row in found.figures.items():
        sign = "+" if name.startswith("gain") else ""
        unit = "points" if sign else "%"
        yield f"  {name:12} {100 * row.mean:{sign}.1f} {unit} [{100 * row.low:{sign}.1f}, {100 * row.high:{sign}.1f}]"
    gained = [flip for flip in found.flips if flip.gained]
    lost = [flip for flip in found.flips if not flip.gained]
    yield f"  {len(gained)} gained, {len(lost)} lost; McNemar's exact p = {found.p:.3g}"
    for name, flips in (("lost", lost), ("gained", gained)):
        for flip in flips[:shown]:
            answers = f"gold {_short(flip.gold)}, A {_short(flip.a)}, B {_short(flip.b)}"
            yield f"  {name:6} {flip.problem_id} {' '.join(flip.prompt.split())[:100]} | {answers}"
        if len(flips) > shown:
            yield f"  {name:6} and {len(flips) - shown} more; all of them with --out"


def _short(text: str) -> str:
    return " ".join(text.split())[:24] or "none"


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON, every flip in it."""
    return asdict(found)
