"""Options of `ris-mvdr export`."""

from pathlib import Path

from models.checked import stage_options
from models.config import LocalizerConfig
from models.effort import Effort
from models.physics.installation import InstallationFile
from pipeline.common.weights import WeightsOptions

WARMUP_BATCH_SIZES = (1, 4)


@stage_options(frozen=True)
class ExportOptions(WeightsOptions):
    """Writes a SavedModel to MODEL_BASE_PATH/VERSION. VERSION is the time in seconds; no version is overwritten."""

    model_base_path: Path
    """Folder of the versions, as in --model_base_path of TF Serving."""
    hyperparameters: Path | None = None
    """best.json of `ris-mvdr tune --knobs inference`. Its --backbone and --localizer.* replace the defaults; options on
    the command line take precedence."""
    refiner: Path | None = None
    """refiner.keras of `ris-mvdr refine`. Default: the model has no refiner."""
    config: str | None = None
    """Data set whose installation the model is for, such as l64_m64_legacy. Default: the installation of the training.
    The weights suit any installation."""
    installation: InstallationFile | None = None
    """Installation file that the model is for, docs/installation.md."""
    calibration: Path | None = None
    """Calibration file of `ris-mvdr calibrate`. The model applies it, so clients send the same inputs as without it."""
    warmup_batch_sizes: tuple[int, ...] = WARMUP_BATCH_SIZES
    """Scenes in each request that a server replays before it serves the version, for each signature that locates
    sources. Without values there are no such requests."""
    effort: Effort = "default"
    """Computation per scene: fast, default or thorough. docs/model_card.md has their accuracy and time."""
    localizer: LocalizerConfig = LocalizerConfig()
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""
