"""Options of `ris-mvdr confidence`."""

from pathlib import Path

from models.checked import AtLeast1, Positive, stage_options
from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import Configs, ScenesOptions


@stage_options(frozen=True)
class ConfidenceOptions(WeightsOptions, ScenesOptions):
    """Trains the score of a source and its error covariance. The other weights do not change."""

    run_dir: Path
    """Run folder: backbone.keras with the fitted score, logs/, config.json and metrics.json."""
    config: Configs = ("l64_m64",)
    """Data sets, each with an equal share. Their installations may differ."""
    scenes: AtLeast1 = 10_000
    """Training scenes per data set, the first ones."""
    validation_scenes: AtLeast1 = 1_000
    """Validation scenes per data set, the first ones. They decide when the fit stops."""
    epochs: AtLeast1 = 200
    """Largest number of passes over the candidates."""
    learning_rate: Positive = 2e-3
    """Initial learning rate of Adam. It falls to zero along a cosine."""
    batch_size: AtLeast1 = 512
    """Candidates per batch."""
    seed: int = 1
    """Seed of the weights and of the order of the candidates."""
    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation. --multipath.rounds 0 disables it, to save time if scenes have no reflections."""
