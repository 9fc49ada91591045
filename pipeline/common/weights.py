"""Options of the stages that take the weights of a localizer."""

import dataclasses
from pathlib import Path

from models.weights import PRETRAINED


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """Which weights a stage uses: the pretrained ones unless told otherwise."""

    backbone: Path = PRETRAINED
    """Weights of the localizer, a backbone.keras of `ris-mvdr train`; left out, the pretrained weights."""
    untrained: bool = False
    """Uses the untrained backbone, which is the classical estimator, in place of --backbone."""

    def __post_init__(self) -> None:
        if self.untrained and self.backbone != PRETRAINED:
            raise ValueError(f"--untrained: expected without --backbone, got --backbone {self.backbone} beside it")

    @property
    def weights(self) -> Path | None:
        """The file of the weights; None for the untrained backbone."""
        return None if self.untrained else self.backbone
