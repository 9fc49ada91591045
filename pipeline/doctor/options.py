"""Options of `ris-mvdr doctor`."""

from pathlib import Path

from models.checked import stage_options
from models.weights import PRETRAINED


@stage_options(frozen=True)
class DoctorOptions:
    """Looks at the environment; ends with status 0 where all is well, 1 where a check fails."""

    runs: Path = Path("runs")
    """Where runs go: there must be space, and it must be writable."""
    free_gb: float = 5.0
    """Space asked for there; 112,000 scenes take 3.5 GB."""
    weights: Path = PRETRAINED
    """A backbone.keras that must be whole."""
    target: str | None = None
    """HOST:PORT of a model server that must answer."""
    model_name: str = "ris_localizer"
    """The model it must serve."""
