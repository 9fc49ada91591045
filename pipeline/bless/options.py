"""Options of `ris-mvdr bless`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from pipeline.scenes.installations import Configs, ScenesOptions

BLESSING_FILE = "blessing.json"


@stage_options(frozen=True)
class BlessOptions(ScenesOptions):
    """Evaluates an exported model and the latest blessed one, and checks the thresholds: BLESSED or NOT_BLESSED."""

    saved_model: Path
    """SavedModel, or a folder of versions, of which the latest is used."""
    run_dir: Path
    """Run folder: blessing.json and logs/."""
    thresholds: Path | None = None
    """TOML file with tables [[threshold]]: metric (f1, precision, recall, strict_f1, rmse_xyz_m, objective); one of
    at_least, at_most and worse_by_at_most (change against the latest blessed model); optional filters of scenes: world,
    snr_db = [low, high], num_sources, range_m = [low, high]. Without the file the verdict is NOT_BLESSED."""
    model_base_path: Path | None = None
    """Folder of the pushed versions. worse_by_at_most refers to the latest blessed one with another model."""
    config: Configs = ("l64_m64",)
    """Data sets. Each is a `world` that thresholds can name."""
    scenes: AtLeast1 = 1_000
    """Test scenes per data set: the last ones, because `ris-mvdr evaluate` takes the first ones."""
