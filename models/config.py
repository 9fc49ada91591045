"""Settings of the localizer and of its losses. Imports no TensorFlow, so that options are read quickly."""

from typing import Annotated

import pydantic

from models.checked import AtLeast0, NotNegative, checked
from models.covariance_estimator.config import GridConfig
from models.decision.config import DecisionConfig, InflationConfig
from models.multipath.config import MultipathConfig
from models.physics.config import ShrinkageConfig
from models.spectrum.config import DetectionConfig, GuardRails


def _zero(weight: float) -> float:
    if weight != 0.0:
        raise ValueError(
            f"expected 0, got {weight!r}: this loss back-propagates through eigenvalues, which is unstable where they "
            "meet; use subspace_alignment"
        )
    return weight


_Zero = Annotated[float, pydantic.AfterValidator(_zero)]


@checked(frozen=True)
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
    final_steps: AtLeast0 = 1
    """Fisher scoring steps on the peaks of every scene; scenes that have not converged take more. At least one step is
    needed: powers and error covariances come from the likelihood at the reported sources."""


@checked(frozen=True)
class LossConfig:
    """Weights of the backbone's losses.

    Raises:
      ValueError: a weight is negative, or `gap` or `margin` is not zero.
    """

    heat_map: NotNegative = 1.0
    """Cross-entropy of source presence on the grid."""
    stein: NotNegative = 0.02
    """Stein loss between loaded covariances."""
    subspace_alignment: NotNegative = 0.1
    """Share of the energy of R_pred outside the span of the true steering vectors."""
    peak_contrast: NotNegative = 0.0
    """Height of the MVDR spectrum at the sources relative to its mean; off by default."""
    start: NotNegative = 1.0
    """Matching of the start's candidates to the sources."""
    gap: _Zero = 0.0
    """Must be zero, see `_zero`."""
    margin: _Zero = 0.0
    """Must be zero, see `_zero`."""
