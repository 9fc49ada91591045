"""Options of the stages that take weights."""

import dataclasses
from pathlib import Path
from typing import Self

import pydantic

from models.checked import stage_options
from models.weights import PRETRAINED


@stage_options(frozen=True)
class WeightsOptions:
    """Weights of a stage: the pretrained ones by default."""

    backbone: Path = dataclasses.field(default=PRETRAINED, kw_only=True)
    """Weights file: a backbone.keras of `ris-mvdr train`."""
    untrained: bool = dataclasses.field(default=False, kw_only=True)
    """Uses the untrained backbone, which is the classical estimator, instead of --backbone."""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.untrained and self.backbone != PRETRAINED:
            raise ValueError(f"--untrained: expected no --backbone, got --backbone {self.backbone}")
        return self

    @property
    def weights(self) -> Path | None:
        """Weights file; None for the untrained backbone."""
        return None if self.untrained else self.backbone
