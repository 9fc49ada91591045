"""Options of `ris-mvdr locate`."""

from pathlib import Path

from models.checked import stage_options
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class LocateOptions(InstallationOptions):
    """Starts `serving.model_server`, sends it scenes that no data set holds, prints true against found."""

    model_base_path: Path
    """Folder of exported versions."""
    output: Path
    """Measurement file that is sent, .npz; kept for the client."""
    config: str = "l64_m64_small"
    """Set the scenes are drawn like."""
    scenes: int = 5
    """How many scenes."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""
