"""Recipes: one YAML file plus dotted overrides, checked strictly before anything runs.

An unknown key is an error that names its path and the nearest key; a value out of range names path, value and bound.
YAML is loaded safely, duplicate keys are refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from data.config import Config
from data.errors import UserError
from data.run_records import LeakTest
from pipelines.executors import ExecutorConfig
from pipelines.overrides import apply_override, checked, read_yaml
from prm.model_config import ModelForm, OutcomeModelConfig
from prm.training_config import PrmTrainingConfig
from star.balance import BalanceConfig
from star.corruption import CorruptionConfig
from star.generation.base import SamplingParams
from star.leaks import LeakConfig
from star.ppo.config import PpoConfig
from star.preference.config import PreferenceConfig, RewardModelConfig
from star.promotion import PromotionConfig
from star.rationalize import RationalizationConfig
from star.selection import SelectionConfig
from star.sft import SftConfig

RECIPES = Path(__file__).parent / "recipes"


class ModelConfig(Config):
    """Which model."""

    name: str
    """`embedded`, a local folder, or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct."""
    revision: str | None = None
    """Hub commit, tag or branch."""


class SourceConfig(Config):
    """Which problems."""

    source: str
    """Name of a source, e.g. `gsm8k`; the README lists them."""
    path: str = ""
    """Local file or hub id; empty means the source's own place on the hub."""
    split: str = "train"
    columns: dict[str, str] = Field(default_factory=dict)
    """For `source: local`: which column holds `prompt`, `answer`, ..."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the source, e.g. `n` and `difficulty` of `arithmetic`."""
    limit: int | None = Field(default=None, ge=1)
    """Take this many problems, drawn by hash, not the first ones of the file."""


class EngineConfig(Config):
    """Which engine draws samples."""

    type: Literal["transformers", "vllm", "http", "scripted"] = "transformers"
    """In a run, only `transformers` and `vllm` can be given trained weights: the others need `sft.enabled: false`."""
    batch_size: int = Field(default=64, ge=1)
    """Samples decoded together; for `http`, requests in flight."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the engine itself, e.g. `base_url` of `http`; those of `vllm` are in `star.generation.vllm_setup`."""


class SamplingConfig(Config):
    """How samples are drawn."""

    n: int = Field(default=4, ge=1)
    """Samples of each problem."""
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_tokens: int = Field(default=256, ge=1)
    stop: list[str] = Field(default_factory=list)

    def params(self, **changes: Any) -> SamplingParams:
        """The engine's sampling parameters."""
        values = self.model_dump(exclude={"n"}) | {"stop": tuple(self.stop)} | changes
        return SamplingParams(**values)


class NearMissConfig(CorruptionConfig):
    """Near-misses of the dataset's rationales: wrong by one slip whose place is known."""

    rationales: int = Field(default=100, ge=0)
    """Kept rationales, drawn by hash, that near-misses are made of; 0 makes none."""


class SftStageConfig(SftConfig):
    """Fine-tuning at the end of each round."""

    enabled: bool = True
    """Without it the run ends with the verified rationales of one round, and any engine will do."""


class PrmStageConfig(PrmTrainingConfig):
    """A process reward model of the run's own rationales, after the last round."""

    enabled: bool = False
    model: ModelForm = ModelForm()
    """How it says what it thinks of a step; it begins as the promoted policy."""
    solutions: int = Field(default=8000, ge=1)
    """Labelled solutions that it is trained on at most, drawn by hash."""
    dev_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of their problems by which the best weights are chosen and the scores calibrated."""
    samples: int = Field(default=16, ge=2)
    """Samples of each dev and test problem among which it chooses."""
    outcome_model: OutcomeModelConfig = OutcomeModelConfig()
    """What to compare it with: a model that learns the same solutions' final verdicts alone, if it is given `steps`."""


class PpoStageConfig(PpoConfig):
    """PPO after the last round."""

    enabled: bool = False
    rewards: Literal["symbolic", "prm", "pairwise"] = "symbolic"
    """Who scores: the step checker, the run's own PRM, or a reward model from pairwise comparisons, once a response."""


class PreferenceStageConfig(PreferenceConfig):
    """A preference baseline beside PPO: trained on pairs of samples after the last round, measured, used by nothing."""

    enabled: bool = False
    samples: int = Field(default=8, ge=2)
    """Samples of each training problem, of which right and wrong ones are paired."""


