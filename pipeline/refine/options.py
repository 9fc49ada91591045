"""Options of `ris-mvdr refine`."""

import dataclasses
import math
from pathlib import Path

from models.config import LossConfig
from models.spectrum.config import RefinerConfig
from pipeline.common.weights import WeightsOptions
from pipeline.fitting.options import FitOptions


@dataclasses.dataclass(frozen=True)
class RefineOptions(WeightsOptions, FitOptions):
    """Trains the refiner; leaves refiner.keras, and beside it the backbone.keras whose spectra it was trained on.

    The backbone keeps its weights unless --joint is given.
    """

    epochs: int = 12
    """Epochs; a checkpoint and a validation after each."""
    learnability: Path | None = None
    """A learnability.json of `python -m pipeline.learnability`; nothing begins unless its verdict is PASS."""
    force: bool = False
    """Goes on without that verdict."""
    grid_only: bool = False
    """R_pred without continuous stages, atoms of the grid only: no likelihood refinement, a third of the time."""
    joint: bool = False
    """Trains the backbone's grid stages along, by their own losses and through the heat map."""
    offset_weight: float = 1.0
    """Of the offset loss beside the focal loss of presence."""
    refiner: RefinerConfig = RefinerConfig()
    losses: LossConfig = LossConfig()
    """The backbone's, with --joint."""

    def __post_init__(self) -> None:
        WeightsOptions.__post_init__(self)
        FitOptions.__post_init__(self)
        if not 0 <= self.offset_weight < math.inf:
            raise ValueError(f"--offset-weight: expected a finite number of at least 0, got {self.offset_weight}")
        if self.grid_only and self.refiner.keep_peaks:
            raise ValueError("--grid-only: expected --refiner.no-keep-peaks beside it, as peaks lie on the grid")
