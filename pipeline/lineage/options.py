"""Options of `ris-mvdr lineage`."""

from pathlib import Path

import tyro

from models.checked import stage_options


@stage_options(frozen=True)
class LineageOptions:
    """Shows where a pushed version comes from. With --of, shows which versions come from a file."""

    version: tyro.conf.Positional[str] = ""
    """Version, by number or label. Default: the one that is served."""
    model_base_path: Path = Path("runs/serving/ris_localizer")
    """Folder of the versions."""
    of: str | None = None
    """File or folder, or a hash or its first digits. Lists the versions that were made from it."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""
