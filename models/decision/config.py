"""Settings of the decision. Imports no TensorFlow, so that options are read quickly."""

from typing import Annotated

from annotated_types import Interval

from models.checked import Positive, Probability, checked
from models.physics.config import PathLossConfig


@checked(frozen=True)
class DecisionConfig:
    """Thresholds and gates of the decision."""

    min_score: Probability = 0.4
    """Smallest score (probability of being a hit) of a reported source; about half the expected F1."""
    gate_angle_deg: Positive | None = None
    """Half width of the gate in azimuth and elevation, degrees; default from the field of view (5)."""
    gate_range_m: Positive | None = None
    """Half width of the gate in range, metres; default from the field of view (1)."""
    path_loss: PathLossConfig = PathLossConfig()


@checked(frozen=True)
class InflationConfig:
    """How much the mismatch ratio increases the covariances."""

    max_factor: Annotated[float, Interval(ge=1)] = 30.0
    """Largest factor; 1 always reports the inverse Fisher information."""
