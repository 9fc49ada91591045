"""Options of `ris-mvdr view`."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from models.checked import AtLeast1, stage_options
from pipeline.scenes.installations import InstallationOptions

SLOWEST_HZ, FASTEST_HZ = 0.2, 50.0


@stage_options(frozen=True)
class ViewOptions(InstallationOptions):
    """Serves a page on this machine that shows what a model server finds, until SIGTERM or ctrl-C: in simulated scenes,
    of moving sources, or in measurement files that are dropped on it."""

    target: str
    """HOST:PORT of the model server, which need not be there yet."""
    model_name: str = "ris_localizer"
    """The model's name on the server."""
    config: str = "l64_m64"
    """Set the simulated scenes are drawn like: the model's installation."""
    show: Literal["scenes", "moving"] = "scenes"
    """What is shown first: fresh scenes, or sources that move."""
    rate_hz: Annotated[float, Interval(ge=SLOWEST_HZ, le=FASTEST_HZ)] = 5.0
    """Scenes a second, as far as the server keeps up; the page can change it."""
    host: str = "127.0.0.1"
    """Address the page is served on. Anyone who reaches another one than the loopback can see and control the view."""
    port: Annotated[int, Interval(ge=0, le=65535)] = 8600
    """Port of the page; 0 takes a free one."""
    upload_mb: AtLeast1 = 64
    """Largest measurement file that may be dropped, MB of 10^6 bytes."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""
