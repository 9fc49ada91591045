"""Options of `ris-mvdr doctor`."""

from pathlib import Path

from models.checked import stage_options
from models.weights import PRETRAINED


@stage_options(frozen=True)
class DoctorOptions:
    """Checks the environment. The exit status is 0 if all checks pass and 1 if one fails."""

    runs: Path = Path("runs")
    """Folder of the runs, which must be writable and have free space."""
    free_gb: float = 5.0
    """Free space required there, in GB. 112,000 scenes take 3.5 GB."""
    weights: Path = PRETRAINED
    """Weights file, which must be intact."""
    target: str | None = None
    """HOST:PORT of a model server, which must answer. Default: no server is checked."""
    model_name: str = "ris_localizer"
    """Name of the model that it must serve."""
