"""`stepstar eval`: a model's answers to benchmarks, drawn, checked and stored shard by shard, and what they come to.

    problems ── greedy answers ── samples ── step scores ── twins ── wrong hints ── result.json, eval.html

Nothing is kept in memory that is not also on disk: every figure is computed from the folder's records alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data.batching import batched
from data.ids import content_id
from data.prompts import PromptTemplate
from data.records import Problem, Rationale, StepScores
from data.sources.reading import find_files
from data.store import sha256_of
from pipelines.evaluation.folder import EvalFolder
from pipelines.evaluation.premises import premise_twin
from pipelines.evaluation.settings import BenchmarkConfig, EvalConfig
from pipelines.evaluation.twins import suggested, twin
from pipelines.machine import computing_pins
from pipelines.progress import say
from pipelines.stages.policy import Policy, base_policy
from pipelines.stages.problems import check_reading, read_source
from pipelines.stages.sampling import CODE_VERSION, Context, Draw, sample
from pipelines.validate import check_inputs
from prm.scoring import check_scorer
from prm.scoring.base import ScoreItem, Scorer

SAMPLES = "samples"
"""The drawn samples of a benchmark; the other parts are greedy."""
GREEDY, TWIN, PREMISE, HINT = "greedy", "twin", "premise", "hint"
TWINS = {TWIN: twin, PREMISE: premise_twin}
"""Part to how its problems are made of the benchmark's."""


def unit_prefix(benchmark: str, part: str) -> str:
    """What the names of the units of one part of a benchmark begin with."""
    return f"{benchmark}-{part}-r0-sample-"


def problems_unit(benchmark: str) -> str:
    """Name of the unit that holds the problems of a benchmark."""
    return f"{benchmark}-problems"


def cost_name(benchmark: str, part: str) -> str:
    """What the manifest calls the cost of one part of a benchmark."""
    return f"{benchmark}-{part} · round 0 · sample"


@dataclass(frozen=True, slots=True)
class _Part:
    """One set of problems answered in one way."""

    name: str
    problems: Sequence[Problem]
    n: int = 1
    """Answers to each."""


def evaluate_model(config: EvalConfig, root: Path, *, fresh: bool = False) -> EvalFolder:
    """Answer the benchmarks to the end, or from where it was stopped.

    Args:
        config: what to do.
        root: the folder; made if need be.
        fresh: delete what is there first, unless benchmarks, template or model are not to be had.

    Raises:
        UserError: bad input, a folder that cannot be used, too many answers that could not be drawn or checked.
        EngineError: the engine failed.
    """
    if fresh:
        sources = [config.recipe(one, "").evaluation for one in config.benchmarks]
        check_inputs(sources, config.benchmarks[0].prompt, config.model, config.engine)
    folder = EvalFolder.begin(root, config, fresh=fresh)
    try:
        for name in folder.set_aside:
            say(f"set aside {name}: no manifest entry names it")
        if config.scorer:
            check_scorer(config.scorer)  # Before the samples are drawn, not after.
        folder.pin(**_environment(folder, config))
        if config.engine.type == "http" and (failed := folder.forget_failed()):
            say(f"{failed} shards hold samples that the server failed on; they are drawn again")
        policy = _policy(folder, config)
        folder.pin(model=policy.revision)
        folder.note("model", policy.name)
        try:
            for benchmark in config.benchmarks:
                _answer(folder, config, benchmark, policy)
        finally:
            policy.release()
        if config.scorer and config.samples:
            _score(folder, config)
        folder.drop_stale()
    finally:
        folder.close()
    return folder


def _environment(folder: EvalFolder, config: EvalConfig) -> dict[str, Any]:
    """What the answers depend on besides the config; for a model in this process also threads, device and versions."""
    if config.engine.type in ("http", "scripted"):
        return {"stepstar": CODE_VERSION}
    return computing_pins(config.engine.type, folder.manifest["pins"].get("threads") or config.threads)


def _policy(folder: EvalFolder, config: EvalConfig) -> Policy:
    """The model; one that runs in this process is loaded when something is left to answer."""
    engine, model = config.engine, config.model
    if engine.type in ("transformers", "vllm"):
        return base_policy(
            model.name,
            hub_revision=folder.manifest["pins"].get("model") or model.revision,
            engine=engine.type,
            batch_size=engine.batch_size,
            options=engine.options,
        )
    from star import load_generator

    generator = load_generator(
        model.name, engine=engine.type, revision=model.revision, batch_size=engine.batch_size, **engine.options
    )
    # Without the path of the script, as of a folder: where it lies is nobody's business who reads the result.
    shown = Path(model.name).name if engine.type == "scripted" else model.name
    policy = Policy(shown, model.name, generator.revision, 0, engine.type, engine.batch_size, model.revision,
                    dict(engine.options))  # fmt: skip
    policy.use(generator)
    return policy


