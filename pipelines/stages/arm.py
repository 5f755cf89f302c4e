"""The STaR rounds of one arm: sample, verify, rationalize, measure leaks, select, train from the base, judge, go on.

Every problem has one fate a round. The next round samples from the last model that the gate let through; the rounds
end early where a plateau is asked for. STaR, section 3; gate and replay are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from data.ids import content_id, derive_seed
from data.records import Problem, Rationale, Status, Verdict
from data.run_records import Selection
from pipelines.progress import say
from pipelines.stages.leakage import measure_leaks, show_wrong_hints
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, evaluate, sample, statuses_by_problem
from pipelines.stages.training import Training
from star.balance import Setting, balance_scores, best_setting
from star.leaks import quarantine
from star.promotion import decide_promotion, has_plateaued
from star.rationalize import failed_problems, hint_of, is_drawn
from star.selection import copies, diversity, pass_rates, replayed, select

STAR = "star"
WITHOUT = "no_rationalization"


@dataclass(slots=True)
class Round:
    """What one round drew and decided."""

    number: int
    rationales: list[Rationale] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    kept: list[Rationale] = field(default_factory=list)
    n: int = 0
    """Samples of each problem."""


@dataclass(slots=True)
class Arm:
    """All rounds from one base, with or without rationalization."""

    context: Context
    base: Policy
    name: str
    rationalizes: bool
    train: Sequence[Problem]
    dev: Sequence[Problem]
    """Training problems that are kept apart for the gate; may be empty."""
    test: Sequence[Problem]
    learn: Callable[[Training], Policy] = Training.run
    """From a round's training set to the next policy."""
    earlier: list[Rationale] = field(default_factory=list)
    """What the rounds so far kept, for replay."""

    def run(self) -> Policy:
        """Run the rounds; returns the last promoted policy."""
        recipe, policy, marks = self.context.recipe, self.base, self._dev_marks(self.base)
        accuracies = [_share(marks)]
        for number in range(1, recipe.rounds + 1):
            current = self._collect(policy, Round(number))
            policy.release()
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
        reports = measure_leaks(self.context, policy, self.name, current.number, self._problems, current.rationales,
                                current.verdicts)  # fmt: skip
        selections = self._select(current, set(quarantine(reports, current.rationales)))
        kept = {selection.rationale_id for selection in selections if selection.kept}
        current.kept = sorted((row for row in current.rationales if row.id in kept), key=lambda row: row.id)
        self._tell_diversity(current)
        return current

    @property
    def _problems(self) -> dict[str, Problem]:
        return {problem.id: problem for problem in self.train}

    def _sample(self, policy: Policy, current: Round) -> None:
        sampling = self.context.recipe.sampling
        setting = self._balanced(policy, current.number) or Setting(sampling.temperature, sampling.n)
        current.n = setting.n
        params = sampling.params(temperature=setting.temperature)
        draw = Draw(self._owner(current.number), current.number, "sample", setting.n, params)
        current.rationales += sample(self.context, policy, draw, self.train, current.verdicts)

    def _owner(self, number: int) -> str:
        """Whose samples a round's are: those of the base are the same in every arm, drawn once and stored once."""
        return STAR if number == 1 else self.name

    def _balanced(self, policy: Policy, number: int) -> Setting | None:
        """The setting of the best balance score on a few problems, if there are candidates."""
        recipe, verdicts = self.context.recipe, dict[str, Verdict]()
        config = recipe.balance.model_copy(update={"n": recipe.balance.n or [recipe.sampling.n]})
        if not config.temperatures:
            return None
        order = sorted(self.train, key=lambda problem: derive_seed("balance", recipe.seed, number, problem.id))
        pilot, samples = order[: config.problems], dict[float, list[list[Rationale]]]()
        for place, temperature in enumerate(config.temperatures):
            params = recipe.sampling.params(temperature=temperature)
            draw = Draw(self._owner(number), number, "pilot", max(config.n), params, place)
            rows = sample(self.context, policy, draw, pilot, verdicts)
            samples[temperature] = [rows[start : start + draw.n] for start in range(0, len(rows), draw.n)]
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
        recipe, config = self.context.recipe, self.context.recipe.rationalization
        failed = [
            problem
            for problem in failed_problems(self.train, statuses_by_problem(current.rationales, current.verdicts))
            if hint_of(problem) and is_drawn(problem, config, recipe.seed, current.number)
        ]
        params = recipe.sampling.params(temperature=config.temperature)
        draw = Draw(self.name, current.number, "rationalize", config.n, params)
        current.rationales += sample(self.context, policy, draw, failed, current.verdicts)
        show_wrong_hints(self.context, policy, draw, failed)

    def _select(self, current: Round, quarantined: set[str]) -> list[Selection]:
        recipe, rows, verdicts = self.context.recipe, current.rationales, current.verdicts
        key = content_id(
            "select",
            self.name,
            str(current.number),
            recipe.selection.model_dump_json(),
            CODE_VERSION,
            *(f"{row.id}:{verdicts[row.id].status}:{row.id in quarantined}" for row in rows),
        )
        choose = partial(select, rows, verdicts, self._problems, recipe.selection, arm=self.name, round_=current.number,
                         seed=recipe.seed, quarantined=quarantined)  # fmt: skip
        return self.context.run.unit("selections", f"{self.name}-r{current.number}", key, choose)

    def _tell_diversity(self, current: Round) -> None:
        config = self.context.recipe.selection
        found = diversity(current.rationales, current.verdicts, current.n)
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
        rates, problems = pass_rates(current.rationales, current.verdicts), self._problems
        examples = [
            (problems[row.problem_id], row)
            for row in rows
            for _ in range(copies(rates, row.problem_id, recipe.selection))
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
