"""Options of `ris-mvdr locate`."""

from pathlib import Path

from models.checked import stage_options
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class LocateOptions(InstallationOptions):
    """Starts `serving.model_server`, sends it new scenes and prints the true and the found sources."""

    model_base_path: Path
    """Folder of the exported versions."""
    output: Path
    """Measurement file of the scenes that are sent, .npz."""
    config: str = "l64_m64_small"
    """Data set that the new scenes are simulated for."""
    scenes: int = 5
    """Number of scenes."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""
