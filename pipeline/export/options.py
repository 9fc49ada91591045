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
    """Writes MODEL_BASE_PATH/VERSION; the version is the time in seconds and never overwrites another."""

    model_base_path: Path
    """Folder of the versions, what TF Serving calls --model_base_path."""
    hyperparameters: Path | None = None
    """A best.json of `python -m pipeline.tune --knobs inference`: its --backbone and --localizer.* in place of the
    defaults; options given here win over it."""
    refiner: Path | None = None
    """A refiner.keras of `pipeline.refine`; left out, the model is the same to the last bit as if there were none."""
    config: str | None = None
    """Scene config, such as l64_m64_legacy, whose installation the model is for; left out, the one it was trained for.
    The weights never see the installation, so they serve any."""
    installation: InstallationFile | None = None
    """An installation file that the model is for, docs/installation.md."""
    calibration: Path | None = None
    """A calibration file of `python -m pipeline.calibrate`: the model then knows what its installation does otherwise
    than told, and clients go on sending what they did."""
    warmup_batch_sizes: tuple[int, ...] = WARMUP_BATCH_SIZES
    """Scenes in each request that a server replays before it serves the version, for every signature; none leaves the
    requests out."""
    effort: Effort = "default"
    """How much the model does for a scene: fast, default or thorough, docs/model_card.md has their figures."""
    localizer: LocalizerConfig = LocalizerConfig()
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""
