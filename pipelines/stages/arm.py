"""The STaR rounds of one arm: sample, verify, rationalize, measure leaks, select, train from the base, judge, go on.

Every problem has one fate a round. The next round samples from the last model that the gate let through; the rounds
end early where a plateau is asked for. STaR, section 3; gate and replay are this project's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from data.batching import batched
from data.ids import content_id, derive_seed
from data.records import Problem, Rationale, Status, Verdict
from data.run_records import Selection
from pipelines.curation.lineage import read_quarantine
from pipelines.progress import say
from pipelines.stages.groups import Group, by_problem
from pipelines.stages.leakage import measure_leaks, show_wrong_hints, wrong_hint_problems
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, Drawn, Problems, evaluate, sample
from pipelines.stages.training import Training
from star.balance import Setting, balance_scores, best_setting
from star.promotion import decide_promotion, has_plateaued
from star.rationalize import hint_of, is_drawn
from star.selection import Diversity, copies, diversity, pass_rates, replayed, select

STAR = "star"
WITHOUT = "no_rationalization"
_SHARD = 1000
"""Problems whose rationales are selected as one unit."""


@dataclass(slots=True)
class Round:
    """What one round drew and decided."""

    number: int
    draws: list[Drawn] = field(default_factory=list)
    """Plain samples, then rationalizations."""
    kept: list[Rationale] = field(default_factory=list)
    """In the order of their ids; where nothing is trained, nothing is held."""
    rates: dict[str, float] = field(default_factory=dict)
    """Pass rates of the problems of what was kept, by id."""
    n: int = 0
    """Samples of each problem."""


@dataclass(slots=True)
class Arm:
    """All rounds from one base, with or without rationalization."""

    context: Context
    base: Policy
    name: str
    rationalizes: bool
    train: Problems
    dev: Sequence[Problem]
    """Training problems that are kept apart for the gate; may be empty."""
    test: Problems
    learn: Callable[[Training], Policy] = Training.run
    """From a round's training set to the next policy."""
    earlier: list[Rationale] = field(default_factory=list)
    """What the rounds so far kept, for replay."""
    seen: dict[str, Problem] = field(default_factory=dict)
    """Problems of what any round kept, by id."""

    def run(self) -> Policy:
        """Run the rounds; returns the last promoted policy."""
        recipe, policy, marks = self.context.recipe, self.base, self._dev_marks(self.base)
        accuracies = [_share(marks)]
        for number in range(1, recipe.rounds + 1):
            current = self._collect(policy, Round(number))
            policy.release()
            if not recipe.sft.enabled:
                break
            candidate = self._train(current)
            evaluate(self.context, candidate, self.test, self.name)
            new_marks = self._dev_marks(candidate)
            accuracies.append(_share(new_marks))
            if self._is_promoted(policy, marks, candidate, new_marks):
                policy, marks = candidate, new_marks
            else:
                candidate.release()
            if self.dev and has_plateaued(accuracies, recipe.promotion):
                say(f"{self.name}: no gain in {recipe.promotion.patience} rounds; it ends with round {number}")
                break
        policy.release()
        return policy

    def _collect(self, policy: Policy, current: Round) -> Round:
        """Everything between the policy and its training set."""
        self._sample(policy, current)
        if self.rationalizes:
            self._rationalize(policy, current)
        run, prefix = self.context.run, f"{self.name}-r{current.number}-"
        with run.stage(f"{self.name} · round {current.number} · leak tests and selection"):
            self._tell_diversity(current, diversity(self._selected(policy, current), current.n))
        run.drop_stale("leak_reports", "selections", prefix=prefix)
        current.kept.sort(key=lambda row: row.id)
        return current

    def _sample(self, policy: Policy, current: Round) -> None:
        sampling = self.context.recipe.sampling
        setting = self._balanced(policy, current.number) or Setting(sampling.temperature, sampling.n)
        current.n = setting.n
        params = sampling.params(temperature=setting.temperature)
        draw = Draw(self._owner(current.number), current.number, "sample", setting.n, params)
        current.draws.append(sample(self.context, policy, draw, self.train, len(self.train)))

    def _owner(self, number: int) -> str:
        """Whose samples a round's are: those of the base are the same in every arm, drawn once and stored once."""
        return STAR if number == 1 else self.name

    def _balanced(self, policy: Policy, number: int) -> Setting | None:
        """The setting of the best balance score on a few problems, if there are candidates."""
        recipe = self.context.recipe
        config = recipe.balance.model_copy(update={"n": recipe.balance.n or [recipe.sampling.n]})
        if not config.temperatures:
            return None
        pilot = heapq.nsmallest(
            config.problems, self.train, key=lambda problem: derive_seed("balance", recipe.seed, number, problem.id)
        )
        samples, verdicts = dict[float, list[list[Rationale]]](), dict[str, Verdict]()
        for place, temperature in enumerate(config.temperatures):
            params = recipe.sampling.params(temperature=temperature)
            draw = Draw(self._owner(number), number, "pilot", max(config.n), params, place)
            rows = list(sample(self.context, policy, draw, pilot, len(pilot)))
            verdicts |= {row.id: verdict for row, verdict in rows}
            samples[temperature] = list(batched([row for row, _ in rows], draw.n))
        scores = balance_scores(samples, verdicts, config)
        best = best_setting(scores)
        self.context.run.note(f"balance {self.name} {number}", [
            {"temperature": setting.temperature, "n": setting.n, "score": round(score, 4), "chosen": setting == best}
            for setting, score in scores.items()
        ])  # fmt: skip
        say(f"{self.name} · round {number}: {best.n} samples at temperature {best.temperature} (balance score "
            f"{scores[best]:.3f})")  # fmt: skip
        return best

    def _rationalize(self, policy: Policy, current: Round) -> None:
        config = self.context.recipe.rationalization
        params = self.context.recipe.sampling.params(temperature=config.temperature)
        draw = Draw(self.name, current.number, "rationalize", config.n, params)
        (samples,) = current.draws
        shown = wrong_hint_problems(self.context.recipe, draw)
        failed = shown.watch(self._failed(current.number, samples))
        current.draws.append(sample(self.context, policy, draw, failed, sum(samples.failures)))
        show_wrong_hints(self.context, policy, draw, shown.found())

    def _failed(self, number: int, samples: Drawn) -> Iterator[Problem]:
        """The problems to be rationalized."""
        recipe = self.context.recipe
        for problem, has_failed in zip(self.train, samples.failures, strict=True):
            if has_failed and hint_of(problem) and is_drawn(problem, recipe.rationalization, recipe.seed, number):
                yield problem

    def _selected(self, policy: Policy, current: Round) -> Iterator[tuple[list[Rationale], Mapping[str, Verdict]]]:
        """Test for leaks, select, hold what is trained on; gives rationales and verdicts of each shard of problems."""
        bad = read_quarantine(self.context.run)
        for place, groups in enumerate(batched(by_problem(self.train, *current.draws), _SHARD)):
            rows = [row for group in groups for row in group.rationales]
            leaking = measure_leaks(self.context, policy, self.name, current.number, place, groups)
            banned = leaking | {row.id for row in rows if bad.covers(row)}
            chosen = self._selections(current.number, place, groups, rows, banned)
            if self.context.recipe.sft.enabled:
                self._keep(current, groups, {row.rationale_id for row in chosen if row.kept})
            yield rows, {key: verdict for group in groups for key, verdict in group.verdicts.items()}

    def _selections(
        self, number: int, place: int, groups: Sequence[Group], rows: Sequence[Rationale], banned: set[str]
    ) -> list[Selection]:
        recipe, verdicts = self.context.recipe, {key: row for group in groups for key, row in group.verdicts.items()}
        key = content_id(
            "select",
            self.name,
            f"{number} {recipe.seed}",
            recipe.selection.model_dump_json(),
            CODE_VERSION,
            *(f"{row.id}:{verdicts[row.id].status}:{row.id in banned}" for row in rows),
        )
        problems = {group.problem.id: group.problem for group in groups}
        choose = partial(select, rows, verdicts, problems, recipe.selection, arm=self.name, round_=number,
                         seed=recipe.seed, quarantined=banned)  # fmt: skip
        return self.context.run.unit("selections", f"{self.name}-r{number}-{place:05d}", key, choose)

    def _keep(self, current: Round, groups: Sequence[Group], kept: set[str]) -> None:
        """Hold what is trained on."""
        for group in groups:
            rows = [row for row in group.rationales if row.id in kept]
            if rows:
                current.kept += rows
                self.seen[group.problem.id] = group.problem
            if group.problem.id in self.seen:  # Rows of earlier rounds may be replayed.
                current.rates |= pass_rates(group.rationales, group.verdicts)

    def _tell_diversity(self, current: Round, found: Diversity) -> None:
        config = self.context.recipe.selection
        facts = {"arm": self.name, "round": current.number, **asdict(found)}
        self.context.run.note(f"diversity {self.name} {current.number}", facts)
        if found.is_low(config):
            say(f"{self.name} · round {current.number}: {found.equation_lists:.2f} distinct equation lists a solved "
                f"problem (floor {config.min_equation_lists}): the policy repeats itself")  # fmt: skip

    def _train(self, current: Round) -> Policy:
        """Fine-tune from the base on what was kept, earlier rationales and copies among it, if they are asked for."""
        recipe, number = self.context.recipe, current.number
        old = replayed(current.kept, self.earlier, recipe.selection, round_=number, seed=recipe.seed)
        rows = [*current.kept, *old]
        self.earlier += current.kept
        if not rows:
            say(f"{self.name} · round {number}: nothing was kept, so the base stays")
            return replace(self.base, round=number)
        examples = [
            (self.seen[row.problem_id], row)
            for row in rows
            for _ in range(copies(current.rates, row.problem_id, recipe.selection))
        ]
        return self.learn(Training(self.context, self.base, self.name, number, examples))

    def _dev_marks(self, policy: Policy) -> dict[str, bool]:
        """Problem id to whether the policy solves it, for the dev problems that were decided."""
        if not self.dev:
            return {}
        arm = self.name if policy.round else "base"
        rows = evaluate(self.context, policy, self.dev, arm, table="dev_evaluations")
        return {row.problem_id: row.status is Status.CORRECT for row in rows if row.status is not Status.UNDECIDED}

    def _is_promoted(
        self, before: Policy, marks: dict[str, bool], candidate: Policy, new_marks: dict[str, bool]
    ) -> bool:
        """The gate's decision, stored; without decided dev problems every candidate passes."""
        config, number = self.context.recipe.promotion, candidate.round
        # What could not be decided for one of the two says nothing about which is better.
        pairs = [(marks[key], new_marks[key]) for key in marks if key in new_marks]
        if not pairs:
            return True
        key = content_id("promotion", before.revision, candidate.revision, CODE_VERSION, config.model_dump_json(),
                         *map(str, pairs))  # fmt: skip
        (found,) = self.context.run.unit("promotions", f"{self.name}-r{number}", key, lambda: [
            decide_promotion([pair[0] for pair in pairs], [pair[1] for pair in pairs], config, arm=self.name,
                             round_=number)
        ])  # fmt: skip
        if not found.promoted:
            say(f"{self.name} · round {number}: not promoted ({found.gained} dev problems gained, {found.lost} lost); "
                f"the next round samples from {before.name}")  # fmt: skip
        return bool(found.promoted)


def _share(marks: dict[str, bool]) -> float:
    return sum(marks.values()) / len(marks) if marks else 0.0
