"""Settings of `stepstar train-prm`: those of the training itself, and of what it is given. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prm.encode import EncoderConfig
from prm.labels import Prm800kOptions
from prm.model_config import ModelForm
from prm.training_config import PrmTrainingConfig


class PrmSettings(PrmTrainingConfig):
    """Everything but the label files and the base model that determines a PRM."""

    model: ModelForm = Field(default_factory=ModelForm)
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    neutral: Literal["good", "bad", "mask", "soft", "class"] = "good"
    """What PRM800K's rating of 0 means; `class` trains a third class."""
    neutral_value: float = Field(default=0.5, ge=0, le=1)
    """The label of a neutral step under `soft`."""
    dev_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the problems by which the best weights are chosen, and calibration and threshold fitted."""
    max_reject_share: float = Field(default=0.05, ge=0, le=1)
    """Nothing is trained if more than this share of the label rows is unusable."""
    seed: int = 0
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads; 0 means all. Floating point depends on it."""

    def training(self) -> PrmTrainingConfig:
        """The settings of the training itself."""
        return PrmTrainingConfig.model_validate(self.model_dump(include=set(PrmTrainingConfig.model_fields)))

    def form(self) -> ModelForm:
        """The model's form, with a third class where neutral steps are one."""
        return self.model.model_copy(update={"classes": 3} if self.neutral == "class" else {})

    def prm800k(self) -> Prm800kOptions:
        """How PRM800K's ratings become labels."""
        after = {"mask": "mask", "keep": "keep", "wrong": "negative"}[self.after_error]
        return Prm800kOptions.model_validate(
            {"neutral": self.neutral, "neutral_value": self.neutral_value, "after_error": after}
        )
