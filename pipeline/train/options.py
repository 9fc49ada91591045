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
    """Trains the backbone; the untrained one counts as epoch 0, so the result is never worse than it."""

    initial: Path | None = None
    """A backbone.keras to start from, such as models/weights/backbone.keras; its shape holds, --backbone.* do not."""
    hyperparameters: Path | None = None
    """A best.json of `python -m pipeline.tune`: its values in place of the defaults, --backbone.* beside --initial too;
    options given here win over it."""
    effort: Effort = "default"
    """At which validation judges an epoch; what the start has learned shows most where it is fast."""
    backbone: BackboneConfig = BackboneConfig()
    losses: LossConfig = LossConfig()
    shrinkage: ShrinkageConfig = ShrinkageConfig()
