"""Options of `ris-mvdr bench`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class BenchOptions(WeightsOptions, InstallationOptions):
    """Measures the time per scene of the localizer, its parts and sequential maximum likelihood."""

    config: str = "l64_m64"
    """Data set that the scenes are simulated for."""
    scenes: AtLeast1 = 32
    """Number of scenes; also the largest batch size."""
    repeats: AtLeast1 = 5
    """Timed runs after one warm-up run. The fastest counts."""
    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation of the localizer. --multipath.rounds 0 disables it."""
    output: Path | None = None
    """JSON file for the times. Default: the times are only printed."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""
