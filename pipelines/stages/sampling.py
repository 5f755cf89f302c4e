"""Drawing and checking: samples and greedy answers of a policy to problems, shard by shard through the run folder.

A shard is always computed as the same batch, from seeds derived from (run seed, stage, round, problem id, sample
index), so a resumed run gives the bytes of an uninterrupted one, whoever draws. One shard is graded while the next is
drawn, and no more than the few in between are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Literal, Protocol

from data.batching import batched
from data.errors import RunFolderError, UserError
from data.ids import content_id, derive_seed
from data.prompts import PromptTemplate
from data.records import Origin, Problem, Provenance, Rationale, Status, Verdict
from data.run_records import Evaluation
from data.steps import split_steps
from pipelines.progress import track
from pipelines.recipe import Recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.drawing import Shard, draw_shards
from pipelines.stages.policy import Policy
from pipelines.stages.verification import check_rationales, check_texts, final_answer
from star.generation import Completion, Request, SamplingParams
from star.rationalize import has_failed, hint_of
from verifiers.answers.extract import Extraction

CODE_VERSION = version("stepstar")


@dataclass(frozen=True, slots=True)
class Context:
    """What every stage needs."""

    run: RunFolder
    recipe: Recipe
    template: PromptTemplate


class Problems(Sized, Iterable[Problem], Protocol):
    """Problems that can be gone through again and again, from memory or from the run folder."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One sampling of a set of problems: when, why, with how many samples and how."""

    arm: str
    round: int
    """The loop's round, from 1: a round that samples from an earlier round's model still draws anew."""
    purpose: Literal["sample", "rationalize", "pilot"]
    """`rationalize` shows the answer as a hint; what a `pilot` draws is not trained on."""
    n: int
    params: SamplingParams
    place: int = 0
    """Tells pilots of one round apart."""

    @property
    def hinted(self) -> bool:
        """Whether the prompts show the answer."""
        return self.purpose == "rationalize"

    @property
    def label(self) -> str:
        """What the progress bar says."""
        return f"{self.arm} · round {self.round} · {self.purpose}"

    @property
    def unit(self) -> str:
        """Prefix of the shard names."""
        return f"{self.arm}-r{self.round}-{self.purpose}" + (f"-{self.place}" if self.purpose == "pilot" else "")

    def requests(self, context: Context, problems: Sequence[Problem]) -> Iterator[Request]:
        """`n` requests a problem; samples of one problem follow each other, so that they share its prompt."""
        for problem in problems:
            prompt = context.template.render(problem, hint=hint_of(problem) if self.hinted else "")
            for index in range(self.n):
                # Without the arm: in round 1 all arms draw the same.
                seed = derive_seed(context.recipe.seed, self.purpose, self.place, self.round, problem.id, index)
                yield Request(id=f"{problem.id}/{index}", prompt=prompt, seed=seed, sampling=self.params)


def drawn_rows(run: RunFolder, unit: str) -> Iterator[tuple[Rationale, Verdict]]:
    """The rationales of a unit with their verdicts.

    Raises:
        RunFolderError: the verdicts are of other rationales.
    """
    rows, verdicts = (run.read_unit(table, unit) for table in ("rationales", "verdicts"))
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.rationale_id != row.id:
            problem = f"'{run.root}': the verdicts of '{unit}' are not of its rationales."
            raise RunFolderError(problem, "Delete its file under records/verdicts, then run the same command again.")
        yield row, verdict


@dataclass(slots=True)
class Drawn:
    """Rationales and their verdicts, in the order of their problems, read from the run folder each time."""

    run: RunFolder
    samples: int
    """Of each problem."""
    units: list[str] = field(default_factory=list)
    n: int = 0
    right: int = 0
    undecided: int = 0
    failures: bytearray = field(default_factory=bytearray)
    """Of each problem, in order: 1 if it has a decided sample and no right one."""

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[Rationale, Verdict]]:
        for unit in self.units:
            yield from drawn_rows(self.run, unit)

    def count(self, statuses: Sequence[Status]) -> str:
        """Take in a shard's verdicts; says what share is right so far."""
        self.n += len(statuses)
        self.right += statuses.count(Status.CORRECT)
        self.undecided += statuses.count(Status.UNDECIDED)
        self.failures.extend(map(has_failed, batched(statuses, self.samples)))
        return f"accepted {self.right / max(1, self.n):.0%}"


