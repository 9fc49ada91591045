"""Options of `ris-mvdr refine`."""

from pathlib import Path

from models.checked import AtLeast1, NotNegative, stage_options
from models.config import LossConfig
from models.spectrum.config import RefinerConfig
from pipeline.common.weights import WeightsOptions
from pipeline.fitting.options import FitOptions


@stage_options(frozen=True)
class RefineOptions(WeightsOptions, FitOptions):
    """Trains the SpectrumRefiner. Writes refiner.keras and the backbone.keras whose spectra it was trained on."""

    epochs: AtLeast1 = 12
    """Number of epochs. Each ends with a checkpoint and a validation."""
    learnability: Path | None = None
    """learnability.json of `ris-mvdr learnability`. Training starts only if its verdict is PASS."""
    force: bool = False
    """Starts without that verdict."""
    grid_only: bool = False
    """Computes R_pred from the grid alone, without off-grid refinement, in a third of the time."""
    joint: bool = False
    """Also trains the grid stages of the backbone, by their own losses and through the heat map."""
    offset_weight: NotNegative = 1.0
    """Weight of the offset loss relative to the focal loss of presence."""
    refiner: RefinerConfig = RefinerConfig()
    losses: LossConfig = LossConfig()
    """Losses of the backbone, with --joint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid_only and self.refiner.keep_peaks:
            raise ValueError("--grid-only: expected --refiner.no-keep-peaks, because peaks lie on the grid")
