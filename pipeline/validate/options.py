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
    """Looks at every scene of a set: shapes, ranges, power, SNR, order, and duplicates between the splits."""

    run_dir: Path
    """Where validation.json, the statistics in it, and logs/ go."""
    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    measurements: Path | None = None
    """A measurement file as the client sends it, .npz: compared with the training scenes."""
    skew_limit: Annotated[float, Interval(gt=0, le=1)] = 0.2
    """Largest Kolmogorov-Smirnov distance of a figure of the measurements from that of the training scenes."""
