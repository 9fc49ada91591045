"""Options of `ris-mvdr validate`."""

import dataclasses
from pathlib import Path

from pipeline.scenes.installations import apply_installation

VALIDATION_FILE = "validation.json"
VALID = "VALID"


@dataclasses.dataclass(frozen=True)
class ValidateOptions:
    """Looks at every scene of a set: shapes, ranges, power, SNR, order, and duplicates between the splits."""

    run_dir: Path
    """Where validation.json, the statistics in it, and logs/ go."""
    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    measurements: Path | None = None
    """A measurement file as the client sends it, .npz: compared with the training scenes."""
    skew_limit: float = 0.2
    """Largest Kolmogorov-Smirnov distance of a figure of the measurements from that of the training scenes."""

    def __post_init__(self) -> None:
        apply_installation(self)
        if not 0 < self.skew_limit <= 1:
            raise ValueError(f"--skew-limit: expected a number in (0, 1], got {self.skew_limit}")
