"""Options of `ris-mvdr bench`."""

import dataclasses
from pathlib import Path

from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class BenchOptions(WeightsOptions):
    """Times the localizer and what it is compared with."""

    config: str = "l64_m64"
    """What scenes are drawn from."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 32
    """Scenes, and the largest batch."""
    repeats: int = 5
    """Times each is run after a warm-up; the fastest counts."""
    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which the localizer looks for; --multipath.rounds 0 leaves out what that takes."""
    output: Path | None = None
    """Where the figures go as JSON."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        apply_installation(self)
        for field in ("scenes", "repeats"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field}: expected 1 or more, got {getattr(self, field)}")
