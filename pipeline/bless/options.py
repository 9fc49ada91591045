"""Options of `ris-mvdr bless`."""

import dataclasses
from pathlib import Path

from pipeline.scenes.installations import apply_installation

BLESSING_FILE = "blessing.json"


@dataclasses.dataclass(frozen=True)
class BlessOptions:
    """Judges an exported model against thresholds and against the model that is served now."""

    saved_model: Path
    """A SavedModel, or the folder of its versions, of which the latest is taken."""
    run_dir: Path
    """Where blessing.json and logs/ go."""
    thresholds: Path | None = None
    """A TOML file with tables [[threshold]]: metric (f1, precision, recall, strict_f1, rmse_xyz_m, objective); where,
    any of world, snr_db = [low, high], num_sources, range_m = [low, high]; and at_least, at_most, or worse_by_at_most
    than the latest blessed model. Without any nothing is blessed."""
    model_base_path: Path | None = None
    """Folder of the pushed versions: the latest blessed one of another model is what changes are measured against."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: tuple[str, ...] = ("l64_m64",)
    """Sets of scenes; each is a world that thresholds can name."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 1_000
    """Test scenes of each set, the last ones."""

    def __post_init__(self) -> None:
        apply_installation(self)
        if self.scenes < 1:
            raise ValueError(f"--scenes: expected 1 or more, got {self.scenes}")
        if not self.config:
            raise ValueError("--config: expected at least one set of scenes, got none")
