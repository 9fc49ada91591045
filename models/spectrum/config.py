"""Settings of what reads the spectrum; light, so that options can be read without TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
    """Peak search on the spectrum."""

    candidates: int = 8
    """Grid maxima that are polished."""
    polish_steps: int = 4
    """Damped Gauss-Newton steps of the polish."""
    contrast_db: float = 4.0
    """A peak stands this far above the floor of R_eff, which is the spectrum's value away from all sources, dB."""
    merge_cells: float = 0.5
    """Peaks closer than this in every grid coordinate are one, cells."""

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
    """When a scene's volume is believed."""

    max_share: float = 0.05
    """Share of the cells that may stand above the level; more is saturated."""
    max_peaks: int = 10
    """Local maxima that may stand above the level; more is crowded."""

    def __post_init__(self) -> None:
        if not 0 < self.max_share < 1:
            raise ValueError(f"GuardRails.max_share: expected a share, got {self.max_share!r}")
        if self.max_peaks < 1:
            raise ValueError(f"GuardRails.max_peaks: expected at least 1, got {self.max_peaks!r}")


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
    """Shape of the refiner."""

    width: int = 16
    """Channels of the hidden layers."""
    depth: int = 4
    """Convolutions."""
    keep_peaks: bool = True
    """Peaks of the spectrum stay where they are and the heat map rates them, for an R_pred that the likelihood refined;
    off, sources are the maxima of the heat map, moved by learned offsets, for an R_pred of the grid alone."""

    def __post_init__(self) -> None:
        for field, least in (("width", 1), ("depth", 2)):
            if getattr(self, field) < least:
                raise ValueError(f"RefinerConfig.{field}: expected at least {least}, got {getattr(self, field)!r}")
