"""What an evaluation came to, computed from the records of its folder alone, so that it can be computed again.

`result.json` holds nothing that differs between two evaluations of the same model but the measured times under `cost`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.records import Kind, Problem, Rationale, Status, StepScores, Verdict
from pipelines.evaluation.folder import EvalFolder
from pipelines.evaluation.metrics import Answer, Figure, as_figure, figure, marks, outcomes, sample_figures
from pipelines.evaluation.settings import BenchmarkConfig, EvalConfig
from pipelines.evaluation.stage import GREEDY, HINT, SAMPLES, TWINS, cost_name, problems_unit, unit_prefix
from pipelines.evaluation.twins import suggested
from prm.aggregate import Reading
from verifiers import check_answers
from verifiers.metrics import paired_interval

PUBLISHED = {
    "gsm8k": "8 worked examples, greedy (Wei et al. 2022); instruction-tuned models mostly none",
    "math": "4 worked examples, greedy (Minerva); 500 test problems since Let's Verify",
    "math500": "no examples, greedy",
    "svamp": "8 worked examples, greedy (Wei et al. 2022)",
    "asdiv": "8 worked examples, greedy (Wei et al. 2022)",
    "aqua": "4 worked examples, greedy (Wei et al. 2022)",
    "commonsenseqa": "7 worked examples, greedy, dev split (Wei et al. 2022; STaR too)",
    "strategyqa": "6 worked examples, greedy (Wei et al. 2022)",
    "mbpp": "3 worked examples with their tests in the prompt, ids 11 to 510 (Austin et al. 2021)",
    "humaneval": "no examples, completion of the function; temperature 0.2 for pass@1, 0.8 for pass@100 (Chen et al.)",
}
"""The setting under which most published figures of a benchmark were measured."""


@dataclass(slots=True)
class BenchmarkResult:
    """What the model did on one benchmark. Shares are in [0, 1]."""

    name: str
    problems: int
    prompt: str
    """Name of the prompt template."""
    prompt_hash: str
    published: str
    """The setting of published figures, which ours may differ from; empty where there is none to name."""
    figures: dict[str, Figure] = field(default_factory=dict)
    """`greedy`, `pass@k`, `maj@k`, `prm@k`, `prm_weighted@k`; where asked for `twin_original`, `twin`, `twin_gap`, the
    same with `premise`, and `hint_flipped`, `hint_adopted`."""
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    """`greedy` and `samples` to answers by outcome."""
    tokens: dict[str, float] = field(default_factory=dict)
    """`greedy` and `samples` to tokens a problem."""
    seconds: dict[str, float] = field(default_factory=dict)
    """The same in seconds, as measured."""


@dataclass(slots=True)
class EvalResult:
    """What a model did."""

    model: str
    revision: str
    engine: str
    setting: dict[str, Any]
    """Sampling, seed, threads, versions, scorer."""
    benchmarks: list[BenchmarkResult]
    missing: list[str]
    """Benchmarks that have not been answered to the end yet."""


def read_result(folder: EvalFolder) -> EvalResult:
    """The result as far as the folder has it."""
    config, pins = folder.config, dict(folder.manifest["pins"])
    found = [_benchmark(folder, config, benchmark) for benchmark in config.benchmarks]
    setting = {
        "samples": config.samples,
        **config.sampling.model_dump(mode="json", exclude={"n"}),
        "seed": config.seed,
        "scorer": config.scorer,
        **{name: value for name, value in pins.items() if " of " not in name and name != "model"},
    }
    return EvalResult(
        model=folder.manifest["notes"].get("model", config.model.name),
        revision=pins.get("model", ""),
        engine=config.engine.type,
        setting=setting,
        benchmarks=[row for row in found if row],
        missing=[one.name for one, row in zip(config.benchmarks, found, strict=True) if row is None],
    )


def read_answers(folder: EvalFolder, benchmark: str, part: str) -> dict[str, list[Answer]]:
    """Problem id to the checked answers of one part of a benchmark."""
    prefix = unit_prefix(benchmark, part)
    verdicts: dict[str, Verdict] = {row.rationale_id: row for row in folder.table("verdicts", prefix)}
    scores: dict[str, StepScores] = {}
    if part == SAMPLES:
        scores = {row.rationale_id: row for row in folder.table("step_scores", f"{benchmark}-")}
    found: dict[str, list[Answer]] = defaultdict(list)
    row: Rationale
    for row in folder.table("rationales", prefix):
        # A shard whose verdicts a kill has cost is not answered yet.
        if row.id in verdicts:
            found[row.problem_id].append(_joined(row, verdicts[row.id], scores.get(row.id)))
    return dict(found)


def _joined(row: Rationale, verdict: Verdict, scores: StepScores | None) -> Answer:
    return Answer(
        status=verdict.status,
        extracted=verdict.extracted,
        finish_reason=row.finish_reason,
        n_tokens=row.n_tokens,
        scores=scores.scores if scores else (),
    )


def read_problems_of(folder: EvalFolder, benchmark: str) -> list[Problem]:
    """The problems of a benchmark, in order; none if they were not read yet."""
    return list(folder.table("problems", problems_unit(benchmark)))


def _benchmark(folder: EvalFolder, config: EvalConfig, benchmark: BenchmarkConfig) -> BenchmarkResult | None:
    problems = read_problems_of(folder, benchmark.name)
    greedy = read_answers(folder, benchmark.name, GREEDY)
    samples = read_answers(folder, benchmark.name, SAMPLES)
    n_drawn = sum(map(len, samples.values()))
    if not problems or len(greedy) < len(problems) or n_drawn < config.samples * len(problems):
        return None
    prompt = folder.manifest["notes"][f"prompt of {benchmark.name}"]
    found = BenchmarkResult(benchmark.name, len(problems), prompt["name"], prompt["hash"],
                            PUBLISHED.get(benchmark.source, ""))  # fmt: skip
    right = marks((key, rows[0]) for key, rows in greedy.items())
    found.figures["greedy"] = figure(list(right.values()))
    _add_part(found, folder, GREEDY, [rows[0] for rows in greedy.values()])
    if samples:
        notes = folder.manifest["notes"]
        reading = Reading.model_validate(notes["reading"]) if config.scorer and "reading" in notes else None
        votes = all(problem.kind is not Kind.CODE for problem in problems)
        found.figures |= sample_figures(list(samples.values()), votes=votes, reading=reading)
        _add_part(found, folder, SAMPLES, [row for rows in samples.values() for row in rows])
    if config.twins:
        for part in TWINS:
            found.figures |= _twin_figures(folder, config, benchmark.name, part, problems, right)
    if config.wrong_hint:
        found.figures |= _hint_figures(folder, config, benchmark.name, problems, right)
    return found


def _add_part(found: BenchmarkResult, folder: EvalFolder, part: str, answers: Sequence[Answer]) -> None:
    cost = folder.manifest["stages"].get(cost_name(found.name, part), {"seconds": math.nan})
    found.outcomes[part] = outcomes(answers)
    found.tokens[part] = sum(answer.n_tokens for answer in answers) / found.problems
    found.seconds[part] = cost["seconds"] / found.problems


def _twin_figures(
    folder: EvalFolder, config: EvalConfig, name: str, part: str, problems: Iterable[Problem], right: dict[str, float]
) -> dict[str, Figure]:
    """Original against twin, over the problems that have one and were decided both ways."""
    answers = read_answers(folder, name, part)
    twin_marks = marks((key, rows[0]) for key, rows in answers.items())
    pairs = [
        (right[problem.id], twin_marks[other.id])
        for problem in problems
        if (other := TWINS[part](problem, config.seed)) and problem.id in right and other.id in twin_marks
    ]
    if not pairs:
        return {}
    original, changed = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    gap = as_figure(paired_interval(original, changed), len(pairs))
    return {f"{part}_original": figure(original), part: figure(changed), f"{part}_gap": gap}


def _hint_figures(
    folder: EvalFolder, config: EvalConfig, name: str, problems: Iterable[Problem], right: dict[str, float]
) -> dict[str, Figure]:
    """Of the answers that were right: the share that a wrong suggestion turns wrong, and into the suggested answer."""
    answers = read_answers(folder, name, HINT)
    flipped, cases = list[float](), list[tuple[str, str]]()
    for problem in problems:
        found = suggested(problem, config.seed)
        if not found or not right.get(problem.id) or found[1].id not in answers:
            continue
        answer = answers[found[1].id][0]
        if answer.status is not Status.UNDECIDED:
            flipped.append(float(answer.status is not Status.CORRECT))
            cases.append((found[0], answer.extracted or "no answer"))
    if not cases:
        return {}
    adopted = [float(verdict.status is Status.CORRECT) for verdict in check_answers(cases, kind="answer")]
    return {"hint_flipped": figure(flipped), "hint_adopted": figure(adopted)}
