"""`stepstar validate`: what can be known before anything is spent.

Reads the problems, checks that gold answers pass their own verifier, looks at the model folder, and shows the first
rendered prompts, plain and hinted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from data.errors import UserError
from data.prompts import PromptTemplate
from data.records import Kind, Problem, Status
from pipelines.policy import base_policy
from pipelines.problems import read_source
from pipelines.recipe import Recipe, SourceConfig
from star.rationalize import hint_of
from verifiers import check_answers

_SHOWN = 5
"""How many offenders are printed."""


def _bad_golds(problems: Sequence[Problem]) -> list[tuple[Problem, str]]:
    """Problems whose gold answer does not match itself."""
    checked = [problem for problem in problems if problem.kind is not Kind.CODE]
    bad = []
    for kind, name in ((Kind.MATH, "answer"), (Kind.CHOICE, "choice")):
        group = [problem for problem in checked if problem.kind is kind]
        verdicts = check_answers([(problem.answer, problem.answer) for problem in group], kind=name)
        bad += [(problem, f"{verdict.status} ({verdict.detail})") for problem, verdict in zip(group, verdicts, strict=True)
                if verdict.status is not Status.CORRECT]  # fmt: skip
    return bad


def _look_at(config: SourceConfig, recipe: Recipe, what: str) -> list[Problem]:
    problems, rejects = read_source(config, recipe.seed)
    print(f"{what}: {len(problems)} problems from {config.source}, {len(rejects)} rows rejected "
          f"{dict(Counter(reject.reason for reject in rejects)) or ''}".rstrip())  # fmt: skip
    for reject in rejects[:_SHOWN]:
        print(f"  {reject.where}: {reject.reason} {reject.detail}".rstrip())
    bad = _bad_golds(problems)
    for problem, why in bad[:_SHOWN]:
        print(f"  gold answer {problem.answer!r} of problem {problem.id} does not pass its own check: {why}")
    if bad:
        raise UserError(f"{what}: {len(bad)} of {len(problems)} gold answers do not pass their own check.",
                        "Mend or drop those problems.")  # fmt: skip
    return problems


def validate_recipe(recipe: Recipe) -> None:
    """Check a recipe and print what was found.

    Raises:
        UserError: something would stop the run.
    """
    template = PromptTemplate(recipe.prompt)
    train = _look_at(recipe.problems, recipe, "training")
    _look_at(recipe.evaluation, recipe, "evaluation")
    base_policy(recipe.model.name, hub_revision=recipe.model.revision, engine=recipe.engine.type,
                batch_size=recipe.engine.batch_size)  # fmt: skip
    if not train:
        raise UserError("there is no training problem.", "See the rejected rows above.")
    print(f"--- first prompt (template {recipe.prompt}, {template.hash()})\n{template.render(train[0])}")
    if recipe.rationalization.enabled:
        print(f"--- hinted ({template.hash(hinted=True)})\n{template.render(train[0], hint=hint_of(train[0]))}")
    rounds = recipe.rounds * len(train)
    print(f"--- {rounds * recipe.sampling.n} samples in {recipe.rounds} rounds, at most {recipe.sampling.max_tokens} "
          "tokens each, before rationalization")  # fmt: skip
