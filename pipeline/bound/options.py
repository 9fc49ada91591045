"""Options of `ris-mvdr bound`."""

import dataclasses
import math
from pathlib import Path

from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class BoundOptions:
    """Computes the Cramer-Rao bound of one source's position over range and SNR.

    No unbiased estimator has a smaller error. Channels and codes are drawn as in the set of scenes; the bound is the
    median over the draws.
    """

    installation: Path | None = None
    """Installation file, docs/installation.md; left out, the one of --config."""
    config: str = "l64_m64"
    """Set of scenes that the channels, the codes and the number of snapshots are drawn from."""
    range_m: tuple[float, ...] = ()
    """Ranges of the source, metres; left out, eight from the nearest to the farthest of the field of view."""
    azimuth_deg: float = 0.0
    """Azimuth of the source, degrees."""
    elevation_deg: float = 0.0
    """Elevation of the source, degrees."""
    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    """Signal-to-noise ratios, dB."""
    draws: int = 50
    """Channels that are drawn, the first ones of the test split."""
    output: Path | None = None
    """CSV file of the table; a figure NAME.png goes beside it."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        apply_installation(self)
        if self.draws < 1:
            raise ValueError(f"--draws: expected 1 or more, got {self.draws}")
        if not self.snr_db:
            raise ValueError("--snr-db: expected at least one number, got none")
        for range_m in self.range_m:
            if not 0 < range_m < math.inf:
                raise ValueError(f"--range-m: expected finite positive numbers, got {range_m}")
        for name in ("azimuth_deg", "elevation_deg"):
            if not abs(getattr(self, name)) < 90:
                raise ValueError(f"--{name.replace('_', '-')}: expected -90 to 90, got {getattr(self, name)}")
        if self.output is not None and self.output.suffix != ".csv":
            raise ValueError(f"--output: expected a name that ends with .csv, got {self.output}")
