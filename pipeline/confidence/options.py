"""Options of `ris-mvdr confidence`."""

import dataclasses
import math
from pathlib import Path

from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class ConfidenceOptions(WeightsOptions):
    """Fits the correction of the score; grid stages stay as they are."""

    run_dir: Path
    """Where backbone.keras with its fitted score, logs/, config.json and metrics.json go."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: tuple[str, ...] = ("l64_m64",)
    """Sets of scenes, each with an equal share; their installations may differ."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 10_000
    """Training scenes of each set, the first ones."""
    validation_scenes: int = 1_000
    """Validation scenes of each set, the first ones: they stop the fit."""
    epochs: int = 200
    """Most passes over the candidates."""
    learning_rate: float = 2e-3
    """Adam's first learning rate; falls to zero by a cosine."""
    batch_size: int = 512
    """Candidates a batch."""
    seed: int = 1
    """Seeds weights and the order of the candidates."""
    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which the localizer looks for; --multipath.rounds 0 saves that time where scenes have none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        apply_installation(self)
        for field in ("scenes", "validation_scenes", "epochs", "batch_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")
        if not self.config:
            raise ValueError("--config: expected at least one set of scenes, got none")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning-rate: expected a finite positive number, got {self.learning_rate}")
