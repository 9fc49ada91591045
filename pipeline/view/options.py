"""Options of `ris-mvdr view`."""

import dataclasses
from pathlib import Path
from typing import Literal

from pipeline.scenes.installations import apply_installation

SLOWEST_HZ, FASTEST_HZ = 0.2, 50.0


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """Serves a page on this machine that shows what a model server finds, until SIGTERM or ctrl-C: in simulated scenes,
    of moving sources, or in measurement files that are dropped on it."""

    target: str
    """HOST:PORT of the model server, which need not be there yet."""
    model_name: str = "ris_localizer"
    """The model's name on the server."""
    config: str = "l64_m64"
    """Set the simulated scenes are drawn like: the model's installation."""
    installation: Path | None = None
    """An installation file that the set is drawn for, as for `python -m pipeline.data`."""
    show: Literal["scenes", "moving"] = "scenes"
    """What is shown first: fresh scenes, or sources that move."""
    rate_hz: float = 5.0
    """Scenes a second, as far as the server keeps up; the page can change it."""
    host: str = "127.0.0.1"
    """Address the page is served on. Anyone who reaches another one than the loopback can see and control the view."""
    port: int = 8600
    """Port of the page; 0 takes a free one."""
    upload_mb: int = 64
    """Largest measurement file that may be dropped, MB of 10^6 bytes."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        if not SLOWEST_HZ <= self.rate_hz <= FASTEST_HZ:
            raise ValueError(f"--rate-hz: expected {SLOWEST_HZ:g} to {FASTEST_HZ:g}, got {self.rate_hz:g}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port: expected 0 to 65535, got {self.port}")
        if self.upload_mb < 1:
            raise ValueError(f"--upload-mb: expected 1 or more, got {self.upload_mb}")
        apply_installation(self)