def sample(context: Context, policy: Policy, draw: Draw, problems: Iterable[Problem], total: int) -> Drawn:
    """Draw and verify `draw.n` rationales of each problem, shard by shard.

    Args:
        context: run, recipe, template.
        policy: what draws.
        draw: how.
        problems: in order; the shards follow it.
        total: how many problems there are at most, for the progress bar.

    Raises:
        UserError: too many checks could not be decided.
    """
    run, drawn = context.run, Drawn(context.run, draw.n)
    asked: dict[str, list[Request]] = {}

    def requests(shard: Shard) -> list[Request]:
        asked[shard.unit] = list(draw.requests(context, shard.problems))
        return asked[shard.unit]

    def store(shard: Shard, verdicts: Callable[[], list[Verdict]]) -> None:
        found = run.unit("verdicts", shard.unit, shard.key, verdicts)
        drawn.units.append(shard.unit)
        bar.advance(len(found), drawn.count([verdict.status for verdict in found]))

    with run.stage(draw.label), track(draw.label, total * draw.n) as bar, _grader() as grader:
        before: list[tuple[Shard, Callable[[], list[Verdict]]]] = []
        for shard, completions in draw_shards(policy, _shards(context, policy, draw, problems), requests):
            verdicts: Callable[[], list[Verdict]] = list
            if shard.problems:
                answers: list[Extraction] = []
                found = zip(asked.pop(shard.unit, ()), completions, strict=True)
                make = partial(_rationales, context, policy, draw, shard.problems, found, answers)
                rows = run.unit("rationales", shard.unit, shard.key, make, voids="verdicts")
                # While this shard is graded, the next one is drawn.
                verdicts = grader.submit(_verdicts, shard.problems, rows, answers).result
            before.append((shard, verdicts))
            if len(before) > 1:
                store(*before.pop(0))
        for last in before:
            store(*last)
    run.drop_stale("rationales", "verdicts", prefix=f"{draw.unit}-")
    _check_undecided(context.recipe, draw.label, drawn.undecided, drawn.n)
    return drawn


@contextmanager
def _grader() -> Iterator[ThreadPoolExecutor]:
    """A thread to grade in; what waits for it is dropped if the run is stopped."""
    grader = ThreadPoolExecutor(1)
    try:
        yield grader
    finally:
        grader.shutdown(cancel_futures=True)


def _shards(context: Context, policy: Policy, draw: Draw, problems: Iterable[Problem]) -> Iterator[Shard]:
    facts = (policy.facts, context.template.hash(hinted=draw.hinted), CODE_VERSION, draw.params.to_json(),
             f"{context.recipe.seed} {draw.round} {draw.purpose} {draw.place} {draw.n}")  # fmt: skip
    for place, part in enumerate(batched(problems, context.recipe.shard_size)):
        unit, key = f"{draw.unit}-{place:05d}", content_id("sample", *facts, *(problem.id for problem in part))
        is_drawn, is_checked = (context.run.has_unit(table, unit, key) for table in ("rationales", "verdicts"))
        yield Shard(unit, key, [] if is_drawn and is_checked else part, is_drawn)


