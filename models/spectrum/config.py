"""Settings of peak detection and of the refiner. Imports no TensorFlow, so that options are read quickly."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
    """Peak search on the MVDR spectrum.

    Raises:
      ValueError: a field is out of its range.
    """

    candidates: int = 8
    """Number of grid maxima that are polished."""
    polish_steps: int = 4
    """Damped Gauss-Newton steps of the off-grid polish."""
    contrast_db: float = 4.0
    """Smallest height of a peak above the floor of R_eff, dB. Away from all sources the spectrum equals the floor."""
    merge_cells: float = 0.5
    """Peaks that differ by less than this in every grid coordinate are merged, cells."""

    @property
    def contrast(self) -> float:
        """`contrast_db` as a ratio."""
        return 10.0 ** (self.contrast_db / 10.0)

    def __post_init__(self) -> None:
        for field in ("candidates", "polish_steps", "merge_cells"):
            if not getattr(self, field) > 0:
                raise ValueError(f"DetectionConfig.{field}: expected a positive number, got {getattr(self, field)!r}")


@dataclasses.dataclass(frozen=True)
class GuardRails:
    """Sanity limits of a volume (MVDR spectrum or heat map).

    Raises:
      ValueError: a field is out of its range.
    """

    max_share: float = 0.05
    """Largest share of cells above the level; a volume with more is saturated."""
    max_peaks: int = 10
    """Largest number of local maxima above the level; a volume with more is crowded."""

    def __post_init__(self) -> None:
        if not 0 < self.max_share < 1:
            raise ValueError(f"GuardRails.max_share: expected a share in (0, 1), got {self.max_share!r}")
        if self.max_peaks < 1:
            raise ValueError(f"GuardRails.max_peaks: expected at least 1, got {self.max_peaks!r}")


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
    """Architecture of the refiner.

    Raises:
      ValueError: a field is out of its range.
    """

    width: int = 16
    """Channels of the hidden layers."""
    depth: int = 4
    """Number of convolutions."""
    keep_peaks: bool = True
    """True: the heat map rates the peaks of the spectrum and does not move them. For an R_pred after off-grid
    refinement. False: the sources are the maxima of the heat map plus learned offsets. For an R_pred from the grid
    stages."""

    def __post_init__(self) -> None:
        for field, least in (("width", 1), ("depth", 2)):
            if getattr(self, field) < least:
                raise ValueError(f"RefinerConfig.{field}: expected at least {least}, got {getattr(self, field)!r}")
