"""Settings of the localizer and of its training; light, so that options can be read without TensorFlow."""

import dataclasses

from models.covariance_estimator.config import GridConfig
from models.decision.config import DecisionConfig, InflationConfig
from models.multipath.config import MultipathConfig
from models.physics.config import ShrinkageConfig
from models.spectrum.config import DetectionConfig, GuardRails


@dataclasses.dataclass(frozen=True)
class LocalizerConfig:
    """Everything between R_pred and the sources."""

    shrinkage: ShrinkageConfig = ShrinkageConfig()
    spectrum_grid: GridConfig | None = None
    """Grid of the MVDR spectrum; left out, twice as fine as the backbone's for the installation, 44 x 26 x 20 for the
    default one: sources a beam width apart must show as two maxima."""
    detection: DetectionConfig = DetectionConfig()
    multipath: MultipathConfig = MultipathConfig()
    """Reflected paths: which of what the spectrum shows is one source, and the position of its direct path."""
    decision: DecisionConfig = DecisionConfig()
    inflation: InflationConfig = InflationConfig()
    """How covariances follow what the measurement says of the model's mismatch."""
    guard_rails: GuardRails = GuardRails()
    """When a refiner's answer is used."""
    final_steps: int = 1
    """Fisher scoring steps on the peaks of all scenes, beyond those of scenes that have not settled: powers and error
    covariances need the likelihood at the reported sources."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the backbone's losses."""

    heat_map: float = 1.0
    """Cross-entropy of source presence on the grid."""
    stein: float = 0.02
    """Stein loss between loaded covariances."""
    subspace_alignment: float = 0.1
    """Share of R_pred's energy outside the span of the true steering vectors."""
    peak_contrast: float = 0.0
    """Height of the MVDR spectrum at the sources against its mean; off: peaks are the refiner's business."""
    start: float = 1.0
    """Set matching of the start's candidates with the sources."""
    gap: float = 0.0
    """Refused unless zero."""
    margin: float = 0.0
    """Refused unless zero."""

    def __post_init__(self) -> None:
        for field in ("gap", "margin"):
            if getattr(self, field) != 0.0:
                raise ValueError(
                    f"LossConfig.{field}: expected 0, got {getattr(self, field)!r}: this loss back-propagates through "
                    "eigenvalues, which is unstable where they meet; use subspace_alignment"
                )
        for field in ("heat_map", "stein", "subspace_alignment", "peak_contrast", "start"):
            if not getattr(self, field) >= 0.0:
                raise ValueError(f"LossConfig.{field}: expected a weight of at least 0, got {getattr(self, field)!r}")
