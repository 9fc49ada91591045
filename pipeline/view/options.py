"""Options of `ris-mvdr view`."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from models.checked import AtLeast1, stage_options
from pipeline.scenes.installations import InstallationOptions

SLOWEST_HZ, FASTEST_HZ = 0.2, 50.0


@stage_options(frozen=True)
class ViewOptions(InstallationOptions):
    """Serves a local page that shows what a model server finds, until SIGTERM or ctrl-C: in simulated scenes, of moving
    sources, or in measurement files dropped on the page."""

    target: str
    """HOST:PORT of the model server, which may start later."""
    model_name: str = "ris_localizer"
    """Name of the model on the server."""
    config: str = "l64_m64"
    """Data set that defines the simulated scenes. Its installation must be that of the model."""
    show: Literal["scenes", "moving"] = "scenes"
    """View shown first: new scenes, or moving sources."""
    rate_hz: Annotated[float, Interval(ge=SLOWEST_HZ, le=FASTEST_HZ)] = 5.0
    """Scenes per second, unless the server is slower. The page can change it."""
    host: str = "127.0.0.1"
    """Address of the page. Anyone who reaches an address other than the loopback can see and control the view."""
    port: Annotated[int, Interval(ge=0, le=65535)] = 8600
    """Port of the page. 0 takes a free one."""
    upload_mb: AtLeast1 = 64
    """Largest size of a measurement file, in MB of 10^6 bytes."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""
