"""Data sets at an installation: CONFIG@FILE is the data set CONFIG, simulated for the installation file FILE."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from models.checked import stage_options
from models.physics.installation import InstallationFile, load_installation

Configs = Annotated[tuple[str, ...], MinLen(1)]
"""Names of data sets."""


@stage_options(frozen=True)
class InstallationOptions:
    """Options of a stage whose `config`, one name or several, is used at an installation."""

    installation: InstallationFile | None = dataclasses.field(default=None, kw_only=True)
    """Installation file of the data sets, as for `ris-mvdr data`. Default: the installation of each data set."""

    def __post_init__(self) -> None:
        """Adds `installation` to the names in `config`, and checks the installation files in them."""
        options: Any = self
        one = isinstance(options.config, str)
        names = [at_installation(name, self.installation) for name in ([options.config] if one else options.config)]
        for file in {name.partition("@")[2] for name in names} - {"", str(self.installation)}:
            load_installation(Path(file))
        object.__setattr__(self, "config", names[0] if one else tuple(names))


@stage_options(frozen=True)
class ScenesOptions(InstallationOptions):
    """Options of a stage that reads data sets."""

    data_dir: Path = dataclasses.field(default=Path("runs/data"), kw_only=True)
    """Folder of the data sets, as for `ris-mvdr data`."""


def at_installation(config: str, installation: Path | None) -> str:
    """Name of a data set at an installation. A name with an installation does not change."""
    return config if installation is None or "@" in config else f"{config}@{installation}"
