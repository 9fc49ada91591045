"""Sets of scenes at an installation: CONFIG as it is drawn for FILE is CONFIG@FILE wherever a set is named."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from models.checked import stage_options
from models.physics.installation import InstallationFile, load_installation

Configs = Annotated[tuple[str, ...], MinLen(1)]
"""Names of sets."""


@stage_options(frozen=True)
class InstallationOptions:
    """Options of a stage whose `config`, a name or several, is drawn for an installation."""

    installation: InstallationFile | None = dataclasses.field(default=None, kw_only=True)
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""

    def __post_init__(self) -> None:
        """Puts `installation` into `config`, and reads a file that is named there already."""
        options: Any = self
        one = isinstance(options.config, str)
        names = [at_installation(name, self.installation) for name in ([options.config] if one else options.config)]
        for file in {name.partition("@")[2] for name in names} - {"", str(self.installation)}:
            load_installation(Path(file))
        object.__setattr__(self, "config", names[0] if one else tuple(names))


@stage_options(frozen=True)
class ScenesOptions(InstallationOptions):
    """Options of a stage that reads such sets."""

    data_dir: Path = dataclasses.field(default=Path("runs/data"), kw_only=True)
    """Where `python -m pipeline.data` put the scenes."""


def at_installation(config: str, installation: Path | None) -> str:
    """The name of a set at an installation; a name that has one already stays as it is."""
    return config if installation is None or "@" in config else f"{config}@{installation}"
