"""Settings of the decision; light, so that options can be read without TensorFlow."""

import dataclasses

from models.physics.config import PathLossConfig


@dataclasses.dataclass(frozen=True)
class DecisionConfig:
    """When a candidate is reported."""

    min_score: float = 0.4
    """A candidate is reported when its probability of being a hit is at least this (about half the F1 expected)."""
    gate_angle_deg: float | None = None
    """Half width of the gate in azimuth and elevation, degrees; left out, the field of view's, 5 by default."""
    gate_range_m: float | None = None
    """Half width of the gate in range, metres; left out, the field of view's, 1 by default."""
    path_loss: PathLossConfig = PathLossConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"DecisionConfig.min_score: expected a probability, got {self.min_score!r}")
        for field in ("gate_angle_deg", "gate_range_m"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ValueError(f"DecisionConfig.{field}: expected a positive number, got {value!r}")


@dataclasses.dataclass(frozen=True)
class InflationConfig:
    """How far covariances follow the mismatch ratio."""

    tolerance: float = 0.2
    """Excess of the ratio over one that noise alone explains; less leaves covariances as they are."""
    max_factor: float = 30.0
    """Largest factor; 1 reports the inverse Fisher information everywhere."""

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"InflationConfig.tolerance: expected at least 0, got {self.tolerance!r}")
        if not self.max_factor >= 1:
            raise ValueError(f"InflationConfig.max_factor: expected at least 1, got {self.max_factor!r}")