def _problems(folder: EvalFolder, config: EvalConfig, benchmark: BenchmarkConfig) -> list[Problem]:
    """The problems of a benchmark, read once; a file that changed since is refused."""
    files = find_files(benchmark.path) if benchmark.path else []
    key = content_id("problems", benchmark.model_dump_json(), str(config.seed), *(sha256_of(file) for file in files))
    folder.pin(**{f"problems of {benchmark.name}": key})

    def read() -> list[Problem]:
        recipe = config.recipe(benchmark, "")
        reading = read_source(recipe.evaluation, config.seed)
        check_reading(reading, recipe)
        if reading.rejects:
            first, n = reading.rejects[0], reading.rejected.total()
            say(f"{benchmark.name}: {n} of {reading.n_rows} rows set aside, the first {first.where}: {first.reason}")
        return reading.problems

    return folder.unit("problems", problems_unit(benchmark.name), key, read)


def _answer(folder: EvalFolder, config: EvalConfig, benchmark: BenchmarkConfig, policy: Policy) -> None:
    """Everything that one benchmark asks of the model."""
    problems = _problems(folder, config, benchmark)
    template = PromptTemplate(benchmark.template_name(problems))
    folder.pin(**{f"prompt of {benchmark.name}": template.hash()})
    folder.note(f"prompt of {benchmark.name}", {"name": template.name, "hash": template.hash()})
    context = Context(folder, config.recipe(benchmark, template.name), template)
    for part in _parts(config, problems):
        if part.problems:
            if part.problems is not problems:
                _store_variants(folder, benchmark.name, part)
            _draw(context, policy, benchmark.name, part)
        else:
            say(f"{benchmark.name}: no problem has a {part.name} variant")


def _store_variants(folder: EvalFolder, benchmark: str, part: _Part) -> None:
    """Keep the problems of a variant too: who grades or shows its answers later needs what was asked."""
    key = content_id("problems", *(problem.id for problem in part.problems))
    folder.unit("problems", f"{benchmark}-{part.name}-problems", key, lambda: part.problems)


def _parts(config: EvalConfig, problems: Sequence[Problem]) -> list[_Part]:
    """The problems, their variants where they are asked for, and the samples; a part may have no problems."""
    parts = [_Part(GREEDY, problems)]
    if config.twins:
        for name, change in TWINS.items():
            parts.append(_Part(name, [found for row in problems if (found := change(row, config.seed))]))
    if config.wrong_hint:
        parts.append(_Part(HINT, [other[1] for row in problems if (other := suggested(row, config.seed))]))
    if config.samples:
        parts.append(_Part(SAMPLES, problems, config.samples))
    return parts


def _draw(context: Context, policy: Policy, benchmark: str, part: _Part) -> None:
    sampling = context.recipe.sampling
    changes = {} if part.name == SAMPLES else {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    draw = Draw(f"{benchmark}-{part.name}", 0, "sample", part.n, sampling.params(**changes))
    sample(context, policy, draw, part.problems, len(part.problems))


def _score(folder: EvalFolder, config: EvalConfig) -> None:
    """Step scores of all samples."""
    from prm import load_scorer

    scorer = load_scorer(config.scorer)
    folder.pin(scorer=scorer.revision)
    folder.note("reading", scorer.reading.model_dump(mode="json"))
    with folder.stage("scores"):
        for benchmark in (one.name for one in config.benchmarks):
            problems = {problem.id: problem for problem in folder.table("problems", problems_unit(benchmark))}
            rows = folder.table("rationales", unit_prefix(benchmark, SAMPLES))
            for place, shard in enumerate(batched(list(rows), config.shard_size * config.samples)):
                key = content_id("score", scorer.revision, CODE_VERSION, *(row.id for row in shard))
                compute = partial(_scores, scorer, problems, shard)
                folder.unit("step_scores", f"{benchmark}-{place:05d}", key, compute)
    scorer.close()


def _scores(scorer: Scorer, problems: dict[str, Problem], rows: Sequence[Rationale]) -> list[StepScores]:
    items = [ScoreItem(problems[row.problem_id].prompt, row.steps, row.id) for row in rows]
    return [found for found in scorer.score_batch(items) if found.scores]
