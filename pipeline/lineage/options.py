"""Options of `ris-mvdr lineage`."""

from pathlib import Path

import tyro

from models.checked import stage_options


@stage_options(frozen=True)
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
