"""`prm.json`: what a PRM checkpoint must say about itself beyond its weights, and where its folder is.

A transformers checkpoint does not say where a step is read, which class or token means right, or how scores become one
number. Scored with another separator than it was trained with, a model gives plausible numbers that mean nothing; so
all of this travels with the weights, and a folder without it is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from data.config import Config
from data.errors import UserError
from data.model_folder import is_local
from prm.aggregate import Reading
from prm.calibration import Calibration
from prm.encode import EncoderConfig
from prm.training_config import PrmTrainingConfig

FILE = "prm.json"
HEAD = "step_head.safetensors"
REFERENCE = "reference"
"""Folder of the reference model of form `implicit`, within the PRM's."""


class ModelForm(Config):
    """How the model says what it thinks of a step."""

    form: Literal["head", "tokens", "implicit"] = "head"
    """`head`: a classifier on the hidden state of the step's last token. `tokens`: the language model's own
    probabilities of two label tokens there (Math-Shepherd). `implicit`: the log-ratio of the trained language model to
    the one that it began as (`prm.scoring.implicit`)."""
    head: Literal["linear", "mlp"] = "linear"
    """`mlp` is Qwen2.5-Math-PRM's: linear, ReLU, linear."""
    classes: Literal[2, 3] = 2
    """2: wrong, right. 3: wrong, neutral, right; the score is the probability of not wrong (ReasonEval's validity)."""
    layers: int = Field(default=0, ge=0)
    """Layers of the backbone that are kept, from the first on; 0 for all. The last layers of a language model turn to
    the next token, so a frozen one may say more about the step in its middle, and costs less."""
    right_token: str = "+"
    """For `tokens`: must be one token of the tokenizer."""
    wrong_token: str = "-"
    beta: float = Field(default=0.05, gt=0)
    """For `implicit`: scale of the log-ratio, in 1/nats (Yuan et al., arXiv 2412.01981)."""
    per_step: bool = False
    """For `implicit`: the log-ratio of each step alone, not of all steps so far. So labels of steps are learned better,
    since a wrong step need not undo what those before it earned; an outcome is learned from the sum alone."""


class OutcomeModelConfig(ModelForm):
    """An outcome model beside a PRM; a `head` on the last step is that of Cobbe et al. (arXiv 2110.14168)."""

    steps: int = Field(default=0, ge=0)
    """Optimizer steps, batches and learning rate being the PRM's; 0 trains none."""


class PrmConfig(Config):
    """The content of `prm.json`."""

    model: ModelForm = Field(default_factory=ModelForm)
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    calibration: Calibration = Field(default_factory=Calibration)
    reading: Reading = Field(default_factory=Reading)
    base_model: str = ""
    """Name of the backbone that the training started from."""
    base_revision: str = ""
    """Hash of its weights and tokenizer."""
    data: dict[str, str] = Field(default_factory=dict)
    """Hash of each set of labels that went into it, by name."""
    training: PrmTrainingConfig | None = None
    revision: str = ""
    """Hash over the saved weights, head and tokenizer."""
    blessed: bool | None = None
    """Whether on dev samples both the best of N and the vote weighted by the scores were at least as good as the
    majority vote; None: not measured."""


def read_config(folder: Path) -> PrmConfig:
    """Read `prm.json`.

    Raises:
        UserError: it is missing, or not of this form.
    """
    file = folder / FILE
    if not file.is_file():
        raise UserError(
            f"'{folder}' has no {FILE}, so nothing says how its steps are read.",
            "Give a checkpoint of `stepstar train-prm`, or name its published layout: qwen_prm, math_shepherd, "
            "skywork_prm, rlhflow_prm or implicit_prm.",
        )
    try:
        return PrmConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{file}: {where}: {first['msg']}.", "Save the checkpoint again.") from error


def write_config(folder: Path, config: PrmConfig) -> None:
    """Write `prm.json`; the weights beside it are not touched."""
    text = json.dumps(config.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def local_folder(path: str, revision: str | None = None) -> Path:
    """The folder of a model; one from the hub is downloaded to the cache first.

    Args:
        path: folder or hub id.
        revision: hub commit, tag or branch.

    Raises:
        UserError: there is no such folder, the hub has no such model, or cannot be reached.
    """
    if is_local(path):
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise UserError(f"there is no model folder '{path}'.", "Give a folder, or a hub id such as owner/name.")
        return folder
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.safetensors", "*.json", "*.jinja"]
        return Path(snapshot_download(path, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot load the model '{path}': {str(error).splitlines()[0]}",
            "Check the name and the network, or download it and give its folder.",
        ) from error
