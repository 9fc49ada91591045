"""Options that select the weights of a localizer."""

import dataclasses
from pathlib import Path

from models.weights import PRETRAINED


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """Selects the weights of the localizer; the default is the pretrained weights."""

    backbone: Path = PRETRAINED
    """Weights of the localizer: a backbone.keras written by `ris-mvdr train`. Default: the pretrained weights."""
    untrained: bool = False
    """Use the untrained backbone, which is the classical estimator, instead of --backbone."""

    def __post_init__(self) -> None:
        if self.untrained and self.backbone != PRETRAINED:
            raise ValueError(f"--untrained: expected no --backbone with it, got --backbone {self.backbone}")

    @property
    def weights(self) -> Path | None:
        """Path of the weights; None for the untrained backbone."""
        return None if self.untrained else self.backbone
