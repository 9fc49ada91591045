"""Options that select the weights of a localizer."""

import dataclasses
from pathlib import Path
from typing import Self

import pydantic

from models.checked import stage_options
from models.weights import PRETRAINED


@stage_options(frozen=True)
class WeightsOptions:
    """Selects the weights of the localizer; the default is the pretrained weights."""

    backbone: Path = dataclasses.field(default=PRETRAINED, kw_only=True)
    """Weights of the localizer: a backbone.keras written by `ris-mvdr train`. Default: the pretrained weights."""
    untrained: bool = dataclasses.field(default=False, kw_only=True)
    """Use the untrained backbone, which is the classical estimator, instead of --backbone."""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.untrained and self.backbone != PRETRAINED:
            raise ValueError(f"--untrained: expected no --backbone, got --backbone {self.backbone}")
        return self

    @property
    def weights(self) -> Path | None:
        """Path of the weights; None for the untrained backbone."""
        return None if self.untrained else self.backbone
