"""Options of `ris-mvdr validate`."""

from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from models.checked import stage_options
from pipeline.scenes.installations import ScenesOptions

VALIDATION_FILE = "validation.json"
VALID = "VALID"


@stage_options(frozen=True)
class ValidateOptions(ScenesOptions):
    """Checks every scene of a data set: shapes, ranges, power, SNR, order, and duplicates between splits."""

    run_dir: Path
    """Run folder: validation.json, which has the statistics, and logs/."""
    config: str = "l64_m64"
    """Data set, as for `ris-mvdr data`."""
    measurements: Path | None = None
    """Measurement file of the client, .npz, to compare with the training scenes."""
    skew_limit: Annotated[float, Interval(gt=0, le=1)] = 0.2
    """Largest Kolmogorov-Smirnov distance between a statistic of the measurements and of the training scenes."""
