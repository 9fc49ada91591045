"""Options of `ris-mvdr bound`."""

from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen

from models.checked import AtLeast1, Positive, stage_options
from pipeline.scenes.installations import InstallationOptions

Angle = Annotated[float, Interval(gt=-90, lt=90)]


@stage_options(frozen=True)
class BoundOptions(InstallationOptions):
    """Computes the Cramer-Rao bound of one source's position over range and SNR.

    No unbiased estimator has a smaller error. Channels and codes are drawn as in the data set; the bound is the median
    over the draws.
    """

    config: str = "l64_m64"
    """Data set that defines the channels, the codes and the number of snapshots."""
    range_m: tuple[Positive, ...] = ()
    """Ranges of the source, in metres. Default: eight, from the nearest to the farthest of the field of view."""
    azimuth_deg: Angle = 0.0
    """Azimuth of the source, in degrees."""
    elevation_deg: Angle = 0.0
    """Elevation of the source, in degrees."""
    snr_db: Annotated[tuple[float, ...], MinLen(1)] = (0.0, 10.0, 20.0)
    """Signal-to-noise ratios, in dB."""
    draws: AtLeast1 = 50
    """Number of channels, the first ones of the test split."""
    output: Path | None = None
    """CSV file of the table. A figure NAME.png is written to the same folder. Default: the table is only printed."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None and self.output.suffix != ".csv":
            raise ValueError(f"--output: expected a name that ends with .csv, got {self.output}")
