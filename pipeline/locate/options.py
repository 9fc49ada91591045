"""Options of `ris-mvdr locate`."""

import dataclasses
from pathlib import Path

from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class LocateOptions:
    """Starts `serving.model_server`, sends it scenes that no data set holds, prints true against found."""

    model_base_path: Path
    """Folder of exported versions."""
    output: Path
    """Measurement file that is sent, .npz; kept for the client."""
    config: str = "l64_m64_small"
    """Set the scenes are drawn like."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 5
    """How many scenes."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        apply_installation(self)