class Recipe(Config):
    """Everything that determines a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run folder under `runs/`."""
    description: str = ""
    seed: int = 0
    model: ModelConfig
    problems: SourceConfig
    evaluation: SourceConfig
    prompt: str
    """Prompt template: `arithmetic`, `math`, `choice`, or the path of a .jinja file."""
    engine: EngineConfig = EngineConfig()
    sampling: SamplingConfig = SamplingConfig()
    rationalization: RationalizationConfig = RationalizationConfig()
    balance: BalanceConfig = BalanceConfig()
    leaks: LeakConfig = LeakConfig()
    selection: SelectionConfig = SelectionConfig()
    executor: ExecutorConfig = ExecutorConfig()
    sft: SftStageConfig = SftStageConfig()
    promotion: PromotionConfig = PromotionConfig()
    near_misses: NearMissConfig = NearMissConfig()
    prm: PrmStageConfig = PrmStageConfig()
    ppo: PpoStageConfig = PpoStageConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    """For `ppo.rewards: pairwise`."""
    preference: PreferenceStageConfig = PreferenceStageConfig()
    rounds: int = Field(default=3, ge=1)
    """STaR rounds; each trains from the base again."""
    outer_rounds: int = Field(default=1, ge=1)
    """Rounds of STaR, PRM and PPO; each samples first from the last policy that was promoted."""
    target_difficulties: list[str] = Field(default_factory=list)
    """The levels that the report's headline speaks of; empty means those of the training problems."""
    compare_without_rationalization: bool = False
    """Run a second arm without rationalization, for the report's comparison."""
    shard_size: int = Field(default=128, ge=1)
    """Problems in one shard: the most sampling that a kill can cost."""
    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    """The run stops before spending anything if more than this share of the input rows is unusable."""
    max_undecided_share: float = Field(default=0.05, ge=0, le=1)
    """The run stops if more than this share of a round's checks could not be decided."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads for the model; 0 means all. Fixed by the first run, since floating point depends on it."""

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        """What would stop the run only after its rounds."""
        if not self.sft.enabled and self._needs_training():
            raise ValueError(f"sft.enabled is false, but {self._needs_training()} trains or compares models")
        if self.sft.enabled and self.engine.type in ("http", "scripted"):
            raise ValueError(f"engine {self.engine.type} cannot be given trained weights: set sft.enabled to false")
        if self.ppo.enabled and self.ppo.rewards == "prm" and not self.prm.enabled:
            raise ValueError("ppo.rewards is prm, but prm.enabled is false")
        if self.ppo.rewards == "pairwise" and self.ppo.credit.form != "implicit":
            raise ValueError("ppo.rewards pairwise is one unbounded reward a response: set ppo.credit.form to implicit")
        if self.outer_rounds > 1 and not self.ppo.enabled:
            raise ValueError("outer_rounds repeat STaR, PRM and PPO, but ppo.enabled is false; see rounds")
        if (self.ppo.enabled or self.prm.enabled) and not self.promotion.dev_share:
            raise ValueError("PRM and PPO are judged by dev problems, but promotion.dev_share is 0")
        if self.prm.enabled and self.prompt == "code":
            raise ValueError("prm.enabled: the steps of programs have no labels that a PRM could learn from")
        if self.ppo.enabled and (self.sampling.top_p < 1 or self.sampling.top_k):
            raise ValueError("PPO needs samples of the whole distribution: sampling.top_p 1 and sampling.top_k 0")
        measured = {LeakTest.LOGPROB_GAP, LeakTest.ANSWER_GAP} & set(self.leaks.quarantine)
        if measured and self.engine.type != "transformers":
            raise ValueError(f"leaks.quarantine: {min(measured)} is measured by engine transformers alone")
        return self

    def _needs_training(self) -> str:
        """The first setting that makes no sense without trained models, if any does."""
        asked = {
            "rounds": self.rounds > 1,
            "compare_without_rationalization": self.compare_without_rationalization,
            "prm.enabled": self.prm.enabled,
            "preference.enabled": self.preference.enabled,
            "ppo.enabled": self.ppo.enabled,
        }
        return next((name for name, is_asked in asked.items() if is_asked), "")


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by name or path and apply dotted overrides such as `sampling.n=8`.

    Raises:
        UserError: no such recipe, bad YAML, an unknown key, or a value of the wrong type or out of range.
    """
    file = RECIPES / f"{name}.yaml" if "/" not in name and not name.endswith((".yaml", ".yml")) else Path(name)
    if not file.is_file():
        near = difflib.get_close_matches(name, shipped_recipes(), 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Use one of {', '.join(shipped_recipes())}, or a path."
        raise UserError(f"no recipe '{name}'.", hint)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8.", "Save it as UTF-8.") from error
    content = read_yaml(text, str(file))
    if not isinstance(content, dict):
        raise UserError(f"{file}: not a mapping of keys to values.", "See a shipped recipe for the form.")
    for override in overrides:
        apply_override(content, override)
    return parse_recipe(content, where=f"recipe {name}")


def parse_recipe(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Check a plain mapping and make it a recipe; one line for the first mistake."""
    # As config.json will hold it, so that a recipe read back is equal (JSON has no integer keys).
    return checked(Recipe, json.loads(json.dumps(content, default=str)), where=where)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted paths whose values differ, as `path: old -> new`."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
