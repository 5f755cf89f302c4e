"""What an evaluation depends on: model, engine, benchmarks, sampling; and how a command line says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from data.config import Config
from data.errors import UserError
from data.records import Kind, Problem
from data.sources import check_source
from pipelines.overrides import apply_override, checked
from pipelines.recipe import EngineConfig, ModelConfig, Recipe, SamplingConfig, SourceConfig

PROMPTS = {Kind.MATH: "math", Kind.CHOICE: "choice", Kind.CODE: "code"}
"""The template of a benchmark that names none, by the kind of its problems."""
EVALUATION_PROMPTS = {"arithmetic": "arithmetic", "addition": "arithmetic"}
"""The same for sources whose problems are bare expressions."""
SAMPLING = SamplingConfig(n=1, temperature=0.8, max_tokens=400)
"""Leaves room for the prompt in the context of the embedded models, 512 tokens."""


class BenchmarkConfig(SourceConfig):
    """One benchmark: a source of problems, and the prompt that they are put into."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*$")
    """Stands in the results; the source's name, or that of the local file. A dash would end it in unit names."""
    split: str = "test"
    prompt: str = ""
    """Prompt template; empty means that of the problems' kind."""

    def template_name(self, problems: Sequence[Problem]) -> str:
        """The prompt template of these problems."""
        return self.prompt or EVALUATION_PROMPTS.get(self.source) or PROMPTS[problems[0].kind]


class EvalConfig(Config):
    """Everything that determines an evaluation."""

    model: ModelConfig
    engine: EngineConfig = EngineConfig()
    benchmarks: list[BenchmarkConfig] = Field(min_length=1)
    samples: int = Field(default=0, ge=0)
    """Samples of each problem besides the greedy answer."""
    sampling: SamplingConfig = SAMPLING
    """How they are drawn; the greedy answer shares `max_tokens` and `stop`."""
    scorer: str = ""
    """A PRM that chooses among the samples: folder or hub id."""
    twins: bool = False
    """Also answer twins of the problems: with other numbers, and with a premise turned round."""
    wrong_hint: bool = False
    """Also answer each problem with a wrong answer suggested."""
    seed: int = 0
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads for the model; 0 means all. Fixed by the first attempt, since floating point depends on it."""
    shard_size: int = Field(default=128, ge=1)
    """Problems in one shard: the most work that a kill can cost."""
    max_undecided_share: float = Field(default=0.05, ge=0, le=1)
    """The evaluation stops if more than this share of a benchmark's answers could not be drawn or checked."""

    @model_validator(mode="after")
    def _fits(self) -> EvalConfig:
        if self.scorer and self.samples < 2:
            raise ValueError("a scorer chooses among samples, but samples is below 2")
        return self

    def default_folder(self) -> Path:
        """Where the evaluation goes if nobody says: another benchmark of the same model goes elsewhere."""
        return Path("evals") / "-".join([Path(self.model.name).name, *(one.name for one in self.benchmarks)])

    def recipe(self, benchmark: BenchmarkConfig, template: str) -> Recipe:
        """What the stages of a run need to know to sample a benchmark."""
        source = SourceConfig(**benchmark.model_dump(exclude={"name", "prompt"}))
        return Recipe(name="eval", seed=self.seed, model=self.model, problems=source, evaluation=source,
                      prompt=template, sampling=self.sampling, shard_size=self.shard_size,
                      max_undecided_share=self.max_undecided_share)  # fmt: skip


def config_from(
    model: str,
    engine: str,
    benchmarks: Sequence[BenchmarkConfig],
    flags: Mapping[str, Any],
    overrides: Sequence[str],
) -> EvalConfig:
    """The config of a command line; dotted overrides come last.

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of range.
    """
    content: dict[str, Any] = {
        "model": {"name": model},
        "engine": {"type": engine},
        "benchmarks": [one.model_dump(mode="json") for one in benchmarks],
        "sampling": SAMPLING.model_dump(mode="json"),
        **flags,
    }
    for override in overrides:
        apply_override(content, override)
    return checked(EvalConfig, content)


def benchmarks_from(
    names: Sequence[str],
    paths: Sequence[str],
    columns: Sequence[str],
    options: Sequence[str],
    *,
    split: str = "test",
    prompt: str = "",
    limit: int | None = None,
) -> list[BenchmarkConfig]:
    """The benchmarks of a command line.

    Args:
        names: sources, each word one or several with commas between.
        paths: `NAME=FILE`, or the file alone where there is one benchmark.
        columns: `FIELD=COLUMN` for `local`.
        options: `KEY=VALUE` of the source.
        split: of all of them.
        prompt: template of all of them; empty for each its own.
        limit: problems of each, drawn by hash.

    Raises:
        UserError: a benchmark is unknown or named twice, or a path names none.
    """
    wanted = [name.strip() for word in names for name in word.split(",") if name.strip()]
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError("name each benchmark once.", "Give e.g. --benchmark gsm8k,svamp.")
    for name in wanted:
        check_source(name)
    places = dict(_pair(path, wanted) for path in paths)
    settings: dict[str, Any] = {}
    for option in options:
        apply_override(settings, option)
    mapped = dict(column.partition("=")[::2] for column in columns)
    return [
        BenchmarkConfig(name=_shown(name, places.get(name, "")), source=name, path=places.get(name, ""), split=split,
                        columns=mapped if name == "local" else {}, options=settings, prompt=prompt, limit=limit)
        for name in wanted
    ]  # fmt: skip


def _pair(path: str, names: Sequence[str]) -> tuple[str, str]:
    name, equals, file = path.partition("=")
    if equals and name in names:
        return name, file
    if len(names) == 1:
        return names[0], path
    raise UserError(f"--path {path}: no benchmark is named.", f"Write NAME=FILE, the name one of {', '.join(names)}.")


def _shown(name: str, path: str) -> str:
    if name != "local" or not path:
        return name
    stem = re.sub(r"[^A-Za-z0-9]+", "_", Path(path).name.partition(".")[0]).strip("_")
    return stem or name