def _rationales(
    context: Context,
    policy: Policy,
    draw: Draw,
    problems: Sequence[Problem],
    found: Iterable[tuple[Request, Completion]],
    answers: list[Extraction],
) -> Iterator[Rationale]:
    """The rationales of a shard; `answers` takes in what was found in each, so that its check need not look again."""
    prompt_hash, params = context.template.hash(hinted=draw.hinted), draw.params.to_json()
    owners = (problem for problem in problems for _ in range(draw.n))
    for problem, (request, completion) in zip(owners, found, strict=True):
        provenance = Provenance(
            model=policy.name,
            revision=policy.revision,
            engine=policy.engine,
            round=policy.round,
            seed=request.seed,
            prompt_hash=prompt_hash,
            sampling=params,
            code_version=CODE_VERSION,
        )
        answers.append(final_answer(completion.text, problem))
        yield Rationale.create(
            problem_id=problem.id,
            steps=split_steps(completion.text),
            made_by=provenance,
            origin=Origin.RATIONALIZED if draw.hinted else Origin.SAMPLED,
            finish_reason=completion.finish_reason,
            n_tokens=completion.n_tokens,
            answer=answers[-1].answer,
        )


def _verdicts(problems: Sequence[Problem], rows: Sequence[Rationale], answers: Sequence[Extraction]) -> list[Verdict]:
    return list(check_rationales(problems, rows, answers))


def _check_undecided(recipe: Recipe, label: str, undecided: int, n: int) -> None:
    share = undecided / max(1, n)
    if share > recipe.max_undecided_share:
        raise UserError(
            f"{label}: {share:.1%} of the answers could not be drawn or checked (limit "
            f"{recipe.max_undecided_share:.0%}).",
            "The lines above and the verdicts table say why; mend that, or raise `max_undecided_share`.",
        )


def evaluate(
    context: Context, policy: Policy, problems: Problems, arm: str, *, table: str = "evaluations"
) -> list[Evaluation]:
    """Greedy answers of a policy to held-out problems, verified.

    Args:
        context: run, recipe, template.
        policy: what answers.
        problems: in order; the shards follow it.
        arm: stored, and `base` for the base.
        table: `evaluations` for the test problems, `dev_evaluations` for those that the gate is judged by.
    """
    what = "evaluate" if table == "evaluations" else "gate"
    label = f"{arm} · {what} round {policy.round}" if policy.round else f"{what} base"
    params = context.recipe.sampling.params(temperature=0.0, top_p=1.0, top_k=0)
    facts = (policy.facts, context.template.hash(), CODE_VERSION, params.to_json())
    found: list[Evaluation] = []
    counts = Drawn(context.run, 1)

    def shards() -> Iterator[Shard]:
        for place, part in enumerate(batched(problems, context.recipe.shard_size)):
            unit, key = f"{arm}-r{policy.round}-{place:05d}", content_id("evaluate", *facts, *(row.id for row in part))
            yield Shard(unit, key, part, context.run.has_unit(table, unit, key))

    def requests(shard: Shard) -> list[Request]:
        # Greedy: the seed is never drawn from.
        return [
            Request(id=row.id, prompt=context.template.render(row), seed=0, sampling=params) for row in shard.problems
        ]

    with context.run.stage(label), track(label, len(problems)) as bar:
        for shard, completions in draw_shards(policy, shards(), requests):
            make = partial(_evaluations, policy, shard.problems, completions, arm)
            rows: list[Evaluation] = context.run.unit(table, shard.unit, shard.key, make)
            found += rows
            bar.advance(len(rows), counts.count([row.status for row in rows]))
    _check_undecided(context.recipe, label, counts.undecided, counts.n)
    return found


def _evaluations(
    policy: Policy, problems: Sequence[Problem], completions: Sequence[Completion], arm: str
) -> Iterator[Evaluation]:
    texts, reasons = [row.text for row in completions], [row.finish_reason for row in completions]
    for problem, completion, verdict in zip(problems, completions, check_texts(problems, texts, reasons), strict=True):
        yield Evaluation(
            problem_id=problem.id,
            arm=arm,
            round=policy.round,
            status=verdict.status,
            extracted=verdict.extracted,
            text=completion.text,
            finish_reason=completion.finish_reason,
            n_tokens=completion.n_tokens,
        )
