"""Settings of the decision. Imports no TensorFlow, so that options are read quickly."""

import dataclasses

from models.physics.config import PathLossConfig


@dataclasses.dataclass(frozen=True)
class DecisionConfig:
    """Thresholds and gates of the decision.

    Raises:
      ValueError: a field is out of its range.
    """

    min_score: float = 0.4
    """Smallest score (probability of being a hit) of a reported source; about half the expected F1."""
    gate_angle_deg: float | None = None
    """Half width of the gate in azimuth and elevation, degrees; default from the field of view (5)."""
    gate_range_m: float | None = None
    """Half width of the gate in range, metres; default from the field of view (1)."""
    path_loss: PathLossConfig = PathLossConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"DecisionConfig.min_score: expected a probability in [0, 1], got {self.min_score!r}")
        for field in ("gate_angle_deg", "gate_range_m"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"DecisionConfig.{field}: expected a positive number, got {value!r}")


@dataclasses.dataclass(frozen=True)
class InflationConfig:
    """How much the mismatch ratio increases the covariances.

    Raises:
      ValueError: `max_factor` is below one.
    """

    max_factor: float = 30.0
    """Largest factor; 1 always reports the inverse Fisher information."""

    def __post_init__(self) -> None:
        if not self.max_factor >= 1:
            raise ValueError(f"InflationConfig.max_factor: expected at least 1, got {self.max_factor!r}")
