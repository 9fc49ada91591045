"""Sets of scenes at an installation: CONFIG as it is drawn for FILE is CONFIG@FILE wherever a set is named."""

from pathlib import Path
from typing import Any


def at_installation(config: str, installation: Path | None) -> str:
    """The name of a set at an installation; a name that has one already stays as it is."""
    return config if installation is None or "@" in config else f"{config}@{installation}"


def apply_installation(options: Any) -> None:
    """Puts the `installation` of frozen options into their `config`, a name or a tuple of names, in place."""
    config, installation = options.config, options.installation
    if isinstance(config, str):
        object.__setattr__(options, "config", at_installation(config, installation))
    elif config is not None:
        object.__setattr__(options, "config", tuple(at_installation(name, installation) for name in config))
