"""Options of `ris-mvdr bless`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from pipeline.scenes.installations import Configs, ScenesOptions

BLESSING_FILE = "blessing.json"


@stage_options(frozen=True)
class BlessOptions(ScenesOptions):
    """Decides whether an exported model may be pushed: BLESSED or NOT_BLESSED.

    It evaluates the model and the latest blessed one, and checks the thresholds.
    """

    saved_model: Path
    """SavedModel, or a folder of versions, of which the latest is used."""
    run_dir: Path
    """Run folder: blessing.json and logs/."""
    thresholds: Path | None = None
    """TOML file with tables [[threshold]]. Keys: metric (f1, precision, recall, strict_f1, rmse_xyz_m, objective);
    at_least, at_most or worse_by_at_most (than the latest blessed model); and, to select scenes, world, snr_db = [low,
    high], num_sources or range_m = [low, high]. Default: none, and the model is not blessed."""
    model_base_path: Path | None = None
    """Folder of the pushed versions. The latest blessed version of another model is the reference of
    worse_by_at_most."""
    config: Configs = ("l64_m64",)
    """Data sets. Each is a `world` that thresholds can name."""
    scenes: AtLeast1 = 1_000
    """Test scenes per data set: the last ones, because `ris-mvdr evaluate` takes the first ones."""
