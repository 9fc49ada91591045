"""Settings of peak detection and of the refiner. Imports no TensorFlow, so that options are read quickly."""

from typing import Annotated

from annotated_types import Interval

from models.checked import AtLeast1, InsideUnit, Positive, checked


@checked(frozen=True)
class DetectionConfig:
    """Peak search on the MVDR spectrum."""

    candidates: AtLeast1 = 8
    """Number of grid maxima that are polished."""
    polish_steps: AtLeast1 = 4
    """Damped Gauss-Newton steps of the off-grid polish."""
    contrast_db: float = 4.0
    """Smallest height of a peak above the floor of R_eff, dB. Away from all sources the spectrum equals the floor."""
    merge_cells: Positive = 0.5
    """Peaks that differ by less than this in every grid coordinate are merged, cells."""

    @property
    def contrast(self) -> float:
        """`contrast_db` as a ratio."""
        return 10.0 ** (self.contrast_db / 10.0)


@checked(frozen=True)
class GuardRails:
    """Sanity limits of a volume (MVDR spectrum or heat map)."""

    max_share: InsideUnit = 0.05
    """Largest share of cells above the level; a volume with more is saturated."""
    max_peaks: AtLeast1 = 10
    """Largest number of local maxima above the level; a volume with more is crowded."""


@checked(frozen=True)
class RefinerConfig:
    """Architecture of the refiner."""

    width: AtLeast1 = 16
    """Channels of the hidden layers."""
    depth: Annotated[int, Interval(ge=2)] = 4
    """Number of convolutions."""
    keep_peaks: bool = True
    """True: the heat map rates the peaks of the spectrum and does not move them. For an R_pred after off-grid
    refinement. False: the sources are the maxima of the heat map plus learned offsets. For an R_pred from the grid
    stages."""
