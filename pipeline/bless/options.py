"""Options of `ris-mvdr bless`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from pipeline.scenes.installations import Configs, ScenesOptions

BLESSING_FILE = "blessing.json"


@stage_options(frozen=True)
class BlessOptions(ScenesOptions):
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
    config: Configs = ("l64_m64",)
    """Sets of scenes; each is a world that thresholds can name."""
    scenes: AtLeast1 = 1_000
    """Test scenes of each set, the last ones."""
