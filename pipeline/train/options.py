"""Options of `ris-mvdr train`."""

from pathlib import Path

from models.checked import stage_options
from models.config import LossConfig
from models.covariance_estimator.config import BackboneConfig
from models.effort import Effort
from models.physics.config import ShrinkageConfig
from pipeline.fitting.options import FitOptions

BEST_MODEL, START_MODEL = "backbone.keras", "start.keras"


@stage_options(frozen=True)
class TrainOptions(FitOptions):
    """Trains the backbone. The untrained backbone counts as epoch 0, so the result is never worse."""

    initial: Path | None = None
    """Weights file to start from, such as models/weights/backbone.keras. Its settings replace --backbone.*."""
    hyperparameters: Path | None = None
    """best.json of `ris-mvdr tune`. Its values replace the defaults, and those of --backbone.* apply to --initial too.
    Options on the command line take precedence."""
    effort: Effort = "default"
    """Effort of the validation. The learned initial estimate matters most at fast."""
    backbone: BackboneConfig = BackboneConfig()
    losses: LossConfig = LossConfig()
    shrinkage: ShrinkageConfig = ShrinkageConfig()
