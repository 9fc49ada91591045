"""Options of the stages that take the weights of a localizer."""

import dataclasses
from pathlib import Path
from typing import Self

import pydantic

from models.checked import stage_options
from models.weights import PRETRAINED


@stage_options(frozen=True)
class WeightsOptions:
    """Which weights a stage uses: the pretrained ones by default."""

    backbone: Path = dataclasses.field(default=PRETRAINED, kw_only=True)
    """Weights of the localizer, a backbone.keras of `ris-mvdr train`; left out, the pretrained weights."""
    untrained: bool = dataclasses.field(default=False, kw_only=True)
    """Uses the untrained backbone, which is the classical estimator, in place of --backbone."""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.untrained and self.backbone != PRETRAINED:
            raise ValueError(f"--untrained: expected without --backbone, got --backbone {self.backbone} beside it")
        return self

    @property
    def weights(self) -> Path | None:
        """The file of the weights; None for the untrained backbone."""
        return None if self.untrained else self.backbone
