"""Options of `ris-mvdr refine`."""

from pathlib import Path

from models.checked import AtLeast1, NotNegative, stage_options
from models.config import LossConfig
from models.spectrum.config import RefinerConfig
from pipeline.common.weights import WeightsOptions
from pipeline.fitting.options import FitOptions


@stage_options(frozen=True)
class RefineOptions(WeightsOptions, FitOptions):
    """Trains the refiner; leaves refiner.keras, and beside it the backbone.keras whose spectra it was trained on."""

    epochs: AtLeast1 = 12
    """Epochs; a checkpoint and a validation after each."""
    learnability: Path | None = None
    """A learnability.json of `python -m pipeline.learnability`; nothing begins unless its verdict is PASS."""
    force: bool = False
    """Goes on without that verdict."""
    grid_only: bool = False
    """R_pred without continuous stages, atoms of the grid only: no likelihood refinement, a third of the time."""
    joint: bool = False
    """Trains the backbone's grid stages along, by their own losses and through the heat map."""
    offset_weight: NotNegative = 1.0
    """Of the offset loss beside the focal loss of presence."""
    refiner: RefinerConfig = RefinerConfig()
    losses: LossConfig = LossConfig()
    """The backbone's, with --joint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid_only and self.refiner.keep_peaks:
            raise ValueError("--grid-only: expected --refiner.no-keep-peaks beside it, as peaks lie on the grid")
