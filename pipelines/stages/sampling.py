"""The stages of a STaR run, each a function from records to records through the run folder.

Work is cut into shards of problems; a shard is always computed as the same batch, from seeds derived from
(run seed, stage, round, problem id, sample index), so a resumed run gives the bytes of an uninterrupted one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

from data.batching import batched
from data.errors import UserError
from data.ids import content_id, derive_seed
from data.prompts import PromptTemplate
from data.records import Origin, Problem, Provenance, Rationale, Status, Verdict
from data.run_records import Evaluation
from data.steps import split_steps
from pipelines.progress import Tracker, say, track
from pipelines.recipe import Recipe
from pipelines.run_dir import RunFolder
from pipelines.stages.policy import Policy
from pipelines.stages.verification import check_rationales, check_texts, final_answer
from star.generation import Completion, Request, SamplingParams
from star.rationalize import hint_of

CODE_VERSION = version("stepstar")


@dataclass(frozen=True, slots=True)
class Context:
    """What every stage needs."""

    run: RunFolder
    recipe: Recipe
    template: PromptTemplate


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


def _to_rationale(
    context: Context, policy: Policy, draw: Draw, problem: Problem, request: Request, completion: Completion
) -> Rationale:
    provenance = Provenance(
        model=policy.name,
        revision=policy.revision,
        engine=policy.engine,
        round=policy.round,
        seed=request.seed,
        prompt_hash=context.template.hash(hinted=draw.hinted),
        sampling=draw.params.to_json(),
        code_version=CODE_VERSION,
    )
    return Rationale.create(
        problem_id=problem.id,
        steps=split_steps(completion.text),
        made_by=provenance,
        origin=Origin.RATIONALIZED if draw.hinted else Origin.SAMPLED,
        finish_reason=completion.finish_reason,
        n_tokens=completion.n_tokens,
        answer=final_answer(completion.text, problem),
    )


def _generate(context: Context, policy: Policy, draw: Draw, shard: Sequence[Problem]) -> Iterator[Rationale]:
    requests = list(draw.requests(context, shard))
    owners = [problem for problem in shard for _ in range(draw.n)]
    completions = complete(policy, requests)
    for problem, request, completion in zip(owners, requests, completions, strict=True):
        yield _to_rationale(context, policy, draw, problem, request, completion)


def complete(policy: Policy, requests: Sequence[Request]) -> list[Completion]:
    """All completions of a shard; the first error among them is told."""
    completions = list(policy.generator.generate(requests))
    failed = [completion.error for completion in completions if completion.error]
    if failed:
        say(f"{len(failed)} of {len(completions)} samples failed; the first: {failed[0]}")
    return completions


def sample(
    context: Context, policy: Policy, draw: Draw, problems: Sequence[Problem], verdicts: dict[str, Verdict]
) -> list[Rationale]:
    """Draw and verify `draw.n` rationales of each problem, shard by shard.

    Args:
        context: run, recipe, template.
        policy: what draws.
        draw: how.
        problems: in order; the shards follow it.
        verdicts: filled with the verdict of each rationale, by its id.

    Raises:
        UserError: too many checks could not be decided.
    """
    run, found = context.run, list[Rationale]()
    with run.stage(draw.label), track(draw.label, len(problems) * draw.n) as bar:
        for place, shard in enumerate(batched(problems, context.recipe.shard_size)):
            unit = f"{draw.unit}-{place:05d}"
            key = content_id(
                "sample",
                policy.revision,
                context.template.hash(hinted=draw.hinted),
                CODE_VERSION,
                draw.params.to_json(),
                f"{draw.round} {draw.purpose} {draw.place} {draw.n}",
                *(problem.id for problem in shard),
            )
            rows = run.unit("rationales", unit, key, partial(_generate, context, policy, draw, shard))
            checked = run.unit("verdicts", unit, key, partial(check_rationales, shard, rows))
            verdicts.update((verdict.rationale_id, verdict) for verdict in checked)
            found += rows
            _advance(bar, len(rows), [verdicts[row.id].status for row in found])
    _check_undecided(context.recipe, draw.label, [verdicts[row.id].status for row in found])
    return found


def _advance(bar: Tracker, amount: int, statuses: Sequence[Status]) -> None:
    right = sum(status is Status.CORRECT for status in statuses)
    bar.advance(amount, f"accepted {right / max(1, len(statuses)):.0%}")


def _check_undecided(recipe: Recipe, label: str, statuses: Sequence[Status]) -> None:
    share = statuses.count(Status.UNDECIDED) / max(1, len(statuses))
    if share > recipe.max_undecided_share:
        raise UserError(
            f"{label}: {share:.1%} of the answers could not be drawn or checked (limit "
            f"{recipe.max_undecided_share:.0%}).",
            "The lines above and the verdicts table say why; mend that, or raise `max_undecided_share`.",
        )


def evaluate(
    context: Context, policy: Policy, problems: Sequence[Problem], arm: str, *, table: str = "evaluations"
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
    found: list[Evaluation] = []
    with context.run.stage(label), track(label, len(problems)) as bar:
        for place, shard in enumerate(batched(problems, context.recipe.shard_size)):
            unit = f"{arm}-r{policy.round}-{place:05d}"
            key = content_id(
                "evaluate",
                policy.revision,
                context.template.hash(),
                CODE_VERSION,
                params.to_json(),
                *(problem.id for problem in shard),
            )
            rows = context.run.unit(table, unit, key, partial(_evaluate_shard, context, policy, params, shard, arm))
            found += rows
            _advance(bar, len(rows), [row.status for row in found])
    _check_undecided(context.recipe, label, [row.status for row in found])
    return found


def _evaluate_shard(
    context: Context, policy: Policy, params: SamplingParams, shard: Sequence[Problem], arm: str
) -> Iterator[Evaluation]:
    # Greedy: the seed is never drawn from.
    requests = [Request(id=row.id, prompt=context.template.render(row), seed=0, sampling=params) for row in shard]
    completions = complete(policy, requests)
    texts, reasons = [row.text for row in completions], [row.finish_reason for row in completions]
    for problem, completion, verdict in zip(shard, completions, check_texts(shard, texts, reasons), strict=True):
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


def statuses_by_problem(rationales: Sequence[Rationale], verdicts: dict[str, Verdict]) -> dict[str, list[Status]]:
    """Problem id to the verdicts of its rationales."""
    found: dict[str, list[Status]] = defaultdict(list)
    for row in rationales:
        found[row.problem_id].append(verdicts[row.id].status)
    return found
