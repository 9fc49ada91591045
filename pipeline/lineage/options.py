"""Options of `ris-mvdr lineage`."""

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class LineageOptions:
    """Tells where a pushed version comes from; or, with --of, which versions come from something."""

    version: tyro.conf.Positional[str] = ""
    """A version by number or label; left out, the one that is served."""
    model_base_path: Path = Path("runs/serving/ris_localizer")
    """Folder of the versions."""
    of: str | None = None
    """A file or folder, or a hash or its first digits: lists the versions with that behind them."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""
