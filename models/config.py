"""Settings of the localizer and of its losses. Imports no TensorFlow, so that options are read quickly."""

import dataclasses

from models.covariance_estimator.config import GridConfig
from models.decision.config import DecisionConfig, InflationConfig
from models.multipath.config import MultipathConfig
from models.physics.config import ShrinkageConfig
from models.spectrum.config import DetectionConfig, GuardRails


@dataclasses.dataclass(frozen=True)
class LocalizerConfig:
    """Settings of all steps from R_pred to the sources."""

    shrinkage: ShrinkageConfig = ShrinkageConfig()
    spectrum_grid: GridConfig | None = None
    """Grid of the MVDR spectrum. By default twice as fine as the backbone's grid: 44 x 26 x 20 for the default
    installation, so that two sources one beam width apart give two maxima."""
    detection: DetectionConfig = DetectionConfig()
    multipath: MultipathConfig = MultipathConfig()
    """Multipath: which peaks are paths of the same source, and where its direct path comes from."""
    decision: DecisionConfig = DecisionConfig()
    inflation: InflationConfig = InflationConfig()
    """How the reported covariances grow with the measured model mismatch."""
    guard_rails: GuardRails = GuardRails()
    """When the output of a refiner is used."""
    final_steps: int = 1
    """Fisher scoring steps on the peaks of every scene; scenes that have not converged take more. At least one step is
    needed: powers and error covariances come from the likelihood at the reported sources."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the backbone's losses.

    Raises:
      ValueError: a weight is negative, or `gap` or `margin` is not zero.
    """

    heat_map: float = 1.0
    """Cross-entropy of source presence on the grid."""
    stein: float = 0.02
    """Stein loss between loaded covariances."""
    subspace_alignment: float = 0.1
    """Share of the energy of R_pred outside the span of the true steering vectors."""
    peak_contrast: float = 0.0
    """Height of the MVDR spectrum at the sources relative to its mean; off by default."""
    start: float = 1.0
    """Matching of the start's candidates to the sources."""
    gap: float = 0.0
    """Must be zero, see `__post_init__`."""
    margin: float = 0.0
    """Must be zero, see `__post_init__`."""

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
