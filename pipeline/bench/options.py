"""Options of `ris-mvdr bench`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class BenchOptions(WeightsOptions, InstallationOptions):
    """Times the localizer and what it is compared with."""

    config: str = "l64_m64"
    """What scenes are drawn from."""
    scenes: AtLeast1 = 32
    """Scenes, and the largest batch."""
    repeats: AtLeast1 = 5
    """Times each is run after a warm-up; the fastest counts."""
    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which the localizer looks for; --multipath.rounds 0 leaves out what that takes."""
    output: Path | None = None
    """Where the figures go as JSON."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""
