"""Settings of the decision; light, so that options can be read without TensorFlow."""

import dataclasses

from models.physics.config import PathLossConfig


@dataclasses.dataclass(frozen=True)
class DecisionConfig:
    """When a candidate is reported."""

    min_score: float = 0.4
    """A candidate is reported when its probability of being a hit is at least this (about half the F1 expected)."""
    gate_angle_deg: float = 5.0
    """Half width of the gate in azimuth and elevation, degrees."""
    gate_range_m: float = 1.0
    """Half width of the gate in range, metres."""
    path_loss: PathLossConfig = PathLossConfig()

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"DecisionConfig.min_score: expected a probability, got {self.min_score!r}")
        for field in ("gate_angle_deg", "gate_range_m"):
            if not getattr(self, field) > 0:
                raise ValueError(f"DecisionConfig.{field}: expected a positive number, got {getattr(self, field)!r}")
