"""The training of a round: from the base, on what was kept, to a checkpoint with its parent; resumed where it stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.ids import content_id, derive_seed
from data.records import Problem, Rationale
from pipelines.progress import say, track
from pipelines.stages.policy import Policy
from pipelines.stages.sampling import CODE_VERSION, Context
from prm.training_state import TrainingState
from star.checkpoints import LoadedModel, load_checkpoint, save_checkpoint
from star.distributed import train
from star.encoding import encode_completion, encode_prompt, pad_id
from star.sft import Row, TrainingReport


@dataclass(frozen=True, slots=True)
class Training:
    """One fine-tuning: what it starts from, on what, in which arm and round."""

    context: Context
    base: Policy
    arm: str
    round: int
    examples: Sequence[tuple[Problem, Rationale]]

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return f"generator-{self.arm}-r{self.round}"

    @property
    def seed(self) -> int:
        """Seed of the order of the rows; the same in every arm."""
        return derive_seed(self.context.recipe.seed, "sft", self.round)

    @property
    def key(self) -> str:
        """Hash of everything that the result depends on."""
        settings = self.context.recipe.sft.model_dump_json()
        texts = (rationale.id for _, rationale in self.examples)
        template = self.context.template.hash()
        return content_id("sft", self.base.revision, settings, str(self.round), str(self.seed), CODE_VERSION, template,
                          *texts)  # fmt: skip

    def run(self) -> Policy:
        """Train, or read what was trained, and return the new policy."""
        run, folder = self.context.run, self.context.run.root / "checkpoints"
        every_s = self.context.recipe.sft.save_every_s
        state = TrainingState(folder / f"{self.name}.training.safetensors", key=self.key, every_s=every_s)
        with run.stage(self._label):
            entry = run.checkpoint(self.name, self.key, lambda target: self._make(target, state))
        if not run.dry:
            state.clear()
        return self.base.heir(self.name, folder / self.name, entry["revision"], self.round)

    @property
    def _label(self) -> str:
        return f"{self.arm} · round {self.round} · train"

    def _make(self, folder: Path, state: TrainingState) -> dict[str, Any]:
        """Train and save; returns what the manifest records. No wall time: made again, it must be the same file."""
        # Several processes load it each for themselves: the first GPU is left to them.
        device = "cpu" if self.context.recipe.sft.processes > 1 else "auto"
        loaded = load_checkpoint(self.base.path, revision=self.base.hub_revision, dtype="float32", device=device)
        assert loaded.revision == self.base.revision, "a round must train from the base"
        model, report = self._fine_tune(loaded, state)
        if report.note:
            say(report.note)
        facts = {
            "steps": report.steps,
            "rows": report.rows,
            "tokens": report.tokens,
            "losses": list(report.losses),
            "parent": self.base.revision,
            "parent_name": self.base.name,
            "round": self.round,
            "arm": self.arm,
            "seed": self.seed,
            "data": self.key,
        }
        revision = save_checkpoint(LoadedModel(model, loaded.tokenizer, self.name, ""), folder, provenance=facts)
        return {**facts, "revision": revision}

    def _fine_tune(self, loaded: LoadedModel, state: TrainingState) -> tuple[Any, TrainingReport]:
        config, tokenizer = self.context.recipe.sft, loaded.tokenizer
        rows = [
            Row(
                encode_prompt(tokenizer, self.context.template.render(problem)),
                encode_completion(tokenizer, rationale.text),
                name=rationale.id,
            )
            for problem, rationale in self.examples
        ]
        steps = config.capped(config.steps_of_round(self.round), len(rows))
        with track(self._label, steps) as bar:
            return train(
                loaded,
                rows,
                config,
                revision=self.base.hub_revision,
                steps=steps,
                pad=pad_id(tokenizer),
                seed=self.seed,
                folder=self.context.run.root / "checkpoints" / f"{self.name}.job",
                state=state,
                on_step=lambda step, _, loss: bar.reach(step, f"loss {loss:.3f}"),
            )
